"""Makes what the page shows of a clip: its frames side by side in one JPEG, which the page plays in a loop without a codec."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

import numpy as np
import numpy.typing as npt

from videomae_cli.labelling.answers import Clip
from videomae_cli.video import ClipRequest, Decoder, SamplingSpec
from videomae_cli.video.pictures import small_frame, small_jpeg

# What is kept in memory, so that going back is quick: some hundred previews.
_MOST_BYTES = 48 * 2**20


@dataclass(frozen=True)
class Kind:
    """How a clip is shown: the number of frames, the pixels of their long side, and the quality of the JPEG."""

    frames: int
    size: int
    quality: int


KINDS = {"film": Kind(24, 320, 75), "strip": Kind(8, 128, 65)}


@dataclass(frozen=True)
class _Fit:
    """Reduces a frame (H, W, 3) where it is decoded, so that few bytes travel between processes."""

    size: int

    def __call__(self, frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        return small_frame(frame, size=self.size)[None]


class Previews:
    """Previews of clips, made when they are asked for. A context manager: its decoding processes end with the block."""

    def __init__(self, *, memory: int | None = None, timeout: float | None = 60.0) -> None:
        self._decoder = Decoder(timeout=timeout, memory=memory, workers=2, threads=1)
        self._lock = Lock()
        self._kept: OrderedDict[tuple[Clip, str], bytes] = OrderedDict()
        self._bytes = 0

    def __enter__(self) -> Previews:
        return self

    def __exit__(self, *exc: object) -> None:
        self._decoder.close()

    def get(self, clip: Clip, kind: str) -> bytes:
        """Return the JPEG of a clip. kind: one of `KINDS`. Raises VideoError for a file that can't be read any more, and
        MachineError."""
        with self._lock:
            if (clip, kind) in self._kept:
                self._kept.move_to_end((clip, kind))
                return self._kept[clip, kind]
        made = self._make(clip, KINDS[kind])
        with self._lock:
            if (clip, kind) not in self._kept:
                self._kept[clip, kind] = made
                self._bytes += len(made)
            while self._bytes > _MOST_BYTES:
                self._bytes -= len(self._kept.popitem(last=False)[1])
        return made

    def _make(self, clip: Clip, kind: Kind) -> bytes:
        spec = SamplingSpec(
            frames=kind.frames, family="uniform", clips=1, crops=1, start=clip.start, end=clip.end, pixels="display"
        )
        video = self._decoder.decode(ClipRequest(clip.path, spec, _Fit(kind.size)))
        frames = video.views()[0]  # (T, h, w, 3)
        row = np.concatenate(list(frames), axis=1)  # (h, T * w, 3)
        return small_jpeg(row, size=max(row.shape), quality=kind.quality)
