"""Checkpoints and shards from Python: what the commands list, describe, write and join."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import videomae_cli as videomae
from videomae_cli.api import engine_speeds
from videomae_cli.cli.app import app
from videomae_cli.errors import ModelNotFoundError, OptionError, OutputError
from videomae_cli.jobs.joining import IncompleteError
from videomae_cli.results import Classification, Failure, Prediction, Stamp


def printed(*arguments: str) -> Any:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_the_models_listed_are_those_of_the_command() -> None:
    assert [model.as_dict() for model in videomae.list_models()] == printed("models", "--format", "json")


def test_a_description_is_the_one_of_the_command(checkpoint: Path, capfd: pytest.CaptureFixture[str]) -> None:
    found = videomae.describe_model(checkpoint)
    assert capfd.readouterr() == ("", "")
    shown = printed("models", str(checkpoint), "--format", "json")
    assert (found.architecture, list(found.labels)) == (shown["architecture"], shown["labels"])
    with pytest.raises(ModelNotFoundError, match="no such"):
        videomae.describe_model(checkpoint / "gone")


def test_a_converted_checkpoint_is_the_one_of_the_command(checkpoint: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("a\nb\nc\nd\n")
    videomae.convert(checkpoint, tmp_path / "a", dtype="bfloat16", labels=names)
    videomae.convert(checkpoint, tmp_path / "b", dtype="bfloat16", labels=["a", "b", "c", "d"])
    done = CliRunner().invoke(
        app, ["convert", str(checkpoint), str(tmp_path / "c"), "--dtype", "bfloat16", "--labels", str(names)]
    )
    assert done.exit_code == 0, done.output
    for name in ("config.json", "model.safetensors"):
        assert len({(tmp_path / folder / name).read_bytes() for folder in "abc"}) == 1
    with pytest.raises(OutputError, match="already: overwrite=True replaces it"):
        videomae.convert(checkpoint, tmp_path / "a")
    with pytest.raises(OptionError, match="unknown dtype 'int4'"):
        videomae.convert(checkpoint, tmp_path / "d", dtype="int4")


def shard(number: int, of: int, folder: Path) -> Path:
    """The output of a shard of a job of five files, of which the last failed."""
    file = folder / f"{number}.jsonl"
    lines = []
    for place in range(number - 1, 5, of):
        error = Failure("decode", "broken") if place == 4 else None
        result = Classification(f"{place}.mp4", "m", predictions=(Prediction("a", 0, 0.5),), error=error)
        lines.append(json.dumps(result.as_dict(Stamp(place, "f", "1", f"{number}/{of}"))))
    file.write_text("\n".join(lines) + "\n")
    return file


def test_shards_are_joined_as_the_command_joins_them(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shards = [shard(number, 2, tmp_path) for number in (2, 1)]
    joined = videomae.merge(shards, tmp_path / "a.csv")
    assert (joined.outputs, joined.files, joined.failed, joined.complete) == (2, 5, 1, True)
    assert capfd.readouterr() == ("", "")
    done = CliRunner().invoke(app, ["merge", *map(str, shards), "-o", str(tmp_path / "b.csv")])
    assert (done.exit_code, done.stderr.count("5 files from 2 outputs")) == (0, 1)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    with pytest.raises(OutputError, match="overwrite=True replaces it") as raised:
        videomae.merge(shards, tmp_path / "a.csv")
    assert raised.value.subject == str(tmp_path / "a.csv")


def test_what_is_missing_is_said_by_the_error(tmp_path: Path) -> None:
    output = tmp_path / "a.jsonl"
    with pytest.raises(IncompleteError, match="allow_gaps=True") as raised:
        videomae.merge(shard(2, 2, tmp_path), output)
    assert (raised.value.found.missing_shards, raised.value.found.gaps) == (["1/2"], [])
    assert not output.exists()
    assert videomae.merge([tmp_path / "2.jsonl"], output, allow_gaps=True).files == 2
    with pytest.raises(OptionError, match="given twice"):
        videomae.merge([tmp_path / "2.jsonl"] * 2, tmp_path / "b.jsonl")


def test_engines_are_measured_as_the_command_does(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VIDEOMAE_CACHE", str(tmp_path))
    monkeypatch.setattr(
        "videomae_cli.api.engine_speeds._wanted", lambda device, real: [("torch", "float32"), ("torch", "int8")]
    )
    monkeypatch.setattr(engine_speeds, "_undisturbed", lambda rounds: [one.seconds for one in rounds])
    stages: list[str] = []
    speeds = videomae.measure_engines(checkpoint, rounds=2, batch_size=1, device="cpu", on_progress=stages.append)
    first, other = speeds.settings
    assert (stages, len(first.seconds), first.speed, first.off) == (["preparing", "measuring"], 2, 1.0, 0.0)
    assert speeds.best is first
    assert other.problem == 'dtype="int8" needs engine="openvino" or engine="onnx"'
    shown = printed("bench", str(checkpoint), "--rounds", "1", "--batch-size", "1", "--device", "cpu", "--json")
    assert speeds.as_dict().keys() | {"schema_version"} == shown.keys()
    with pytest.raises(OptionError, match="rounds must be at least 1"):
        videomae.measure_engines(checkpoint, rounds=0)
