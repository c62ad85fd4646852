"""Draws batches of random clips from labelled files by a seed: batch i is the same wherever a run begins."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from videomae_cli.datasets import Example
from videomae_cli.errors import TrainingError, VideoMAEError
from videomae_cli.training.distributed import Share
from videomae_cli.video import AugmentTransform, ClipRequest, DecodedVideo, Decoder, SamplingSpec

Frames = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ClipBatch:
    """One batch of clips for a step of training.

    frames: (B, T, h, w, 3) uint8, the views of a clip one after the other; places: (B,) index of the example that each
    view shows.
    """

    frames: Frames
    places: npt.NDArray[np.int64]


@dataclass
class Feed:
    """Yields random clips of `examples`, each file `repeats` times per epoch, in a new order every epoch.

    batch: files per batch in this process, each with the views that `augment` makes of its clip; accumulate: batches
    per step; drawn: how frames are drawn, see `SamplingSpec`; exact: draw from short files, too, exactly as the
    official code does. An epoch has only complete steps: which files are left over at its end differs from epoch to
    epoch. A file that fails is reported once, and replaced by another file of its batch.
    """

    examples: Sequence[Example]
    decoder: Decoder
    sampling: SamplingSpec
    augment: AugmentTransform
    batch: int
    drawn: str = "window"
    exact: bool = False
    accumulate: int = 1
    repeats: int = 1
    seed: int = 0
    share: Share = field(default_factory=Share)
    warn: Callable[[str, VideoMAEError], None] = lambda path, error: None
    _reported: set[str] = field(default_factory=set)

    @property
    def steps(self) -> int:
        """The number of optimizer steps in an epoch."""
        a_step = self.batch * self.accumulate * self.share.world
        return max(1, len(self.examples) * self.repeats // a_step)

    def __call__(self, first: int) -> Iterator[ClipBatch]:
        """Yield this process's batches endlessly, starting with batch number `first`."""
        wanted = self._requests(first)
        ahead: list[int] = []

        def requests() -> Iterator[ClipRequest]:
            for place, request in wanted:
                ahead.append(place)
                yield request

        # Decode ahead, so that decoding continues while a batch is trained on; `Decoder` limits the memory.
        decoded = self.decoder.decode_all(requests(), ahead=2 * self.batch)
        while True:
            got = [self._kept(*next(decoded)) for _ in range(self.batch)]
            places, ahead = ahead[: self.batch], ahead[self.batch :]
            good = [(place, frames) for place, frames in zip(places, got, strict=True) if frames is not None]
            if not good:
                raise TrainingError.about("data", "not one file of a batch can be read any more: look at the data")
            filled = [good[i % len(good)] for i in range(self.batch)]
            frames, of = [f for _, f in filled], [place for place, _ in filled]
            yield ClipBatch(np.concatenate(frames), np.repeat(np.array(of, dtype=np.int64), len(frames[0])))

    def _requests(self, first: int) -> Iterator[tuple[int, ClipRequest]]:
        """Yield (index of the example, its request) for every clip from batch `first` on."""
        batches = self.steps * self.accumulate  # batches of this process in one epoch
        number = first
        while True:
            epoch, within = divmod(number, batches)
            order = np.random.default_rng([self.seed, epoch]).permutation(len(self.examples) * self.repeats)
            for batch in range(within, batches):
                for k in range(self.batch):
                    slot = (batch * self.share.world + self.share.rank) * self.batch + k
                    place = int(order[slot % len(order)]) % len(self.examples)
                    yield place, self._request(place, epoch, slot)
            number = (epoch + 1) * batches

    def _request(self, place: int, epoch: int, slot: int) -> ClipRequest:
        example = self.examples[place]
        seed = int(np.random.default_rng([self.seed, epoch, slot]).integers(2**62))
        spec = self.sampling.within(example.start, example.end)
        protocol = "paper" if self.exact else spec.protocol
        spec = replace(spec, clips=1, crops=1, seed=seed, drawn=self.drawn, protocol=protocol)
        return ClipRequest(example.path, sampling=spec, transform=replace(self.augment, seed=seed))

    def _kept(self, request: ClipRequest, outcome: DecodedVideo | VideoMAEError) -> Frames | None:
        if isinstance(outcome, VideoMAEError):
            path = os.fspath(request.path)
            if path not in self._reported:
                self._reported.add(path)
                self.warn(path, outcome)
            return None
        frames: Frames = outcome.views()
        return frames
