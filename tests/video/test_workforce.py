"""What this machine lacks, or somebody else does to a decoder, is no fault of the file: it is decoded once more."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from videomae_cli import system
from videomae_cli.errors import DecoderKilledError, DecoderMemoryError, MachineError, VideoMAEError
from videomae_cli.video import ClipRequest, DecodedVideo, Decoder
from videomae_cli.video import blocks as blocks_module
from videomae_cli.video import worker as worker_module
from videomae_cli.video import workforce as workforce_module
from videomae_cli.video.blocks import FrameBlock, PassRequest
from videomae_cli.video.clips import decode_clips
from videomae_cli.video.worker import WorkerProcess
from videomae_cli.video.workforce import Allowance, Workforce, affordable, patiently

Films = Callable[[str], Path]
MB = 2**20


@pytest.fixture(autouse=True)
def quick(quick_python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workforce_module, "_PAUSES", (0.0, 0.0))
    monkeypatch.setattr(worker_module, "INTERPRETER", quick_python)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Has the processes call another function of this module where they would decode; returns the files asked for."""

    def install(function: Callable[[Any], Any], *, of: Callable[[Any], Any] = decode_clips) -> list[str]:
        call, asked = WorkerProcess.call, list[str]()

        def replaced(self: WorkerProcess, wanted: Any, argument: Any, **options: Any) -> Any:
            if wanted is of:
                asked.append(options["subject"])
                wanted = function
            return call(self, wanted, argument, **options)

        monkeypatch.setattr(WorkerProcess, "call", replaced)
        return asked

    return install


def _mark(request: ClipRequest) -> Path:
    return Path(f"{os.fspath(request.path)}.tried")


def killed_once(request: ClipRequest) -> DecodedVideo:
    """Stands in for a decoder that a system out of memory kills, beside others."""
    if not _mark(request).exists():
        _mark(request).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return decode_clips(request)


def killed_always(request: ClipRequest) -> DecodedVideo:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def crashes(request: ClipRequest) -> DecodedVideo:
    _mark(request).touch()
    os.kill(os.getpid(), signal.SIGSEGV)
    raise AssertionError


def hungry(request: ClipRequest) -> DecodedVideo:
    """Takes 700 MB before it decodes, and waits a while, as a decoder works a while on large pictures."""
    _fill()
    return decode_clips(request)


def hungry_pass(token: int) -> FrameBlock:
    """Does so within a film."""
    _fill()
    return blocks_module.next_block(token)


def _fill() -> None:
    block = np.ones(700 * MB, np.uint8)
    time.sleep(0.5)
    assert block[-1] == 1


def without_descriptors(request: ClipRequest) -> DecodedVideo:
    """Has no file descriptor left for the file."""
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    return decode_clips(request)


def loaded(request: ClipRequest) -> DecodedVideo:
    assert {"torch", "cv2", "av"} <= set(sys.modules), "the clock runs, and these are not imported yet"
    return decode_clips(request)


@pytest.fixture
def copies(film: Films, tmp_path: Path) -> list[ClipRequest]:
    """Four films with folders of their own, which the stand-ins leave marks in."""
    content = film("h264.mp4").read_bytes()
    names = [tmp_path / f"{name}.mp4" for name in "abcd"]
    for name in names:
        name.write_bytes(content)
    return [ClipRequest(name) for name in names]


def outcomes(decoder: Decoder, requests: list[ClipRequest]) -> list[DecodedVideo | VideoMAEError]:
    return [outcome for _, outcome in decoder.decode_all(requests)]


def test_a_decoder_that_was_killed_costs_no_file(copies: list[ClipRequest], stand_in: Callable[..., list[str]]) -> None:
    asked = stand_in(killed_once)
    with Decoder(workers=2) as decoder:
        assert all(isinstance(outcome, DecodedVideo) for outcome in outcomes(decoder, copies))
    assert sorted(asked) == sorted([str(request.path) for request in copies] * 2)


def test_one_that_is_killed_again_costs_its_file_only(
    copies: list[ClipRequest], stand_in: Callable[..., list[str]]
) -> None:
    asked = stand_in(killed_always)
    with Decoder() as decoder:
        (outcome,) = outcomes(decoder, copies[:1])
    assert isinstance(outcome, DecoderKilledError)
    assert (outcome.kind, len(asked)) == ("decoder_crash", 2)
    assert "SIGKILL" in str(outcome)


def test_a_crash_of_its_own_is_not_tried_again(copies: list[ClipRequest], stand_in: Callable[..., list[str]]) -> None:
    asked = stand_in(crashes)
    with Decoder() as decoder:
        (outcome,) = outcomes(decoder, copies[:1])
    assert isinstance(outcome, VideoMAEError)
    assert (outcome.kind, len(asked)) == ("decoder_crash", 1)


def test_more_than_its_share_of_memory_is_given_where_nothing_is_beside_it(
    copies: list[ClipRequest], stand_in: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = stand_in(hungry)
    monkeypatch.setattr(Allowance, "of_machine", classmethod(lambda cls, workers: cls(600 * MB, 4096 * MB)))
    with Decoder(workers=2) as decoder:
        assert all(isinstance(outcome, DecodedVideo) for outcome in outcomes(decoder, copies[:2]))
    assert len(asked) == 4


def test_more_than_a_decoder_may_have_is_a_failure_of_kind_memory(
    copies: list[ClipRequest], stand_in: Callable[..., list[str]]
) -> None:
    """The memory of the process that decodes, not of what may have started it: the tests' program, or Windows' launcher."""
    stand_in(hungry)
    with Decoder(memory=600 * MB) as decoder:
        (outcome,) = outcomes(decoder, copies[:1])
    assert isinstance(outcome, DecoderMemoryError)
    assert outcome.kind == "memory"
    assert "takes more than the 629.1 MB it may have" in str(outcome)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")
def test_a_decoder_without_descriptors_does_not_say_that_a_good_file_is_bad(
    copies: list[ClipRequest], stand_in: Callable[..., list[str]]
) -> None:
    stand_in(without_descriptors)
    with Decoder() as decoder, pytest.raises(MachineError, match="Too many open files"):
        outcomes(decoder, copies[:1])


def test_the_clock_begins_when_all_is_loaded(copies: list[ClipRequest], stand_in: Callable[..., list[str]]) -> None:
    stand_in(loaded)
    with Decoder() as decoder:
        (outcome,) = outcomes(decoder, copies[:1])
    assert isinstance(outcome, DecodedVideo)


def test_a_slow_start_is_not_the_file_s(
    copies: list[ClipRequest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "slow-python"
    slow.write_text(f'#!/bin/sh\nsleep 9\nexec "{worker_module.INTERPRETER}" "$@"\n', encoding="utf-8")
    slow.chmod(0o755)
    monkeypatch.setattr(worker_module, "INTERPRETER", str(slow))
    with Decoder(timeout=8) as decoder:
        assert isinstance(outcomes(decoder, copies[:1])[0], DecodedVideo)


def _scarce(monkeypatch: pytest.MonkeyPatch, most: int, number: int) -> None:
    """Only so many decoding processes can be started from now on."""
    start, started, one_at_a_time = subprocess.Popen, list[Any](), threading.Lock()

    def popen(*arguments: Any, **options: Any) -> Any:
        with one_at_a_time:
            if sum(process.poll() is None for process in started) >= most:
                raise OSError(number, os.strerror(number))
            started.append(start(*arguments, **options))
            return started[-1]

    monkeypatch.setattr(subprocess, "Popen", popen)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EAGAIN, errno.ENOMEM])
def test_with_too_little_for_all_processes_fewer_do_the_work(
    copies: list[ClipRequest], number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    _scarce(monkeypatch, 1, number)
    with Decoder(workers=4) as decoder:
        assert all(isinstance(outcome, DecodedVideo) for outcome in outcomes(decoder, copies))
        assert len(decoder.processes) == 1


def test_where_not_one_can_be_started_the_job_stops(
    copies: list[ClipRequest], film: Films, monkeypatch: pytest.MonkeyPatch
) -> None:
    _scarce(monkeypatch, 0, errno.EAGAIN)
    with Decoder(workers=2) as decoder:
        with pytest.raises(MachineError, match="can't start a decoding process"):
            outcomes(decoder, copies)
        with pytest.raises(MachineError, match="can't start a decoding process"):
            decoder.stream(PassRequest(film("h264.mp4")))


def killed_block(token: int) -> FrameBlock:
    """Stands in for a decoder that is killed in the middle of a film, once."""
    request = blocks_module._passes[token].request
    if blocks_module._passes[token].through and not _mark_of(request).exists():
        _mark_of(request).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return blocks_module.next_block(token)


def _mark_of(request: PassRequest) -> Path:
    return Path(request.path).with_suffix(".killed")


def test_a_film_whose_decoder_was_killed_begins_again(
    film: Films, stand_in: Callable[..., list[str]], tmp_path: Path
) -> None:
    stand_in(killed_block, of=blocks_module.next_block)
    request = PassRequest(shutil.copy(film("h264-gop250.mp4"), tmp_path / "film.mp4"))
    with Decoder(timeout=60) as decoder, decoder.stream(request) as stream:
        blocks = list(stream)
    (again,) = [place for place, block in enumerate(blocks) if block.restarted]
    assert again > 0
    numbers = [number for block in blocks[again:] for number in block.numbers]
    assert numbers == list(range(blocks[-1].info.num_frames))  # type: ignore[union-attr]


class _Process:
    """What `Workforce` needs of a process."""

    def __init__(self) -> None:
        self.pid: int | None = None
        self.ended = False

    def close(self) -> None:
        self.ended = True


def test_alone_waits_for_those_that_work_and_ends_the_others() -> None:
    first, second = _Process(), _Process()
    workforce = Workforce([first, second])  # type: ignore[list-item]
    entered = threading.Event()

    def alone() -> None:
        with workforce.alone():
            entered.set()

    with workforce.one() as working:
        thread = threading.Thread(target=alone)
        thread.start()
        assert not entered.wait(0.05)
        assert not working.ended  # type: ignore[attr-defined]
    thread.join(10)
    assert entered.is_set()
    assert first.ended
    assert second.ended


def test_the_last_process_is_never_dismissed() -> None:
    workforce = Workforce([_Process(), _Process()])  # type: ignore[list-item]
    with workforce.one() as first, workforce.one() as second:
        assert workforce.dismiss(first)
        assert not workforce.dismiss(second)
    with workforce.alone() as left:
        assert left is second


def test_a_passing_lack_is_waited_out() -> None:
    answers: Iterator[Any] = iter([MachineError("not now"), MachineError("nor now"), 3])

    def call() -> int:
        answer = next(answers)
        if isinstance(answer, MachineError):
            raise answer
        return int(answer)

    assert patiently(call) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")
@pytest.mark.parametrize(("hard", "workers"), [(10_000, 8), (0, 1)])
def test_processes_are_as_many_as_there_are_descriptors_for(
    hard: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource

    limits = [(20, max(hard, 20))]
    monkeypatch.setattr(resource, "getrlimit", lambda which: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda which, pair: limits.append(pair))
    assert affordable(8) == workers


def test_a_large_decoder_leaves_memory_to_others(copies: list[ClipRequest], stand_in: Callable[..., list[str]]) -> None:
    with Decoder(memory=2**40, reserve=2**62) as decoder:
        assert isinstance(outcomes(decoder, copies[:1])[0], DecodedVideo), "it takes what any takes"
        asked = stand_in(hungry)
        (outcome,) = outcomes(decoder, copies[:1])
    assert isinstance(outcome, DecoderMemoryError)
    assert len(asked) == 2, "once more, with nothing beside it"
    with Decoder(memory=2**40, reserve=2**62) as decoder:
        stand_in(hungry_pass, of=blocks_module.next_block)
        with pytest.raises(DecoderMemoryError), decoder.stream(PassRequest(copies[0].path)) as stream:
            next(iter(stream))


def test_memory_is_shared_between_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "free_memory", lambda: 8 * 10**9)
    assert Allowance.of_machine(3) == Allowance(2 * 10**9, 6 * 10**9)
    monkeypatch.setattr(system, "free_memory", lambda: 10**9)
    assert Allowance.of_machine(16) == Allowance(2**30, 2**30)
