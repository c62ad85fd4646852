"""One pass over a file: exactly the reader's frames, nothing decoded or resized twice, and what breaks costs what comes
after."""

from __future__ import annotations

import math
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import films
import numpy as np
import numpy.typing as npt
import pytest
from pictures_of_clips import jpeg, write_frames

from videomae_cli.errors import DecoderCrashError, DecodeTimeoutError, FileChangedError, NotAVideoError, VideoError
from videomae_cli.video import Decoder, FrameBlock, FrameTransform, PassRequest, WindowSpec, open_video
from videomae_cli.video import blocks as blocks_module
from videomae_cli.video import onepass as onepass_module
from videomae_cli.video.captures import OpenCVCapture
from videomae_cli.video.onepass import PassReader
from videomae_cli.video.worker import WorkerProcess

Films = Callable[[str], Path]
Frame = npt.NDArray[np.uint8]
SMALL = FrameTransform(shortest_edge=32, size=None, crop=(32, 32))


def all_of(request: PassRequest) -> tuple[list[int], list[float], list[Frame], FrameBlock]:
    """Numbers, times and frames of every block, and the last block; decoded in this process."""
    numbers: list[int] = []
    times: list[float] = []
    frames: list[Frame] = []
    with Decoder(isolate=False).stream(request) as stream:
        for block in stream:
            if block.restarted:
                numbers, times, frames = [], [], []
            numbers += block.numbers
            times += block.times
            frames += list(block.frames)
    assert block.last
    return numbers, times, frames, block


@pytest.mark.parametrize(
    "name", [*films.INTACT, "edit-list.mp4", "cut-off.mkv", "joined.ts", "animation.webp", "dv.avi"]
)
def test_frames_are_those_of_the_reader(film: Films, name: str) -> None:
    path = film(name)
    numbers, times, frames, last = all_of(PassRequest(path))
    with open_video(path) as reader:
        assert numbers == list(range(reader.num_frames))
        assert times == pytest.approx(list(reader.times), abs=2e-3)
        expected = reader.read(range(reader.num_frames))
        assert last.info is not None
        assert (last.info.decoder, last.info.num_frames) == (reader.info.decoder, reader.num_frames)
        assert last.end == pytest.approx(reader.info.duration, abs=2e-3)
        assert last.warnings == reader.warnings
    # The count of decoding threads may differ, which only damaged pictures show.
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(frames, expected, strict=True))


def test_a_damaged_picture_is_passed_over_by_its_name(tmp_path: Path) -> None:
    clip = write_frames(tmp_path / "clip", range(1, 11))
    (clip / "img_00003.jpg").write_bytes(jpeg((20, 10)))
    (clip / "img_00008.jpg").write_bytes(jpeg()[:300])
    numbers, _, _, last = all_of(PassRequest(clip, transform=SMALL))
    assert numbers == [0, 1, 3, 4, 5, 6, 8, 9]
    first, second = (one for one in last.warnings if one.startswith("passed over: "))
    assert "picture 'img_00003.jpg' of " in first
    assert "is 20x10 pixels" in first
    assert "picture 'img_00008.jpg' of " in second


@pytest.mark.parametrize("name", ["h264.mp4", "h264.ts", "variable.mkv", "h264-gop250.mp4", "slideshow.mkv"])
def test_windows_get_the_frames_on_screen(film: Films, name: str) -> None:
    path = film(name)
    spec = WindowSpec(frames=4, window=0.61, hop=0.37)
    numbers, _, frames, _ = all_of(PassRequest(path, spec, SMALL))
    with open_video(path) as reader:
        times = np.array(reader.times)
        grid = spec.grid(fps=reader.fps, end=reader.info.duration)
        wanted = {int(np.searchsorted(times - 5e-4, m, "right") - 1) for m in grid.all_moments()}
        indices = sorted(wanted)
        expected = reader.read(indices, SMALL)
    assert numbers == sorted(wanted)
    assert len(numbers) > 2
    rows = {number: row for row, number in enumerate(indices)}
    assert all(np.array_equal(frame, expected[rows[n]][0]) for n, frame in zip(numbers, frames, strict=True))


@pytest.mark.parametrize(
    "name", ["h264.mp4", "h264.mkv", "h264.ts", "variable.mp4", "joined.ts", "cut-off.ts", "h264.h264"]
)
def test_nothing_is_decoded_or_resized_twice(film: Films, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    grabbed: list[int] = []
    resized: list[int] = []
    grab, retrieve = OpenCVCapture.grab, OpenCVCapture.retrieve

    def counting_grab(self: OpenCVCapture) -> float | None:
        moment = grab(self)
        grabbed.append(1) if moment is not None and not self._ahead else None
        return moment

    def counting_retrieve(self: OpenCVCapture) -> Frame | None:
        resized.append(1)
        return retrieve(self)

    monkeypatch.setattr(OpenCVCapture, "grab", counting_grab)
    monkeypatch.setattr(OpenCVCapture, "retrieve", counting_retrieve)
    transformed: Counter[int] = Counter()
    apply = FrameTransform.__call__

    def counting_transform(self: FrameTransform, frame: Frame) -> Frame:
        transformed["all"] += 1
        return apply(self, frame)

    monkeypatch.setattr(FrameTransform, "__call__", counting_transform)
    # Every frame is in two windows.
    spec = WindowSpec(frames=16, window=0.64, hop=0.32)
    numbers, _, _, last = all_of(PassRequest(film(name), spec, SMALL))
    assert last.info is not None
    # OpeningAhead decodes the first frame before it is asked for: it is grabbed once and handed over once.
    assert len(grabbed) <= last.info.num_frames + 2
    assert transformed["all"] == len(numbers) == len(set(numbers))
    assert len(resized) <= last.info.num_frames


def test_gaps_that_are_worth_it_are_jumped_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = films.write_film(tmp_path / "long.mp4", count=1000, options={"g": "25"})
    grabbed: list[int] = []
    grab = OpenCVCapture.grab
    monkeypatch.setattr(OpenCVCapture, "grab", lambda self: (grabbed.append(1), grab(self))[1])
    spec = WindowSpec(frames=4, window=0.4, hop=10.0)
    numbers, _, frames, _ = all_of(PassRequest(path, spec))
    assert [films.read_number(frame) for frame in frames] == [number % 256 for number in numbers]
    assert len(grabbed) < 500


def test_start_and_end_are_kept(film: Films) -> None:
    for name in ("h264-gop250.mp4", "joined.ts"):
        numbers, _, frames, last = all_of(PassRequest(film(name), start=3.0, end=3.5))
        assert numbers == list(range(75, 88)) or name == "joined.ts"
        assert [films.read_number(frame) for frame in frames] == [number % 100 for number in numbers][: len(frames)]
        assert len(numbers) == 13
        assert last.last


def test_a_start_behind_the_end_is_an_error(film: Films) -> None:
    with pytest.raises(VideoError, match="start \\(99 s\\) is after the last frame"):
        all_of(PassRequest(film("h264.mp4"), WindowSpec(start=99)))


def test_years_for_a_few_pictures_are_refused(tmp_path: Path) -> None:
    tick = Fraction(1, 1000)
    path = films.write_film(
        tmp_path / "years.mp4", count=3, pts=[0, 40, 80_000_000], time_base=tick, options={"bf": "0"}
    )
    with pytest.raises(VideoError, match=r"its 3 frames are said to last [0-9,]+ hours, which makes .* windows"):
        all_of(PassRequest(path, WindowSpec(window=1, hop=0.5)))
    # An index that can't be trusted: a gap of more than a day is none.
    reader = PassReader(str(films.write_film(tmp_path / "plain.mp4")))
    reader._known, reader._times = None, reader._times[:1]
    reader._raw = 0.0
    for raw in (0.04, 1e9, 1e9 + 0.04):
        reader._note_time(raw)
    assert list(reader._times) == pytest.approx([0.0, 0.04, 0.08, 0.12])
    reader.close()


def test_a_file_that_does_not_come_as_foretold_is_walked_on_from_there(film: Films) -> None:
    """An index that is wrong from frame 30 on: no frame is lost or told twice."""
    path = film("h264.mp4")
    reader = PassReader(str(path))
    assert reader._known is not None
    for number in range(30, 60):
        reader._known[number] += 0.01
    steps = list(reader.walk(None, 0.0, math.inf))
    reader.close()
    seen = [(number, films.read_number(frame)) for number, _, frame in steps if frame is not None]
    assert seen == [(number, number) for number in range(60)]
    times = [seconds for _, seconds, _ in steps]
    assert times == sorted(times)


def test_a_file_that_ends_early_says_so(film: Films) -> None:
    numbers, _, _, last = all_of(PassRequest(film("cut-off.ts"), WindowSpec(frames=4, window=0.4)))
    assert numbers
    assert last.info is not None
    assert last.end < 100 / 25
    with open_video(film("cut-off.ts")) as reader:
        assert last.warnings == reader.warnings


def test_wrong_pictures_are_sent_again(film: Films, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interlaced pictures that OpenCV can't convert: it repeats the last one, and PyAV takes over from the start."""
    path = film("h264-interlaced.mp4")
    probe = onepass_module.VideoReader.__init__.__globals__["probe_video"]

    def blind(*arguments: Any) -> Any:
        from dataclasses import replace

        return replace(probe(*arguments), avoid_opencv=None)

    monkeypatch.setitem(onepass_module.VideoReader.__init__.__globals__, "probe_video", blind)
    restarts = 0
    numbers: list[int] = []
    frames: list[Frame] = []
    with Decoder(isolate=False).stream(PassRequest(path)) as stream:
        for block in stream:
            if block.restarted:
                restarts, numbers, frames = restarts + 1, [], []
            numbers += block.numbers
            frames += list(block.frames)
    assert restarts == 1
    assert numbers == [films.read_number(frame) for frame in frames] == list(range(40))
    assert block.info is not None
    assert block.info.decoder == "pyav"


def test_a_file_that_grows_meanwhile_is_an_error(film: Films, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "growing.mp4"
    path.write_bytes(film("h264.mp4").read_bytes())
    monkeypatch.setattr(blocks_module, "BLOCK_FRAMES", 10)
    with Decoder(isolate=False).stream(PassRequest(path)) as stream:
        blocks = iter(stream)
        assert len(next(blocks).numbers) == 10
        with path.open("ab") as file:
            file.write(b"more")
        with pytest.raises(FileChangedError):
            list(blocks)


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(timeout=60) as decoder:
        yield decoder


def test_another_process_sends_the_same(film: Films, decoder: Decoder) -> None:
    path = film("h264-gop250.mp4")
    with decoder.stream(PassRequest(path)) as stream:
        assert stream.head.info.num_frames == 280
        blocks = list(stream)
    numbers = [number for block in blocks for number in block.numbers]
    frames = [frame for block in blocks for frame in block.frames]
    assert len(blocks) > 1
    assert numbers == list(range(280))
    assert [films.read_number(frame) for frame in frames] == [number % 256 for number in numbers]


def test_who_stops_looking_can_look_at_the_next_file(film: Films, decoder: Decoder) -> None:
    for _ in range(2):
        with decoder.stream(PassRequest(film("h264-gop250.mp4"))) as stream:
            assert len(next(iter(stream)).numbers) > 10
    with decoder.stream(PassRequest(film("h264.mp4"))) as stream:
        assert sum(len(block.numbers) for block in stream) == 60


def test_no_video_is_an_error(tmp_path: Path, decoder: Decoder) -> None:
    (tmp_path / "no.mp4").write_text("no film")
    for _ in range(2):
        with pytest.raises(NotAVideoError):
            decoder.stream(PassRequest(tmp_path / "no.mp4"))


def slow_block(token: int) -> FrameBlock:
    """Stands in for a decoder that hangs after its first block."""
    if blocks_module._passes[token].through:
        time.sleep(60)
    return blocks_module.next_block(token)


def deadly_block(token: int) -> FrameBlock:
    """And for one that crashes."""
    if blocks_module._passes[token].through:
        os.kill(os.getpid(), signal.SIGSEGV)
    return blocks_module.next_block(token)


@pytest.mark.parametrize(("stand_in", "error"), [(slow_block, DecodeTimeoutError), (deadly_block, DecoderCrashError)])
def test_what_came_before_a_break_is_kept(
    film: Films, stand_in: Callable[[int], FrameBlock], error: type[VideoError], monkeypatch: pytest.MonkeyPatch
) -> None:
    call = WorkerProcess.call

    def replaced(self: WorkerProcess, function: Any, argument: Any, **options: Any) -> Any:
        if function is blocks_module.next_block:
            # A process that crashes is seen to be gone, however long a busy machine takes for that.
            function, options["timeout"] = stand_in, 2.0 if stand_in is slow_block else 300.0
        return call(self, function, argument, **options)

    monkeypatch.setattr(WorkerProcess, "call", replaced)
    with Decoder(timeout=60) as decoder:
        got: list[FrameBlock] = []
        with decoder.stream(PassRequest(film("h264-gop250.mp4"))) as stream, pytest.raises(error):
            got.extend(stream)
        assert got == [] or len(got[0].numbers) > 10
        assert len(got) == 1
        monkeypatch.undo()
        # The next file has a process of its own.
        with decoder.stream(PassRequest(film("h264.mp4"))) as stream:
            assert sum(len(block.numbers) for block in stream) == 60
