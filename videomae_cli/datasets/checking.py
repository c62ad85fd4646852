"""Checks a dataset before hours are spent on it: tries to decode every file, and looks for duplicates and bad classes."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

from videomae_cli import filesystem, storage
from videomae_cli.datasets.examples import Dataset, Example
from videomae_cli.errors import DatasetError, StorageError, VideoError, VideoMAEError
from videomae_cli.results import as_utf8
from videomae_cli.video import ClipRequest, Decoder, FrameTransform, SamplingSpec, tar_members
from videomae_cli.video.clip_names import ClipName
from videomae_cli.video.image_sequences import ImageSequence, find_sequence
from videomae_cli.visible import counted

FEW = 5
_Size: TypeAlias = tuple[int | str | None, ...]
_NAMED = 3
# Smallest relative and absolute spread of values that a model can learn: its float32 outputs have seven digits, down to
# 1e-38.
_LEAST_SPREAD, _LEAST_SCALE = 1e-5, 1e-30
# Three frames, from the beginning, middle and end, suffice to see that a file can be decoded.
_PROBE_SAMPLING = SamplingSpec(frames=3, family="uniform", clips=1, crops=1)
_PROBE_SIZE = FrameTransform(shortest_edge=16, size=(16, 16), crop=None, method="opencv")


@dataclass(frozen=True)
class Report:
    """The outcome of a check. train, val: the usable examples; broken: (path, reason) of unreadable files; doubles:
    held-out files that were left out because train has a file with identical bytes; shared: held-out clips of files in
    train; lengths: seconds of each example that was tried and can be read."""

    dataset: Dataset
    train: tuple[Example, ...]
    val: tuple[Example, ...]
    rule: str
    broken: tuple[tuple[str, str], ...] = ()
    doubles: tuple[str, ...] = ()
    shared: int = 0
    lengths: Mapping[Example, float] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """Describe what will be used and what won't, one line each."""
        classes = Counter(label for example in self.train for label in example.labels)
        about = ""
        if self.dataset.classes:
            least, most = min(classes.values(), default=0), max(classes.values(), default=0)
            each = f"{least}" if least == most else f"{least} to {most}"
            kinds = counted(len(self.dataset.classes), "class", "classes")
            if self.dataset.multi_label:
                kinds = f"{counted(len(self.dataset.classes), 'label')}, several a clip"
            about = f", {kinds} ({each} train {'clip' if most == 1 else 'clips'} each)"
        if self.dataset.outputs:
            about = f", values of {_some(self._ranges())}"
        lines = [f"{counted(len(self.train), 'train clip')}, {len(self.val)} held out{about}; {self.rule}"]
        lines += self.dataset.notes
        if self.broken:
            shown = "; ".join(_why(path, why) for path, why in self.broken[:_NAMED])
            more = f"; and {len(self.broken) - _NAMED} more" if len(self.broken) > _NAMED else ""
            lines.append(f"left out, can't be read: {len(self.broken)} of the files ({shown}{more})")
        if self.doubles:
            lines.append(f"left out of the held-out clips, since they are in train as well: {_some(self.doubles)}")
        if self.shared:
            lines.append(f"held-out clips of files that are trained on as well, as the data says: {self.shared}")
        few = [f"{label} ({classes[label]})" for label in self.dataset.classes if classes[label] < FEW]
        if few:
            lines.append(f"fewer than {FEW} train clips: {_some(few)}")
        held = {label for example in self.val for label in example.labels}
        unseen = [label for label in self.dataset.classes if label not in held]
        if self.val and unseen:
            lines.append(f"nothing held out of {_some(unseen)}")
        return lines

    def _ranges(self) -> list[str]:
        """Format each output with the range of its training values."""
        columns = zip(*(example.values for example in self.train), strict=True)
        return [
            f"{name} ({min(column):g} to {max(column):g})"
            for name, column in zip(self.dataset.outputs, columns, strict=True)
        ]


def check_dataset(
    dataset: Dataset,
    train: Sequence[Example],
    val: Sequence[Example],
    rule: str,
    *,
    decoder: Decoder | None,
    on_progress: Callable[[str, VideoMAEError | None], None] = lambda path, error: None,
) -> Report:
    """Try to decode every clip (skipped if `decoder` is None), and look for held-out files that are also trained on.

    on_progress: called with each path after it was tried, and its error or None. Raises DatasetError if nothing can be
    learnt.
    """
    if not train:
        raise DatasetError.about("data", "there is nothing to train on: every clip of the data is in val or test")
    broken: dict[Example, str] = {}
    lengths: dict[Example, float] = {}
    if decoder is not None:
        broken, lengths = _tried([*train, *val], decoder, on_progress)
    good = [example for example in train if example not in broken]
    doubles = _doubles(good, val)
    held = [example for example in val if example not in broken and example not in doubles]
    trained = {ClipName.parse(example.path).place for example in good}
    report = Report(
        dataset=dataset,
        train=tuple(good),
        val=tuple(held),
        rule=rule,
        broken=tuple(dict.fromkeys((example.path, why) for example, why in broken.items())),
        doubles=tuple(dict.fromkeys(example.path for example in doubles)),
        shared=sum(ClipName.parse(example.path).place in trained for example in held),
        lengths=lengths,
    )
    _check_enough(report)
    return report


def _check_enough(report: Report) -> None:
    if not report.train:
        first = f" ({_why(*report.broken[0])})" if report.broken else ""
        raise DatasetError.about("data", "not one of the training files can be read{first}", first=first)
    for number, name in enumerate(report.dataset.outputs):
        _check_varies(name, [example.values[number] for example in report.train])
    classes = report.dataset.classes
    if not classes:
        return
    if len(classes) == 1 and not report.dataset.multi_label:
        raise DatasetError.about(classes[0], "there is one class only, {subject!r}: a classifier needs two or more")
    counts = Counter(label for example in report.train for label in example.labels)
    if all(counts[label] == len(report.train) for label in classes):
        reason = "every training clip has {classes}: add clips that lack a label, or have none"
        raise DatasetError.about(classes[0], reason, classes=_some([repr(label) for label in classes]))
    missing = [label for label in classes if label not in counts]
    if missing:
        reason = "no training clip that can be read is of {missing}"
        raise DatasetError.about(missing[0], reason, missing=_some([repr(label) for label in missing]))


def _check_varies(name: str, values: Sequence[float]) -> None:
    """Raise DatasetError if all values are equal, or too close together to tell apart in float32."""
    least, most = min(values), max(values)
    if least == most:
        clips = "the only training clip has" if len(values) == 1 else f"all {len(values)} training clips have"
        raise DatasetError.about(
            name, "{clips} the value {least:g} in {subject!r}: nothing can be learnt", clips=clips, least=least
        )
    if most - least < max(_LEAST_SPREAD * max(abs(least), abs(most)), _LEAST_SCALE):
        raise DatasetError.about(
            name,
            "the values in {subject!r} ({least:.12g} to {most:.12g}) differ by less than a model's numbers "
            "can: take off what they share, or use another unit",
            least=least,
            most=most,
        )


def _tried(
    examples: Sequence[Example], decoder: Decoder, on_progress: Callable[[str, VideoMAEError | None], None]
) -> tuple[dict[Example, str], dict[Example, float]]:
    """Decode some frames of each example; return why examples can't be read, and the seconds that the others last."""
    requests = (
        ClipRequest(example.path, sampling=_PROBE_SAMPLING.within(example.start, example.end), transform=_PROBE_SIZE)
        for example in examples
    )
    broken, lengths = {}, {}
    for example, (_, outcome) in zip(examples, decoder.decode_all(requests, ahead=16), strict=True):
        error = outcome if isinstance(outcome, VideoMAEError) else None
        on_progress(example.path, error)
        if isinstance(outcome, VideoMAEError):
            broken[example] = str(outcome)
        else:
            first, stop = outcome.plan.window
            lengths[example] = (stop - first) / outcome.info.fps if outcome.info.fps > 0 else 0.0
    return broken, lengths


def _doubles(train: Sequence[Example], val: Sequence[Example]) -> set[Example]:
    """Find held-out examples that are whole clips with the same bytes as one to train on: a film, also in an archive, or pictures.
    Only clips of equal size are read."""
    remote = storage.stamps(example.path for example in (*train, *val) if val and storage.is_address(example.path))
    sizes: dict[_Size, list[str]] = defaultdict(list)
    for path in dict.fromkeys(example.path for example in train) if val else ():
        size = _size_of(path, remote)
        if size is not None:
            sizes[size].append(path)
    seen: dict[str, str] = {}
    doubles = set()
    for example in val:
        if example.start is not None or example.end is not None:
            continue
        size = _size_of(example.path, remote)
        alike = sizes.get(size, []) if size is not None else []
        if any(path == example.path or _digest(path, seen) == _digest(example.path, seen) for path in alike):
            doubles.add(example)
    return doubles


def _size_of(path: str, remote: Mapping[str, Any]) -> _Size | None:
    """Return what two clips with the same bytes have in common: the size of a film; the number of pictures, and the sizes of some.

    None for a clip that can't be read. remote: what storage says of objects.
    """
    if storage.is_address(path):
        return (remote[path].size,) if path in remote else None
    if (place := filesystem.look(path)).is_file:
        return (place.size,)
    try:
        if (member := tar_members.find_video(path)) is not None:
            return (member.size,) if member.kind == "file" else None
        if (pictures := find_sequence(path)) is None:
            return None
        some = dict.fromkeys((0, len(pictures) // 2, len(pictures) - 1))
        return ("pictures", len(pictures), *(_length(pictures, place) for place in some))
    except (OSError, ValueError, VideoError):
        return None


def _length(pictures: ImageSequence, place: int) -> int:
    with pictures.opened(place) as stream:
        return stream.seek(0, 2)


def _digest(path: str, seen: dict[str, str]) -> str:
    if path not in seen:
        try:
            pictures = None if storage.is_address(path) else find_sequence(path)
            if pictures is not None:
                hashed = hashlib.sha256()
                for place in range(len(pictures)):
                    with pictures.opened(place) as stream:
                        hashed.update(hashlib.file_digest(cast(Any, stream), "sha256").digest())
                seen[path] = hashed.hexdigest()
            else:
                with storage.opened(path) if storage.is_address(path) else tar_members.opened(path) as stream:
                    seen[path] = hashlib.file_digest(cast(Any, stream), "sha256").hexdigest()
        except (OSError, ValueError, StorageError, VideoError):
            seen[path] = path  # the clip has disappeared: treat it as unique
    return seen[path]


def _why(path: str, why: str) -> str:
    """Prefix an error with the path of its file, unless it contains the path already."""
    return as_utf8(why if path in why else f"{path}: {why}")


def _some(names: Iterable[str]) -> str:
    names = [as_utf8(name) for name in names]
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
