"""Decoding in processes of its own: a file that hangs or kills the decoder costs that file only."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import films
import numpy as np
import pytest

from videomae_cli.errors import (
    DecoderCrashError,
    DecodeTimeoutError,
    NotAVideoError,
    OptionError,
    VideoNotFoundError,
)
from videomae_cli.video import ClipRequest, DecodedVideo, Decoder, FrameTransform, SamplingSpec, auto_workers
from videomae_cli.video import worker as worker_module
from videomae_cli.video.captures import _threads_for
from videomae_cli.video.clips import decode_clips
from videomae_cli.video.decoder import _threads_each
from videomae_cli.video.worker import WorkerProcess

Films = Callable[[str], Path]
fresh = pytest.mark.parametrize("python", [sys.executable], indirect=True, ids=["fresh"])
SMALL = FrameTransform(shortest_edge=32, size=None, crop=(32, 32), crops=3)


@pytest.fixture(autouse=True)
def python(request: pytest.FixtureRequest, quick_python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where ending is what is tested, a real one."""
    monkeypatch.setattr(worker_module, "INTERPRETER", getattr(request, "param", quick_python))


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(timeout=60) as decoder:
        yield decoder


@pytest.fixture
def worker() -> Iterator[WorkerProcess]:
    worker = WorkerProcess()
    yield worker
    worker.close()


def test_clips_come_back_as_planned(film: Films, decoder: Decoder) -> None:
    spec = SamplingSpec(frames=4, family="dense", stride=3, clips=2)
    video = decoder.decode(ClipRequest(film("h264.mp4"), sampling=spec))
    assert video.plan.clips == ((0, 3, 6, 9), (48, 51, 54, 57))
    views = video.views()
    assert views.shape == (2, 4, 64, 96, 3)
    assert [[films.read_number(frame) for frame in view] for view in views] == [list(clip) for clip in video.plan.clips]
    assert video.timestamps[1] == pytest.approx([48 / 25, 51 / 25, 54 / 25, 57 / 25])
    assert (video.info.decoder, video.warnings) == ("opencv", ())


def test_views_are_clip_by_clip_then_crop_by_crop(film: Films, decoder: Decoder) -> None:
    spec = SamplingSpec(frames=4, family="uniform", clips=2, crops=3)
    video = decoder.decode(ClipRequest(film("h264.mp4"), sampling=spec, transform=SMALL))
    views = video.views()
    assert views.shape == (6, 4, 32, 32, 3)
    np.testing.assert_array_equal(views[5][0], video.frames[video.rows[1][0], 2])


def test_another_process_and_this_one_agree(film: Films, decoder: Decoder) -> None:
    request = ClipRequest(film("variable.mp4"), sampling=SamplingSpec(clips=2), transform=SMALL)
    with Decoder(isolate=False) as here:
        mine = here.decode(request)
    theirs = decoder.decode(request)
    np.testing.assert_array_equal(mine.views(), theirs.views())
    assert (mine.plan, mine.timestamps) == (theirs.plan, theirs.timestamps)


def test_errors_are_values_and_the_order_is_kept(film: Films, decoder: Decoder, tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("not a video", encoding="utf-8")
    paths = [film("h264.mp4"), text, film("av1.mp4"), tmp_path / "missing.mp4", film("h264.ts")]
    pairs = list(decoder.decode_all(ClipRequest(path, transform=SMALL) for path in paths))
    assert [request.path for request, _ in pairs] == paths
    kinds = [type(outcome) for _, outcome in pairs]
    assert kinds == [DecodedVideo, NotAVideoError, DecodedVideo, VideoNotFoundError, DecodedVideo]


def test_two_workers_keep_the_order_and_read_no_further_ahead(film: Films) -> None:
    taken = 0

    def requests() -> Iterator[ClipRequest]:
        nonlocal taken
        for name in ["h264.mp4", "h264.ts", "h264.mkv"] * 4:
            taken += 1
            yield ClipRequest(film(name), transform=SMALL)

    with Decoder(workers=2) as decoder:
        outcomes = decoder.decode_all(requests())
        request, _ = next(outcomes)
        assert str(request.path).endswith("h264.mp4")
        assert taken == 3
        assert len(list(outcomes)) == 11


def test_a_file_over_its_time_is_stopped(film: Films) -> None:
    with Decoder(timeout=0.0001) as decoder, pytest.raises(DecodeTimeoutError, match="longer than"):
        decoder.decode(ClipRequest(film("h264.mp4")))


def test_after_a_hang_the_next_call_works(worker: WorkerProcess) -> None:
    with pytest.raises(DecodeTimeoutError, match=r"'slow\.mp4' took longer than 0\.2 s"):
        worker.call(time.sleep, 60, timeout=0.2, subject="slow.mp4")
    assert worker.call(abs, -3, timeout=60, subject="next.mp4") == 3


@fresh
@pytest.mark.parametrize(
    ("function", "argument", "cause"), [(os._exit, 3, "exit code 3"), (signal.raise_signal, 11, "SEGV")]
)
def test_after_a_crash_the_next_call_works(
    worker: WorkerProcess, function: Callable[[int], object], argument: int, cause: str
) -> None:
    with pytest.raises(DecoderCrashError, match=rf"'bad\.mp4'.*{cause}"):
        worker.call(function, argument, timeout=60, subject="bad.mp4")
    assert worker.call(abs, -3, timeout=60, subject="next.mp4") == 3


def test_a_process_killed_between_files_costs_no_file(worker: WorkerProcess) -> None:
    first = worker.call(_process_id, None, timeout=60, subject="a.mp4")
    os.kill(first, signal.SIGKILL)
    assert worker._process is not None
    worker._process.wait()
    assert worker.call(_process_id, None, timeout=60, subject="b.mp4") != first


def test_one_process_serves_file_after_file(worker: WorkerProcess) -> None:
    ids = {worker.call(_process_id, None, timeout=60, subject="a.mp4") for _ in range(3)}
    assert len(ids) == 1
    assert os.getpid() not in ids


def test_an_unforeseen_error_is_one_line(worker: WorkerProcess) -> None:
    with pytest.raises(DecoderCrashError, match="TypeError") as caught:
        worker.call(abs, "text", timeout=60, subject="a.mp4")
    assert "\n" not in str(caught.value)


def test_started_early_it_works_the_same(film: Films) -> None:
    with Decoder() as decoder:
        decoder.start()
        assert decoder.decode(ClipRequest(film("h264.mp4"), transform=SMALL)).info.num_frames == 60


@fresh
def test_closing_ends_the_process(worker: WorkerProcess) -> None:
    process_id = worker.call(_process_id, None, timeout=60, subject="a.mp4")
    worker.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process_id, 0)


@pytest.mark.parametrize("options", [{"timeout": 0.0}, {"timeout": -1.0}, {"workers": 0}])
def test_nonsense_options(options: dict[str, float]) -> None:
    with pytest.raises(OptionError):
        Decoder(**options)  # type: ignore[arg-type]


def _process_id(_: None) -> int:
    return os.getpid()


@pytest.mark.parametrize("name", ["h264.mp4", "hevc.mp4", "mpeg4.avi"])
def test_frames_do_not_depend_on_the_number_of_threads(film: Films, name: str) -> None:
    request = ClipRequest(film(name), sampling=SamplingSpec(frames=8))
    alone = decode_clips(request)
    worker = WorkerProcess(threads=1)
    try:
        beside_others = worker.call(decode_clips, request, timeout=60, subject=name)
    finally:
        worker.close()
    np.testing.assert_array_equal(alone.frames, beside_others.frames)


def test_processes_that_take_all_cores_decode_with_one_thread_each() -> None:
    worker = WorkerProcess(threads=_threads_each(auto_workers(1000)))
    try:
        assert worker.call(_threads_for, 64 * 64, timeout=60, subject="") == 1
    finally:
        worker.close()
    assert _threads_for(64 * 64) > 1, "but not a file that is decoded here, by itself"
