"""Labelled files -> batches of clips, drawn and changed at random by a seed: batch i is the same wherever a run begins."""

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
    """frames: (B, T, h, w, 3) uint8, the views of a clip one after the other; places: (B,) of the examples that they are of."""

    frames: Frames
    places: npt.NDArray[np.int64]


@dataclass
class Feed:
    """Random clips of `examples`, each file once an epoch (`repeats` times), in a new order every epoch.

    batch: files of this process at once, each with the views that `augment` makes of its clip; accumulate: batches to a step;
    drawn: how, see `SamplingSpec`; exact: from short files too as published. An epoch has whole steps only: the files that
    are over at its end are others each time. A file that fails is told once and another of its batch stands in.
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
    _told: set[str] = field(default_factory=set)

    @property
    def steps(self) -> int:
        """The number of optimizer steps in an epoch."""
        a_step = self.batch * self.accumulate * self.share.world
        return max(1, len(self.examples) * self.repeats // a_step)

    def __call__(self, first: int) -> Iterator[ClipBatch]:
        """This process's batches, from its batch number `first` on, without an end."""
        wanted = self._requests(first)
        ahead: list[int] = []

        def requests() -> Iterator[ClipRequest]:
            for place, request in wanted:
                ahead.append(place)
                yield request

        # Far enough ahead that decoding goes on while a batch is trained on; `Decoder` bounds the memory.
        decoded = self.decoder.decode_all(requests(), ahead=2 * self.batch)
        while True:
            got = [self._kept(*next(decoded)) for _ in range(self.batch)]
            places, ahead = ahead[: self.batch], ahead[self.batch :]
            good = [(place, frames) for place, frames in zip(places, got, strict=True) if frames is not None]
            if not good:
                raise TrainingError("not one file of a batch can be read any more: look at the data")
            filled = [good[i % len(good)] for i in range(self.batch)]
            frames, of = [f for _, f in filled], [place for place, _ in filled]
            yield ClipBatch(np.concatenate(frames), np.repeat(np.array(of, dtype=np.int64), len(frames[0])))

    def _requests(self, first: int) -> Iterator[tuple[int, ClipRequest]]:
        """(place of the example, its request) of every clip from batch `first` on."""
        batches = self.steps * self.accumulate  # of this process, in an epoch
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
            if path not in self._told:
                self._told.add(path)
                self.warn(path, outcome)
            return None
        frames: Frames = outcome.views()
        return frames
