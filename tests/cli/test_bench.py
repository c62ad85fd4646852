"""`videomae bench`: every engine that is there, measured, and a recommendation that follows from what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from videomae_cli.api.engine_speeds import EngineSpeed, EngineSpeeds
from videomae_cli.cli.app import app
from videomae_cli.engines import cpu


@pytest.fixture(autouse=True)
def _store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models are converted for each test anew."""
    monkeypatch.setenv("VIDEOMAE_CACHE", str(tmp_path / "cache"))


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
    assert done.stderr == "videomae: none of the videos can be read\n"


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
