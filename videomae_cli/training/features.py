"""Computes the features of examples once, and caches them in the run's folder for further probes."""

from __future__ import annotations

import hashlib
import json
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from videomae_cli.datasets import Example
from videomae_cli.errors import VideoMAEError
from videomae_cli.files import whole_file
from videomae_cli.pipeline.batches import Batches, Forward, Passed
from videomae_cli.storage import ObjectStamp, is_address, stamps
from videomae_cli.training.distributed import Share
from videomae_cli.video import ClipRequest, DecodedVideo, Decoder, FrameTransform, SamplingSpec
from videomae_cli.video.clips import file_stamp
from videomae_cli.writers.npz_archive import write_arrays

Array = npt.NDArray[np.float32]
_SAVE_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class View:
    """Specifies how examples become clips for a model: sampling, transform, decoder, and `batch` views at once."""

    sampling: SamplingSpec
    transform: FrameTransform
    decoder: Decoder
    batch: int

    def through(self, forward: Forward, examples: Sequence[Example]) -> Iterator[Passed]:
        """Yield each example with the outputs (V, ...) of `forward` on its views, or its error, in order."""
        return Batches(forward, size=self.batch)(self.decoded(examples))

    def decoded(self, examples: Sequence[Example]) -> Iterator[tuple[str, DecodedVideo | VideoMAEError]]:
        """Yield the path of each example with its clips, or its error, in order."""
        requests = (
            ClipRequest(e.path, sampling=self.sampling.within(e.start, e.end), transform=self.transform)
            for e in examples
        )
        for request, outcome in self.decoder.decode_all(requests, ahead=2 * self.batch):
            yield str(request.path), outcome


@dataclass
class FeatureStore:
    """Caches one (clips, D) feature array per example in `file`, keyed by all that determines the features.

    made_by: a digest from the function `made_by`; a file with another digest is ignored.
    """

    file: Path
    made_by: str
    _rows: dict[str, Array] = field(default_factory=dict)
    # Stamps of objects in storage, asked for once a run.
    _stamps: dict[str, ObjectStamp] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            with np.load(self.file, allow_pickle=False) as cached:
                about = json.loads(str(cached["about"]))
                if about["made_by"] != self.made_by:
                    return
                rows, first = cached["rows"].astype(np.float32), 0
                for key, count in about["examples"]:
                    self._rows[key] = rows[first : first + count]
                    first += count
        except (OSError, ValueError, KeyError, TypeError, RecursionError, zipfile.BadZipFile):
            self._rows = {}  # missing or damaged: features are computed again

    def look_at(self, examples: Sequence[Example]) -> None:
        """Find out which state the examples in object storage are in, several at once, before they are read."""
        unknown = (e.path for e in examples if is_address(e.path) and e.path not in self._stamps)
        self._stamps |= stamps(unknown)

    def get(self, example: Example) -> Array | None:
        """Return the cached features; None if there are none, or the example's file has changed since."""
        return self._rows.get(self._key(example))

    def put(self, example: Example, rows: Array) -> None:
        self._rows[self._key(example)] = rows

    def _key(self, example: Example) -> str:
        seen = self._stamps.get(example.path)
        stamp = [seen.size, seen.changed] if seen is not None else list(file_stamp(example.path) or ())
        what = [example.path.encode("utf-8", "surrogateescape").hex(), stamp, example.start, example.end]
        return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:24]

    def save(self) -> None:
        """Write the cached features to `file`, if there are any. Raises OutputError."""
        if not self._rows:
            return
        about = {"made_by": self.made_by, "examples": [[key, len(rows)] for key, rows in self._rows.items()]}
        with whole_file(self.file) as sink:
            write_arrays(
                sink, {"rows": np.concatenate(list(self._rows.values())), "about": np.array(json.dumps(about))}
            )


def features_of(
    examples: Sequence[Example],
    *,
    view: View,
    forward: Forward,
    store: FeatureStore,
    share: Share,
    on_progress: Callable[[int, VideoMAEError | None, str], None] = lambda done, error, path: None,
) -> list[Array | None]:
    """Compute the features (clips, D) of each example, None for one that failed.

    forward: (V, T, H, W, 3) uint8 -> (V, 1, D); on_progress: called after each example with the number done, its error
    or None, and its path.
    """
    store.look_at(examples)
    found = [store.get(example) for example in examples]
    missing = [place for place, rows in enumerate(found) if rows is None]
    mine = missing[share.rank :: share.world]
    done, saved = len(examples) - len(missing), time.monotonic()
    made: dict[int, Array] = {}
    try:
        for place, passed in zip(mine, view.through(forward, [examples[p] for p in mine]), strict=True):
            done += share.world
            on_progress(min(done, len(examples)), passed.error, passed.path)
            if passed.outputs is None:
                continue
            made[place] = passed.outputs[:, 0]
            store.put(examples[place], made[place])
            if share.leads and time.monotonic() - saved > _SAVE_SECONDS:
                store.save()
                saved = time.monotonic()
    except KeyboardInterrupt:
        if share.leads:
            store.save()
        raise
    for part in share.gather(made):
        for place, rows in part.items():
            found[place] = rows
            store.put(examples[place], rows)
    return found


def made_by(**decides: Any) -> str:
    """Hash everything that determines a feature into one hexadecimal digest."""
    text = json.dumps(decides, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
