"""`videomae bench`: every engine that is there, measured, and a recommendation that follows from what was measured."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from converting import converted_once, operators_once, traced_once
from samples import make_checkpoint
from typer.testing import CliRunner, Result

from videomae_cli.api import engine_speeds
from videomae_cli.api.engine_speeds import EngineSpeed, EngineSpeeds
from videomae_cli.cli.app import app
from videomae_cli.engines import cpu, timings

__all__ = ["converted_once", "operators_once", "traced_once"]
pytestmark = pytest.mark.usefixtures("converted_once", "decoding_here", "traced_once")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that is converted soon, with so many patches that few clips calibrate it."""
    return make_checkpoint(tmp_path_factory.mktemp("bench") / "tiny", num_hidden_layers=1, patch_size=4)


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where converted models go: each is converted once, by whichever test comes first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VIDEOMAE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def bench(*arguments: str | Path) -> Result:
    """The command in this process, which imports what converts models once."""
    return CliRunner().invoke(app, ["bench", *map(str, arguments)])


@pytest.mark.parametrize("lesser", [{}, {"VIDEOMAE_CPU_UNITS": ""}], ids=["this CPU", "a lesser CPU"])
def test_it_measures_every_engine(
    lesser: dict[str, str], video: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in lesser.items():
        monkeypatch.setenv(name, value)
    there = set() if lesser else cpu.units()
    done = bench(checkpoint, "--videos", video, "--rounds", "1", "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    settings = {(one["engine"], one["dtype"]): one for one in found["settings"]}
    assert set(settings) == {
        ("torch", "float32"),
        ("torch", "bfloat16"),
        ("openvino", "float32"),
        ("openvino", "bfloat16"),
        ("openvino", "int8"),
        ("onnx", "float32"),
        ("onnx", "int8"),
    }
    for (_, dtype), one in settings.items():
        if dtype == "bfloat16" and dtype not in there:
            assert one["clips_per_s"] is None, "nobody waits for what can't be recommended"
            assert one["problem"].startswith("this CPU has no units for bfloat16")
            continue
        assert one["problem"] is None
        assert one["clips_per_s"] > 0
        assert 0 <= one["agree"] <= 1
    assert settings["torch", "float32"]["off"] == 0
    assert settings["openvino", "float32"]["off"] < 1e-4
    assert settings["onnx", "float32"]["off"] < 1e-4
    recommended = settings[found["recommended"]["engine"], found["recommended"]["dtype"]]
    assert recommended["off"] <= 0.02


@pytest.mark.parametrize("lesser", [{}, {"VIDEOMAE_CPU_UNITS": ""}], ids=["this CPU", "a lesser CPU"])
def test_for_people_it_is_a_table(lesser: dict[str, str], checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in lesser.items():
        monkeypatch.setenv(name, value)
    done = bench(checkpoint, "--rounds", "1")
    assert (done.exit_code, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[1].split()[:4] == ["engine", "dtype", "clips/s", "speed"]
    assert all(len(line) <= 80 for line in lines)
    assert lines[-1].startswith("recommended here: ")
    assert "int8" not in done.stdout, "which needs clips to be calibrated on"


def test_a_video_that_is_none_is_told(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "no.mp4").write_text("no video")
    done = bench(checkpoint, "--videos", tmp_path / "no.mp4")
    assert done.exit_code == 2
    assert done.stderr.startswith(f"videomae: none of the videos can be read ('{tmp_path / 'no.mp4'}' holds no ")
    assert done.stderr.count("\n") == 1


def test_a_video_that_is_left_out_is_told(
    checkpoint: Path, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_speeds, "_wanted", lambda *_, **__: [("torch", "float32")])
    (tmp_path / "no.mp4").write_text("no video")
    for as_json in (False, True):
        done = bench(
            checkpoint,
            "--videos",
            tmp_path / "no.mp4",
            "--videos",
            video,
            "--videos",
            tmp_path / "gone.mp4",
            *["--json"] * as_json,
        )
        assert done.exit_code == 1
        first, second = done.stderr.splitlines()
        assert first == f"videomae: no such file: '{tmp_path / 'gone.mp4'}'"
        assert second.startswith(f"videomae: '{tmp_path / 'no.mp4'}' holds no video that can be read")
    assert len(json.loads(done.stdout)["failures"]) == 2


@pytest.mark.parametrize(
    ("speed", "off", "expected"),
    [(2.0, 0.001, "bfloat16"), (2.0, 0.5, "float32"), (1.05, 0.001, "float32")],
)
def test_what_is_recommended_is_faster_and_near(speed: float, off: float, expected: str) -> None:
    settings = [
        EngineSpeed("torch", "float32", 1.0, 1.0, 0.0),
        EngineSpeed("openvino", "bfloat16", speed, speed, off),
        EngineSpeed("openvino", "int8", 9.0, 9.0, 0.001),
        EngineSpeed("torch", "bfloat16", problem="not here"),
    ]
    assert EngineSpeeds("m", "cpu", 1, 0, "digest", settings).best.dtype == expected


QUIET, BUSY = 0.0, 0.4


@pytest.mark.parametrize(
    ("fast", "slow", "speed", "turns", "disturbed"),
    [
        # seconds and waiting of each round after the first; what the others say is asked for until three count
        ([(1, QUIET)] * 3, [(3, QUIET)] * 3, 3.0, 3, False),
        ([(1, QUIET)] * 4, [(60, BUSY), (3, QUIET), (3, QUIET), (3, QUIET)], 3.0, 4, False),
        ([(1, QUIET)] * 5, [(60, QUIET), (3, QUIET), (20, QUIET), (3.1, QUIET), (3, QUIET)], 3.0, 5, False),
        ([(1, QUIET)] * 6, [(60, BUSY)] * 4 + [(3, QUIET)] * 2, 3.0, 6, False),
        ([(1, QUIET)] * 6, [(60, BUSY)] * 5 + [(3, QUIET)], 3.0, 6, True),
        ([(1, BUSY)] * 6, [(20, BUSY)] * 6, 20.0, 6, True),
        ([(1, QUIET)] * 6, [(8, QUIET), (16, QUIET), (24, QUIET), (36, QUIET), (3, QUIET), (60, QUIET)], 3.0, 6, True),
    ],
)
def test_rounds_that_other_work_disturbs_say_nothing_of_an_engine(
    fast: list[tuple[float, float]],
    slow: list[tuple[float, float]],
    speed: float,
    turns: int,
    disturbed: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = [EngineSpeed("torch", "float32"), EngineSpeed("openvino", "float32")]
    rounds: list[Iterator[tuple[float, float]]] = [iter([(9, QUIET), *slow]), iter([(9, QUIET), *fast])]
    networks: Any = dict(enumerate(rounds))
    monkeypatch.setattr(engine_speeds, "_round", lambda network, batch: engine_speeds._Round(*next(network)))
    batch = torch.zeros(4)
    assert engine_speeds._time(settings, networks, batch, 3) == disturbed
    assert settings[1].speed == pytest.approx(speed)
    assert settings[1].clips_per_s == pytest.approx(4)
    assert [len(list(left)) for left in rounds] == [len(slow) - turns] * 2
    settings[1].off = 0.001
    found = EngineSpeeds("m", "cpu", 1, 0, "digest", settings, disturbed)
    assert found.as_dict()["disturbed"] == disturbed
    kept = found.keep()
    assert kept == timings.fastest("digest") == timings.Fastest("openvino", "float32", None if disturbed else speed)


@pytest.mark.parametrize(
    ("disturbed", "expected"),
    [(False, timings.Fastest("onnx", "float32", 0.95)), (True, None)],
    ids=["quiet", "disturbed"],
)
def test_what_starts_without_torch_is_kept_too(disturbed: bool, expected: timings.Fastest | None) -> None:
    settings = [
        EngineSpeed("torch", "float32", 1.0, 1.0, 0.0),
        EngineSpeed("openvino", "float32", 0.9, 0.9, 0.0),
        EngineSpeed("onnx", "float32", 0.95, 0.95, 0.0),
        EngineSpeed("openvino", "bfloat16", 1.05, 1.05, 0.01),
        EngineSpeed("onnx", "int8", 1.05, 1.05, 0.01),
    ]
    assert EngineSpeeds("m", "cpu", 1, 0, "digest", settings, disturbed).keep().is_default
    assert timings.lightest("digest") == expected
    settings[2].off = 0.5
    EngineSpeeds("m", "cpu", 1, 0, "digest", settings).keep()
    assert timings.lightest("digest") == timings.Fastest("openvino", "float32", 0.9)
    EngineSpeeds("m", "cpu", 1, 0, "digest", settings[:1]).keep()
    assert timings.lightest("digest") is None


def test_what_other_work_disturbed_must_be_clearly_faster() -> None:
    settings = [EngineSpeed("torch", "float32", 1.0, 1.0, 0.0), EngineSpeed("openvino", "float32", 1.4, 1.4, 0.0)]
    for disturbed, engine in ((False, "openvino"), (True, "torch")):
        assert EngineSpeeds("m", "cpu", 1, 0, "digest", settings, disturbed).best.engine == engine


def test_people_are_told_of_other_work(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timed = engine_speeds._time
    monkeypatch.setattr(engine_speeds, "_wanted", lambda *_, **__: [("torch", "float32"), ("openvino", "float32")])
    for disturbed in (True, False):
        monkeypatch.setattr(engine_speeds, "_time", lambda *what, said=disturbed: timed(*what) is None or said)
        done = bench(checkpoint, "--rounds", "1")
        told = "other work kept the CPU busy" in done.stdout
        assert (done.exit_code, done.stderr, told) == (0, "", disturbed)
        assert all(len(line) <= 80 for line in done.stdout.splitlines())
