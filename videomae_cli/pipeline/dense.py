"""Embeds every window of videos of any length: a vector for each, in one pass of decoding."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from videomae_cli.errors import DependencyError, MachineError, OutputError, VideoMAEError
from videomae_cli.pipeline.batches import Halving, Outputs
from videomae_cli.pipeline.embed import Embedder
from videomae_cli.pipeline.window_clips import CountedPass, Moved, WindowClip, WindowPass, unmoved
from videomae_cli.results import Embedding, Failure, VectorPlace
from videomae_cli.video import CountedWindows, Decoder, FoundVideo, PassRequest, WindowSpec

log = logging.getLogger(__name__)

OnBatch = Callable[[str, Outputs, Sequence[VectorPlace]], object]
"""Called with the path of a file, vectors (n, D) of some of its windows, and their places."""


@dataclass(frozen=True)
class DenseEmbedder:
    """An encoder with everything needed to embed the windows of long files.

    embedder: pools each window to one vector; windows: where they lie; pixels: "display" or "stored"; fps: frame rate of
    folders of frames.
    """

    embedder: Embedder
    windows: WindowSpec | CountedWindows
    pixels: str = "display"
    fps: float | None = None

    def __post_init__(self) -> None:
        self.embedder.pooling.check_windows(getattr(self.windows, "protocol", None))

    @property
    def model(self) -> Embedder:
        """The model that sees the windows."""
        return self.embedder

    def __call__(
        self,
        found: Iterable[FoundVideo],
        *,
        decoder: Decoder,
        moved: Moved = unmoved,
        on_batch: OnBatch = lambda path, vectors, places: None,
    ) -> Iterator[Embedding]:
        """Yield one result per file, in order: `vectors` (windows, D) and their `places`. If a file fails, also half way, its
        result says why; nothing is raised.

        A file is decoded once, and a frame is resized once, however many windows show it; memory grows with its length
        by the vectors only. moved: called with the progress within a file; on_batch: with its windows as they are embedded, long before
        the result of a long film, and again from its beginning if another decoder goes on with it. Raises MachineError or DependencyError if this
        machine can't decode at all.
        """
        for video in found:
            if video.error is not None:
                yield self._failed(video.path, video.error)
                continue
            try:
                yield self._one(video.path, decoder, moved, on_batch)
            except (MachineError, DependencyError, OutputError):
                raise  # the machine is at fault, or what `on_batch` writes to, not the file
            except VideoMAEError as error:
                log.debug("%s failed", video.path, exc_info=error)
                yield self._failed(video.path, error)

    def _one(self, path: str, decoder: Decoder, moved: Moved, on_batch: OnBatch) -> Embedding:
        began = time.monotonic()
        transform = self.embedder.preprocessor.window_transform()
        film = self._pass(PassRequest(path, None, transform, pixels=self.pixels, fps=self.fps), decoder, moved)
        embedded = _EmbeddedWindows(self.embedder, partial(on_batch, path))
        for restarted, clips in film:
            if restarted:
                embedded = _EmbeddedWindows(self.embedder, partial(on_batch, path))
            for clip in clips:
                embedded.add(clip)
        embedded.run()
        if not embedded.places:
            raise film.nothing_there()
        return Embedding(
            path=path,
            model=self.embedder.name,
            revision=self.embedder.revision,
            views=len(embedded.places),
            source=film.source(len(embedded.places)),
            warnings=film.warnings,
            seconds=time.monotonic() - began,
            vectors=self.embedder.stored(np.concatenate(embedded.vectors)),
            places=tuple(embedded.places),
        )

    def _pass(self, request: PassRequest, decoder: Decoder, moved: Moved) -> WindowPass:
        if isinstance(self.windows, CountedWindows):
            return CountedPass(request, self.windows, decoder, moved)
        return WindowPass(replace(request, windows=self.windows), decoder, moved)

    def _failed(self, path: str, error: VideoMAEError) -> Embedding:
        embedder = self.embedder
        return Embedding(path=path, model=embedder.name, revision=embedder.revision, error=Failure.of(error))


@dataclass
class _EmbeddedWindows:
    """The windows of one file that the model has embedded: vectors (n, D) for each batch, and each window's place."""

    embedder: Embedder
    on_batch: Callable[[Outputs, Sequence[VectorPlace]], object]
    vectors: list[Outputs] = field(default_factory=list)
    places: list[VectorPlace] = field(default_factory=list)
    _waiting: list[WindowClip] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._forward = Halving(self.embedder.outputs, size=self.embedder.batch_size)

    def add(self, clip: WindowClip) -> None:
        """Add one more window, and run a batch when it is full. Raises a VideoMAEError if the model fails."""
        self._waiting.append(clip)
        if len(self._waiting) >= self._forward.size:
            self.run()

    def run(self) -> None:
        """Run the model on the windows of the last, incomplete batch."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        output = self._forward(np.stack([clip.frames for clip in waiting]))
        if isinstance(output, VideoMAEError):
            raise output
        self.vectors.append(output.reshape(len(waiting), -1))  # (n, 1, D): one vector for all tokens
        for clip in waiting:
            shown = (clip.numbers[0], clip.numbers[-1])
            self.places.append(VectorPlace(clip.start, clip.end, len(self.places), frames=shown))
        self.on_batch(self.embedder.stored(self.vectors[-1]), self.places[-len(waiting) :])
