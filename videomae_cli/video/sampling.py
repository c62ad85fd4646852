"""Chooses which frames to look at: pure maths from (frame count, times, specification) to frame indices. No I/O.

    file       0 . . . . . . . . . . . . . . . . . . . . . N-1
    dense      |x...x...x...x|              |x...x...x...x|      every `stride`-th frame, clips spread evenly
    uniform    |x   x   x   x   x   x|x   x   x   x   x   x|     the file in equal parts, one clip each
    segments   x   o   x   o   x   o   x   o   x   o   x   o     every clip spans the file, shifted by a phase

`dense` is the Kinetics-400 test of the VideoMAE paper (MCG-NJU/VideoMAE 14ef8d8, kinetics.py), `segments` its
Something-Something V2 test (ssv2.py). `protocol="paper"` fixes 5 x 3 and 2 x 3 views and keeps their edge behaviour;
`auto` picks the family of the checkpoint's data and adapts clips and stride to the length of the file.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from videomae_cli.errors import OptionError, VideoError, check_choice, say

FAMILIES = ("dense", "uniform", "segments")
DEFAULT_STRIDE = 4
SECONDS_PER_CLIP = 10.0
# Values above these are typos, and would fill the memory before anything is decoded.
MAX_FPS, MAX_CLIPS, MAX_STRIDE = 1000.0, 1000, 1_000_000
MAX_AUTO_CLIPS = 10
PAPER_CLIPS = {"dense": 5, "segments": 2}
PAPER_CROPS = 3
PIXELS = ("display", "stored")
DRAWN = ("window", "steps")


@dataclass(frozen=True)
class SamplingHints:
    """Describes how a checkpoint's training data was sampled. A field is None if the checkpoint doesn't say.

    frames: of one clip; family: one of `FAMILIES`; stride: in frames; pixels: one of `PIXELS`.
    """

    frames: int
    family: str | None = None
    stride: int | None = None
    pixels: str | None = None


@dataclass(frozen=True)
class SamplingSpec:
    """Specifies which clips and frames to read; None means "as `protocol` says".

    Times are in seconds, `fps` in frames per second.

    checkpoint_family, checkpoint_stride: how the checkpoint's training data was sampled; used by family "auto". seed:
    draw the frames at random, as training does, instead of evenly; protocol "paper" then draws the segments of short
    files as published, and fixes nothing else. drawn: how a random dense clip is chosen: "window" spreads its frames
    over `frames` times `stride` frames, as in fine-tuning; "steps" takes every `stride`-th frame, as in pre-training.
    pixels: "display" stretches frames to square pixels if the file's own are not; "stored" leaves them as they are, as
    all published results do; None: as the checkpoint was trained (`for_model`), "stored" with protocol "paper", else
    "display".
    """

    frames: int = 16
    family: str = "auto"
    stride: int | None = None
    clips: int | None = None
    crops: int | None = None
    protocol: str = "auto"
    fps: float | None = None
    start: float | None = None
    end: float | None = None
    checkpoint_family: str | None = None
    checkpoint_stride: int | None = None
    seed: int | None = None
    pixels: str | None = None
    drawn: str = "window"

    def __post_init__(self) -> None:
        for name in ("frames", "stride", "clips", "checkpoint_stride"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise OptionError.about(name, "{subject} must be at least 1, not {value}", value=value)
        if self.clips is not None and self.clips > MAX_CLIPS:
            reason = "{subject} must be at most {most}, not {clips}: timeline looks at whole films"
            raise OptionError.about("clips", reason, most=MAX_CLIPS, clips=self.clips)
        if self.stride is not None and self.stride > MAX_STRIDE:
            raise OptionError.about(
                "stride", "stride must be at most {max_stride}, not {stride}", max_stride=MAX_STRIDE, stride=self.stride
            )
        if self.crops not in (None, 1, 3):
            raise OptionError.about("crops", "crops must be 1 or 3, not {crops}", crops=self.crops)
        check_choice("sampling", self.family, ("auto", *FAMILIES), what="sampling family")
        if self.checkpoint_family not in (None, *FAMILIES):
            reason = "the checkpoint names an unknown sampling family {family!r}"
            raise OptionError.about("sampling", reason, family=self.checkpoint_family)
        check_choice("protocol", self.protocol, ("auto", "paper"), last=" or ")
        if self.pixels is not None:
            check_choice("pixels", self.pixels, PIXELS, last=" or ")
        check_choice("drawn", self.drawn, DRAWN, what="way to draw clips", last=" or ")
        self._check_times()
        self._check_paper()

    def _check_times(self) -> None:
        for name in ("fps", "start", "end"):
            value = getattr(self, name)
            if value is not None and (not math.isfinite(value) or value < 0 or (name == "fps" and value == 0)):
                raise OptionError.about(name, "{subject} must be a positive number, not {value}", value=value)
        if self.fps is not None and self.fps > MAX_FPS:
            raise OptionError.about(
                "fps", "fps must be at most {max_fps:g}, not {fps:g}", max_fps=MAX_FPS, fps=self.fps
            )
        if self.end is not None and self.end <= (self.start or 0.0):
            raise OptionError.about(
                "end", "end ({end:g} s) must be after start ({start:g} s)", end=self.end, start=self.start or 0.0
            )

    def _check_paper(self) -> None:
        if self.protocol != "paper" or self.seed is not None:
            return
        fixed = [name for name in ("stride", "clips", "crops", "fps") if getattr(self, name) is not None]
        fixed += ["pixels"] if self.pixels == "display" else []
        if fixed:
            names = " and ".join(fixed)
            raise OptionError.about(
                "protocol", "the paper protocol fixes {names} itself: leave out either it or {names}", names=names
            )
        if self.resolved_family not in PAPER_CLIPS:
            raise OptionError.about(
                "protocol",
                "the paper has no {family!r} protocol: choose dense or segments",
                family=self.resolved_family,
            )

    @property
    def resolved_pixels(self) -> str:
        """Return whether frames have "display" or "stored" pixels."""
        return self.pixels or ("stored" if self.protocol == "paper" else "display")

    def within(self, start: float | None, end: float | None) -> SamplingSpec:
        """Return this spec limited to a part of each file, in seconds; None leaves a bound unchanged."""
        return replace(self, start=self.start if start is None else start, end=self.end if end is None else end)

    def for_model(self, hints: SamplingHints) -> SamplingSpec:
        """Return this spec with the frames per clip, family, stride and pixels that the model was trained with."""
        own = hints.pixels if self.protocol != "paper" else None
        spec = replace(self, frames=hints.frames, checkpoint_family=hints.family, checkpoint_stride=hints.stride)
        return replace(spec, pixels=self.pixels or own or self.resolved_pixels)

    @property
    def resolved_family(self) -> str:
        """Return the family in use: the requested one, else the checkpoint's, else dense."""
        return self.family if self.family != "auto" else self.checkpoint_family or "dense"

    @property
    def resolved_crops(self) -> int:
        """Return the crops per clip: the requested number, else 3 for the paper's protocol, else 1."""
        return self.crops or (PAPER_CROPS if self.protocol == "paper" else 1)

    def clip_count(self, seconds: float) -> int:
        """Return how many clips to take from a video, or from a part of one, of this length."""
        if self.protocol == "paper" and self.seed is None:
            return PAPER_CLIPS[self.resolved_family]
        return self.clips or max(1, min(MAX_AUTO_CLIPS, int(seconds / SECONDS_PER_CLIP + 0.5)))


@dataclass(frozen=True)
class SamplingPlan:
    """The frames to read: `clips[c][t]` is a frame index of the file.

    description: how the clips were chosen, in words; window: range (first, stop) of the frames between `start` and
    `end`.
    """

    family: str
    stride: int | None
    clips: tuple[tuple[int, ...], ...]
    crops: int
    description: str
    num_frames: int
    window: tuple[int, int]
    warnings: tuple[str, ...] = ()

    @property
    def indices(self) -> list[int]:
        """Return the index of every frame to read, once, ascending."""
        return sorted({index for clip in self.clips for index in clip})


def plan_clips(
    spec: SamplingSpec, *, num_frames: int, fps: float, times: Sequence[float] | None = None
) -> SamplingPlan:
    """Choose the frames that `spec` asks for in a file of `num_frames` frames.

    times: seconds of each frame, ascending from 0; without them frame i is at i / fps. Raises VideoError if nothing
    lies between `spec.start` and `spec.end`.
    """
    if num_frames < 1:
        raise VideoError("the video has no frames")
    clock = times if times is not None else _Clock(num_frames, fps)
    first, stop = _window(spec, clock)
    pool = range(first, stop) if spec.fps is None else _Resampled(clock, first, stop, spec.fps)
    # The last frame lasts until the next one would come, so that 30 frames at 30 fps take one second. This uses the
    # file's own rate: requesting fewer frames per second doesn't make a video longer.
    seconds = clock[stop - 1] - clock[first] + (1.0 / fps if fps > 0 else 0.0)
    family = spec.resolved_family
    stride = _stride(spec, len(pool)) if family == "dense" else None
    count = spec.clip_count(seconds)
    if spec.seed is None:
        positions = _POSITIONS[family](len(pool), spec.frames, stride or 1, count)
    else:
        chance = random.Random(spec.seed)
        positions = [_draw(chance, spec, family, k, len(pool), stride or 1, count) for k in range(count)]
    clips = tuple(tuple(pool[position] for position in clip) for clip in positions)
    description = _describe(spec, family, stride, count, len(pool), seconds)
    warnings = _warnings(spec, clips, stop - first, seconds, fps)
    return SamplingPlan(family, stride, clips, spec.resolved_crops, description, num_frames, (first, stop), warnings)


def dense_positions(count: int, frames: int, stride: int, clips: int) -> list[list[int]]:
    """Choose dense clips as the Kinetics test does: clips of every `stride`-th frame, spread evenly over the file.

    Keep positions 0, stride, 2 stride, ...; repeat the last up to `frames`; clip k starts at int(k * max((kept -
    frames) / (clips - 1), 0)) among those kept. A single clip sits in the middle.
    """
    span = (frames - 1) * stride + 1
    if clips == 1 and count > span:
        # Centred on the file rather than on the kept positions, so that both ends lose equally many frames.
        return [list(range((count - span) // 2, count, stride))[:frames]]
    kept = list(range(0, count, stride))
    kept += kept[-1:] * (frames - len(kept))
    room = len(kept) - frames
    starts = [int(k * max(room / max(clips - 1, 1), 0)) for k in range(clips)]
    return [kept[start : start + frames] for start in starts]


def uniform_positions(count: int, frames: int, stride: int, clips: int) -> list[list[int]]:
    """Cut the file into `clips` equal parts, and space `frames` positions equally over each, ends included."""
    result = []
    for k in range(clips):
        first = min(count * k // clips, count - 1)
        last = max(count * (k + 1) // clips - 1, first)
        result.append([first + (last - first) * t // max(frames - 1, 1) for t in range(frames)])
    return result


def segments_positions(count: int, frames: int, stride: int, clips: int) -> list[list[int]]:
    """Choose clips as the Something-Something test does: each spans the whole file, offset from the others.

    With tick = count / frames, clip c takes int(tick * c / clips + tick * x) for each segment x. With two clips these
    are the two halves of the published sorted union of int(tick * x) and int(tick / 2 + tick * x). A single clip takes
    the middle of each segment, as the official validation does.
    """
    tick = count / frames
    shifts = [tick / 2] if clips == 1 else [tick * c / clips for c in range(clips)]
    return [[int(shift + tick * x) for x in range(frames)] for shift in shifts]


def _draw(
    chance: random.Random, spec: SamplingSpec, family: str, k: int, count: int, stride: int, clips: int
) -> list[int]:
    """Draw the positions of clip `k` at random, as in training.

    A dense clip may start anywhere in the file. The other families take one random frame of each segment (TSN, section
    3.1): segments of the whole file for "segments", of the clip's own part of it for "uniform".
    """
    frames = spec.frames
    if family == "dense":
        draw = drawn_steps if spec.drawn == "steps" else drawn_window
        return draw(chance, count, frames, stride)
    if family == "segments":
        return drawn_segments(chance, count, frames, exact=spec.protocol == "paper")
    first, stop = count * k // clips, count * (k + 1) // clips
    return [min(first + position, count - 1) for position in _of_each_part(chance, max(stop - first, 1), frames)]


def drawn_window(chance: random.Random, count: int, frames: int, stride: int) -> list[int]:
    """Draw a clip as fine-tuning on Kinetics does: `frames` positions spread over a window of `frames` times `stride`.

    With 16 frames and stride 4 these are 0, 4, 8, 12, 17, ..., 63 from the window's start. A window never ends with the
    file's last frame. A shorter file gives as many positions as it has at that stride, spread over all of it, and then
    its last one again (official `kinetics.py`).
    """
    window = frames * stride
    if count > window:
        first = chance.randrange(count - window)
        return [first + min(window * t // max(frames - 1, 1), window - 1) for t in range(frames)]
    some = count // stride
    spread = [min(count * t // max(some - 1, 1), count - 1) for t in range(some)]
    return spread + [count - 1] * (frames - some)


def drawn_steps(chance: random.Random, count: int, frames: int, stride: int) -> list[int]:
    """Draw a clip as pre-training does: every `stride`-th position, from a random start.

    It starts anywhere that leaves room for `frames` times `stride` frames before the file's last frame. A shorter file
    is used from its first position on, with its last one repeated (official `kinetics.py`).
    """
    room = count - frames * stride
    first = chance.randrange(room + 1) if room >= 0 else 0
    last = first + max(0, (count - 2 - first) // stride) * stride
    return [min(first + t * stride, last) for t in range(frames)]


def drawn_segments(chance: random.Random, count: int, frames: int, *, exact: bool = False) -> list[int]:
    """Draw one position from each of `frames` segments of count // frames; the remainder at the end is never drawn.

    If a file has fewer positions than `frames`, some are repeated, or with `exact` all are the first one, as in the
    official `ssv2.py`.
    """
    if count >= frames:
        length = count // frames
        return [length * x + chance.randrange(length) for x in range(frames)]
    return [0] * frames if exact else _of_each_part(chance, count, frames)


def _of_each_part(chance: random.Random, count: int, frames: int) -> list[int]:
    """Draw one position from each of `frames` parts that together cover all positions."""
    edges = [count * x // frames for x in range(frames + 1)]
    return [start + chance.randrange(max(stop - start, 1)) for start, stop in pairwise(edges)]


_POSITIONS = {"dense": dense_positions, "uniform": uniform_positions, "segments": segments_positions}


def parse_time(text: str, setting: str = "") -> float:
    """Parse seconds from "90", "90.5", "1:30" or "00:01:30.5". Raises OptionError for anything else.

    setting: "start" or "end", which the error names.
    """
    named = "{@" + setting + "}: " if setting else ""
    fields = text.strip().split(":")
    try:
        numbers = [float(field) for field in fields]
    except ValueError:
        numbers = []
    sane = all(math.isfinite(n) and n >= 0 for n in numbers) and all(n < 60 for n in numbers[1:])
    if not 1 <= len(numbers) <= 3 or not sane:
        reason = f"{named}{{subject!r}} is not a time: write seconds (90.5) or hh:mm:ss (00:01:30.5)"
        raise OptionError.about(text, reason)
    seconds = 0.0
    for number in numbers:
        seconds = seconds * 60 + number
    if not math.isfinite(seconds):
        raise OptionError.about(text, f"{named}{{subject!r}} is not a time: it is too long")
    return seconds


class _Clock(Sequence[float]):
    """Computes frame times at a constant rate, without storing them in memory."""

    def __init__(self, count: int, fps: float) -> None:
        self._count, self._fps = count, fps if fps > 0 else 25.0

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> float:  # type: ignore[override]
        if not 0 <= index < self._count:
            raise IndexError(index)
        return index / self._fps


def _window(spec: SamplingSpec, clock: Sequence[float]) -> tuple[int, int]:
    # Half a millisecond of tolerance, since containers store times in ticks and people write 1.033.
    first = bisect_left(clock, spec.start - 5e-4) if spec.start else 0
    stop = bisect_left(clock, spec.end - 5e-4) if spec.end is not None else len(clock)
    if first >= len(clock):
        raise VideoError(f"start ({spec.start:g} s) is after the last frame ({clock[len(clock) - 1]:.3f} s)")
    if stop <= first:
        raise VideoError(f"no frame lies between {spec.start or 0.0:g} s and {spec.end:g} s")
    return first, stop


class _Resampled(Sequence[int]):
    """Finds the frame nearest to each tick of an `fps` clock that starts at frame `first`, without storing them all."""

    def __init__(self, clock: Sequence[float], first: int, stop: int, fps: float) -> None:
        self._clock, self._first, self._stop, self._fps = clock, first, stop, fps
        self._ticks = int((clock[stop - 1] - clock[first]) * fps + 1e-6) + 1

    def __len__(self) -> int:
        return self._ticks

    def __getitem__(self, index: int) -> int:  # type: ignore[override]
        if not 0 <= index < self._ticks:
            raise IndexError(index)
        return _nearest(self._clock, self._clock[self._first] + index / self._fps, self._first, self._stop)


def _nearest(clock: Sequence[float], moment: float, first: int, stop: int) -> int:
    right = bisect_left(clock, moment, first, stop)
    if right == stop or (right > first and moment - clock[right - 1] < clock[right] - moment):
        return right - 1
    return right


def _stride(spec: SamplingSpec, count: int) -> int:
    wanted = spec.stride or (spec.checkpoint_stride if spec.family == "auto" else None) or DEFAULT_STRIDE
    free = spec.stride is None and spec.seed is None and spec.protocol == spec.family == "auto"
    if free and spec.frames > 1:
        # For a short file, a smaller stride is better than repeating the last frame.
        return min(wanted, max(1, (count - 1) // (spec.frames - 1)))
    return wanted


def _warnings(
    spec: SamplingSpec, clips: Sequence[Sequence[int]], frames: int, seconds: float, fps: float
) -> tuple[str, ...]:
    """Return warnings for options that make little sense with this file: frames that would be shown repeatedly."""
    if (spec.fps is None and spec.stride is None) or frames < 2:
        return ()
    given = f"fps {spec.fps:g}" if spec.fps is not None else f"stride {spec.stride}"
    if max(len(set(clip)) for clip in clips) == 1:
        remedy = say("a higher {@fps}") if spec.fps is not None else say("a smaller {@stride}")
        return (f"at {given} a clip is one frame {spec.frames} times, of {frames} in {seconds:.1f} s: give {remedy}",)
    if spec.fps is not None and 0 < 2 * fps < spec.fps:
        note = (
            "at {given} frames of this file, which has {fps:g} a second, are shown several times: give a lower {@fps}"
        )
        return (say(note, given=given, fps=fps),)
    return ()


def _describe(spec: SamplingSpec, family: str, stride: int | None, clips: int, count: int, seconds: float) -> str:
    words = [f"{family}: {clips} clip{'s' if clips != 1 else ''} of {spec.frames} frames"]
    if stride is not None:
        words.append(f"stride {stride}")
    words.append(f"{spec.resolved_crops} crop{'s' if spec.resolved_crops != 1 else ''}")
    if spec.seed is not None:
        words.append("drawn at random")
    if spec.fps is not None:
        words.append(f"at {spec.fps:g} fps by time")
    if spec.start is not None or spec.end is not None:
        words.append(f"from {spec.start or 0.0:g} s to {f'{spec.end:g} s' if spec.end is not None else 'the end'}")
    words.append(f"over {count} frames ({seconds:.1f} s)")
    if spec.protocol == "paper":
        words.append("the paper's protocol")
    if count < spec.frames and family == "dense":
        words.append("the last frame repeats")
    elif stride is not None and spec.stride is None and stride < (spec.checkpoint_stride or DEFAULT_STRIDE):
        words.append("stride reduced to fit")
    elif family == "dense" and count <= (spec.frames - 1) * (stride or 1):
        words.append("the last frame repeats")
    return ", ".join(words)
