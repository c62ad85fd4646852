"""Makes what the page shows of a clip: its frames side by side in one JPEG, which the page plays in a loop without a codec."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import numpy.typing as npt

from videomae_cli.labelling.answers import Clip
from videomae_cli.video import ClipRequest, Decoder, SamplingSpec
from videomae_cli.video.pictures import small_frame, small_jpeg


@dataclass(frozen=True)
class Kind:
    """How a clip is shown: the number of frames, the pixels of their long side, the quality of the JPEG, and how many such
    pictures stay in memory, so that going back is quick: some 20 MB in all."""

    frames: int
    size: int
    quality: int
    kept: int


KINDS = {"film": Kind(24, 320, 75, 50), "strip": Kind(8, 128, 65, 600)}


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
        self._made = {name: lru_cache(kind.kept)(partial(self._make, kind)) for name, kind in KINDS.items()}

    def __enter__(self) -> Previews:
        return self

    def __exit__(self, *exc: object) -> None:
        self._decoder.close()

    def get(self, clip: Clip, kind: str) -> bytes:
        """Return the JPEG of a clip. kind: one of `KINDS`. Raises VideoError for a file that can't be read any more, and
        MachineError."""
        return self._made[kind](clip)

    def _make(self, kind: Kind, clip: Clip) -> bytes:
        spec = SamplingSpec(
            frames=kind.frames, family="uniform", clips=1, crops=1, start=clip.start, end=clip.end, pixels="display"
        )
        video = self._decoder.decode(ClipRequest(clip.path, spec, _Fit(kind.size)))
        frames = video.views()[0]  # (T, h, w, 3)
        row = np.concatenate(list(frames), axis=1)  # (h, T * w, 3)
        return small_jpeg(row, size=max(row.shape), quality=kind.quality)
