"""Checkpoints that give values: no softmax, no labels, and figures against numbers."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
from samples import make_checkpoint, write_video
from typer.testing import CliRunner, Result

from videomae_cli.assembly import ClassifierRequest
from videomae_cli.cli.app import app
from videomae_cli.cli.run.loading import load_model
from videomae_cli.video import Decoder, FoundVideo, SamplingSpec
from videomae_cli.writers import read_records

CHECKPOINTS: dict[str, dict[str, Any]] = {
    "one output": {"id2label": {0: "speed"}},
    "named": {"id2label": {0: "speed"}, "problem_type": "regression"},
    "two outputs": {"id2label": {0: "speed", 1: "height"}, "problem_type": "regression"},
    "two of one name": {"id2label": {0: "x", 1: "x"}, "problem_type": "regression"},
}
NAMES = {
    "one output": ["speed"],
    "named": ["speed"],
    "two outputs": ["speed", "height"],
    "two of one name": ["x 0", "x 1"],
}


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(workers=1) as decoder:
        yield decoder


class Lent:
    """A decoder that stays open when a command is done with it."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._decoder, name)

    def __enter__(self) -> Lent:
        return self

    def __exit__(self, *_: object) -> None:
        return None


@pytest.fixture(autouse=True)
def _one_decoder(decoder: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("videomae_cli.cli.run.inputs.Decoder", lambda **_: Lent(decoder))


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("films")
    return [write_video(folder / f"{count}.mp4", count=count) for count in (20, 30, 40)]


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def truth(model: Path, film: Path, decoder: Decoder) -> list[float]:
    """The mean over views of what the model itself gives."""
    classifier = load_model(ClassifierRequest(name=str(model), device="cpu"))
    sampling = SamplingSpec(clips=2)
    views: list[npt.NDArray[np.float32]] = []
    forward = classifier.outputs
    object.__setattr__(classifier, "outputs", lambda v: views.append(forward(v)) or views[-1])
    list(classifier([FoundVideo(str(film))], sampling=sampling, decoder=decoder))
    return np.concatenate(views).mean(axis=0).tolist()


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_records_hold_the_models_values_and_no_scores(
    kind: str, films: list[Path], tmp_path: Path, decoder: Decoder
) -> None:
    model = make_checkpoint(tmp_path / "model", **CHECKPOINTS[kind])
    expected = dict(zip(NAMES[kind], truth(model, films[0], decoder), strict=True))
    common = (films[0], "--model", model, "--clips", 2, "--device", "cpu", "--quiet")
    (record,) = json.loads(run("classify", *common, "--format", "json").stdout)
    assert record["predictions"] == []
    assert record["values"] == pytest.approx(expected, rel=1e-5)
    assert record["value"] == (next(iter(record["values"].values())) if len(expected) == 1 else None)
    for name in ("out.jsonl", "out.csv", "out.parquet"):
        run("classify", *common, "-o", tmp_path / name, *(["--wide"] if name == "out.csv" else []))
        (again,) = read_records(tmp_path / name)
        assert {**again, "fingerprint": 0, "version": 0} == {**record, "fingerprint": 0, "version": 0}
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["label"], row["score"]) == ("", "")
    assert json.loads(row["values"]) == record["values"]
    assert row["value"] == ("" if record["value"] is None else str(record["value"]))
    (cells,) = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert dict(cells["values"]) == record["values"]
    text = run("classify", *common, "--format", "table").stdout
    for name, value in record["values"].items():
        assert f"{name}  {value:.6g}" in text
    assert "1.0000" not in text


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("name", ["one output", "two of one name"])
def test_shards_of_values_join_to_the_whole(name: str, kind: str, films: list[Path], tmp_path: Path) -> None:
    model = make_checkpoint(tmp_path / "model", **CHECKPOINTS[name])
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"a letter")
    command = ("classify", *films, broken, "--model", model, "--clips", 2, "--ok-on-errors", "--quiet")
    run(*command, "-o", tmp_path / "whole.jsonl")
    parts = [tmp_path / f"{number}.{kind}" for number in (1, 2)]
    for number, part in enumerate(parts, 1):
        run(*command, "--shard", f"{number}/2", "-o", part)
    for target in ("jsonl", "csv", "parquet"):
        run("merge", *parts, "-o", tmp_path / f"all.{target}", *(["--wide"] if target == "csv" else []))
        found = list(read_records(tmp_path / f"all.{target}"))
        for record, whole in zip(found, read_records(tmp_path / "whole.jsonl"), strict=True):
            assert [key for key in record if key != "list"] == list(whole)
            expected = whole["values"] and {
                key: pytest.approx(value, rel=1e-5) for key, value in whole["values"].items()
            }
            assert (record["path"], record["values"]) == (whole["path"], expected)
            assert record["value"] == (
                next(iter(record["values"].values())) if len(whole["values"] or ()) == 1 else None
            )
            assert record["predictions"] == []


def test_classifiers_have_no_values(films: list[Path], tmp_path: Path) -> None:
    for number, changes in enumerate(({}, {"id2label": {0: "only"}, "problem_type": "multi_label_classification"})):
        model = make_checkpoint(tmp_path / str(number), **changes)
        (record,) = json.loads(run("classify", films[0], "--model", model, "--format", "json", "--quiet").stdout)
        assert (record["value"], record["values"]) == (None, None)
        scores = [p["score"] for p in record["predictions"]]
        assert 0 < sum(scores) < 1 if number else sum(scores) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("more", [(), ("--find", "speed"), ("--windows",), ("--format", "srt")])
def test_timeline_needs_labels(more: tuple[str, ...], films: list[Path], tmp_path: Path) -> None:
    model = make_checkpoint(tmp_path / "model", **CHECKPOINTS["one output"])
    result = run("timeline", films[0], "--model", model, *more, "--quiet", code=2)
    assert "is a regression model, whose outputs are values: timeline needs labels" in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_a_report_shows_values(films: list[Path], tmp_path: Path) -> None:
    model = make_checkpoint(tmp_path / "model", **CHECKPOINTS["two outputs"])
    page = tmp_path / "page.html"
    run("classify", films[0], "--model", model, "--report", page, "-o", tmp_path / "out.jsonl", "--quiet")
    (record,) = read_records(tmp_path / "out.jsonl")
    shown = [[name, f"{value:.6g}"] for name, value in record["values"].items()]
    assert f'"values":{json.dumps(shown, separators=(",", ":"))}' in page.read_text(encoding="utf-8").replace(
        ", ", ","
    ).replace(": ", ":")


def test_attention_tells_the_value(films: list[Path], tmp_path: Path) -> None:
    model = make_checkpoint(tmp_path / "model", **CHECKPOINTS["named"])
    result = run("attend", films[0], "--model", model, "--method", "grad", "-o", tmp_path / "map.png")
    assert "attention for 'speed', of value" in result.output
    assert "scored" not in result.output


def table(path: Path, films: list[Path], labels: list[object]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["path", "label"], *zip(films, labels, strict=True)])
    return path


def test_evaluate_measures_values_against_numbers(films: list[Path], tmp_path: Path) -> None:
    model = make_checkpoint(tmp_path / "model", **CHECKPOINTS["named"])
    said = json.loads(run("classify", *films, "--model", model, "--format", "json", "--quiet").stdout)
    values = [record["value"] for record in said]
    # One higher than said, one lower, one exact.
    labels = [values[0] + 0.5, values[1] - 0.25, values[2]]
    data = table(tmp_path / "data.csv", films, labels)
    common = ("evaluate", data, "--model", model, "--quiet")
    found = json.loads(run(*common, "--format", "json").stdout)
    assert found["metrics"]["mean_absolute_error"] == pytest.approx(0.25, rel=1e-4)
    assert found["metrics"]["mean_squared_error"] == pytest.approx((0.25 + 0.0625) / 3, rel=1e-4)
    assert set(found["metrics"]) == {"count", "mean_absolute_error", "mean_squared_error", "r2", "pearson", "spearman"}
    assert found["classes"] == []
    shown = run(*common, "--report", tmp_path / "report").stdout
    assert "mean absolute error" in shown
    assert "rank correlation" in shown
    assert "top-1" not in shown
    lines = [json.loads(line) for line in (tmp_path / "report/predictions.jsonl").read_text().splitlines()]
    assert [line["said"] for line in lines] == pytest.approx(values, rel=1e-5)
    page = (tmp_path / "report/report.md").read_text()
    assert "mean squared error" in page
    assert "## Classes" not in page


@pytest.mark.parametrize(
    ("kind", "labels", "message"),
    [
        ("named", ["1", "fast", "2"], "has the label 'fast', where the model gives a number"),
        ("named", ["1", "nan", "2"], "has the label 'nan', where the model gives a number"),
        ("named", ["1", "inf", "2"], "has the label 'inf', where the model gives a number"),
        (
            "two outputs",
            ["1", "2", "3"],
            "gives 2 values a clip: give a table with a column for each (--target speed --target height)",
        ),
    ],
)
def test_evaluate_says_what_it_cannot_measure(
    kind: str, labels: list[object], message: str, films: list[Path], tmp_path: Path
) -> None:
    model = make_checkpoint(tmp_path / "model", **CHECKPOINTS[kind])
    result = run("evaluate", table(tmp_path / "data.csv", films, labels), "--model", model, "--quiet", code=1)
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


def test_numbers_are_classes_of_a_classifier(films: list[Path], tmp_path: Path) -> None:
    model = make_checkpoint(tmp_path / "model", id2label={0: "0", 1: "1", 2: "2", 3: "3"})
    data = table(tmp_path / "data.csv", films, [0, 1, 2])
    found = json.loads(run("evaluate", data, "--model", model, "--format", "json", "--quiet").stdout)
    assert "top1" in found["metrics"]
