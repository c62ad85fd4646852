"""`videomae evaluate` over real clips: its numbers are those of `videomae classify`, and every mistake is one line."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
from lessons import footage
from PIL import Image
from samples import Run, make_checkpoint, write_video
from test_values import Lent
from typer.testing import CliRunner, Result

from recipes.camera_motion.windows import Recording, windows, write
from videomae_cli.cli.app import app
from videomae_cli.cli.terminal.console import loudness
from videomae_cli.video import Decoder

LABELS = ("walking", "[bold]running[/bold]", "Straße überqueren", "滑雪")
PARTS = {"test": ["walking", "滑雪", "滑雪"], "val": ["walking"], "train": ["Straße überqueren"] * 2}


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """A command run inside the tests' own process leaves nothing behind."""
    log = logging.getLogger("videomae_cli")
    kept = log.handlers[:], log.propagate, log.level, loudness.debug, loudness.quiet
    with warnings.catch_warnings():
        yield
    log.handlers[:], log.propagate, log.level, loudness.debug, loudness.quiet = kept


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(workers=1) as decoder:
        yield decoder


@pytest.fixture(autouse=True)
def _one_decoder(decoder: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process takes longer to start than all the rest of such a small command."""
    monkeypatch.setattr("videomae_cli.cli.run.inputs.Decoder", lambda **_: Lent(decoder))


@pytest.fixture(scope="session")
def moves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of every motion of the camera, cut out of a real film."""
    folder = tmp_path_factory.mktemp("moves")
    film = footage("bikes")
    for window in windows(film.parent, [Recording(film.name, 138, 186)], per_label=1, seed=3):
        (folder / window.label).mkdir()
        write(folder / window.label / "clip.mp4", window.frames)
    return folder


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """clips.csv with clips of three splits, for the tiny checkpoint."""
    folder = tmp_path_factory.mktemp("table")
    rows = ["path,label,split"]
    for split, labels in PARTS.items():
        for number, label in enumerate(labels):
            write_video(folder / f"{split}-{number}.mp4", count=20 + 4 * number)
            rows.append(f"{split}-{number}.mp4,{label},{split}")
    (folder / "clips.csv").write_text("\n".join(rows), encoding="utf-8")
    return folder / "clips.csv"


def another(table: Path, name: str, *rows: str) -> Path:
    """A table beside the first, with rows of its own."""
    file = table.parent / name
    file.write_text("\n".join(["path,label", *rows]), encoding="utf-8")
    return file


def evaluate(*arguments: str | Path) -> Result:
    """The command in this process: as fast as it gets."""
    result = CliRunner().invoke(app, ["evaluate", *map(os.fspath, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result


def document(*arguments: str | Path, code: int = 0) -> dict[str, Any]:
    result = evaluate(*arguments, "--format", "json")
    assert result.exit_code == code, result.output
    return dict(json.loads(result.stdout))


def refused(code: int, *arguments: str | Path) -> str:
    """Its one line."""
    result = evaluate(*arguments)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("videomae: ")
    return line


def test_the_numbers_are_those_of_classify(videomae: Run, moves: Path, tmp_path: Path) -> None:
    out = tmp_path / "measured.json"
    done = videomae("evaluate", moves, "--model", "camera-motion", "-o", out, "--report", tmp_path / "report")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    options = ["--model", "camera-motion", "--format", "jsonl", "--top-k", "9", "--workers", "1"]
    said = CliRunner().invoke(app, ["classify", str(moves), *options])
    assert said.exit_code == 0, said.stderr
    records = [json.loads(line) for line in said.stdout.splitlines()]
    measured = json.loads(out.read_text())

    labels = measured["labels"]
    truth = [labels.index(Path(r["path"]).parent.name) for r in records]
    scores = np.zeros((9, 9))
    for row, record in enumerate(records):
        for p in record["predictions"]:
            scores[row, p["label_id"]] = p["score"]
    right = scores.argmax(axis=1) == truth
    m = measured["metrics"]
    assert (m["count"], measured["clips"], measured["failed"], measured["ignored"]) == (9, 9, 0, 0)
    assert m["top1"] == pytest.approx(right.mean())
    assert m["top1"] >= 2 / 3, "as asked before it was run: the checkpoint's card has 480 such clips"
    assert m["mean_class_accuracy"] == pytest.approx(right.mean()), "a clip each"
    in_five = [label in np.argsort(-row)[:5] for row, label in zip(scores, truth, strict=True)]
    assert m["top5"] == pytest.approx(np.mean(in_five))
    assert m["nll"] == pytest.approx(-np.log(scores[range(9), truth]).mean(), rel=1e-3)
    assert m["brier"] == pytest.approx(((scores - np.eye(9)[truth]) ** 2).sum(axis=1).mean(), rel=1e-3)
    confusion = np.zeros((9, 9), dtype=int)
    np.add.at(confusion, (truth, scores.argmax(axis=1)), 1)
    assert measured["confusion"] == confusion.tolist()
    assert measured["protocol"] == "dense: 1 clip x 1 crop"
    assert measured["views"] == 9

    assert re.search(rf"^top-1 +{right.mean():.1%}  \(95% interval ", done.stdout, re.MULTILINE)
    assert not re.search(r" $", done.stdout, re.MULTILINE)
    assert done.stdout.splitlines()[0] == f"camera-motion on {moves}, split all: 9 clips"
    wrong = confusion.sum() - confusion.trace()
    assert len(re.findall(r" as [a-z -]+ \(\d\)", done.stdout)) == wrong

    report = tmp_path / "report"
    names = {"report.md", "report.json", "predictions.jsonl", "confusion.png", "reliability.png"}
    assert {file.name for file in report.iterdir()} == names
    assert (report / "report.json").read_bytes() == out.read_bytes()
    for name in ("confusion.png", "reliability.png"):
        assert f"]({name})" in (report / "report.md").read_text()
        with Image.open(report / name) as image:
            image.load()
            assert min(image.size) > 300
    lines = [json.loads(line) for line in (report / "predictions.jsonl").read_text().splitlines()]
    assert [line["path"] for line in lines] == [r["path"] for r in records]
    assert [line["true"] for line in lines] == [[labels[place]] for place in truth]
    assert [line["said"] for line in lines] == [[r["predictions"][0]["label"]] for r in records]
    assert np.allclose([line["scores"] for line in lines], scores, atol=1e-5)


def test_the_papers_protocol_is_named_and_done(table: Path, checkpoint: Path) -> None:
    paper = document(table, "--model", checkpoint, "--sampling", "dense", "--protocol", "paper")
    assert paper["protocol"] == "dense: 5 clips x 3 crops, the paper's protocol"
    assert paper["views"] == 3 * 5 * 3


def test_the_test_split_is_taken_unless_another_is_asked_for(table: Path, checkpoint: Path) -> None:
    for asked in ("test", "train"):
        whole = document(table, "--model", checkpoint, *([] if asked == "test" else ["--split", asked]))
        assert (whole["split"], whole["clips"]) == (asked, len(PARTS[asked]))
        supports = {row["label"]: row["support"] for row in whole["classes"] if row["support"]}
        assert supports == {label: PARTS[asked].count(label) for label in PARTS[asked]}


def test_a_split_that_is_not_there(table: Path, checkpoint: Path) -> None:
    plain = another(table, "plain.csv", "test-0.mp4,walking")
    line = refused(1, plain, "--split", "val", "--model", checkpoint)
    assert "no split 'val' (it has none): --split all" in line


def test_validation_clips_are_taken_where_none_are_for_testing(table: Path, checkpoint: Path) -> None:
    for part in ("train", "val"):
        (table.parent / "parts" / part / "walking").mkdir(parents=True)
        shutil.copy(table.parent / "val-0.mp4", table.parent / "parts" / part / "walking")
    whole = document(table.parent / "parts", "--model", checkpoint)
    assert (whole["split"], whole["clips"]) == ("val", 1)


def test_an_unknown_label_is_told_with_what_comes_close(table: Path, checkpoint: Path, tmp_path: Path) -> None:
    odd = another(table, "odd.csv", "test-0.mp4,walkin", "test-1.mp4,滑雪")
    line = refused(1, odd, "--model", checkpoint)
    assert "the model has no label 'walkin' (close: walking): --ignore-unknown" in line
    result = evaluate(odd, "--model", checkpoint, "--ignore-unknown", "-o", tmp_path / "o.json")
    assert result.exit_code == 0
    assert "1 clip with other labels left out" in result.stdout
    whole = json.loads((tmp_path / "o.json").read_text())
    assert (whole["clips"], whole["ignored"], whole["metrics"]["count"]) == (1, 1, 1)
    foreign = another(table, "foreign.csv", "test-0.mp4,archery")
    assert "not one of the data's labels (archery)" in refused(1, foreign, "--model", checkpoint, "--ignore-unknown")


def test_labels_of_other_splits_need_not_be_known(table: Path, checkpoint: Path) -> None:
    file = table.parent / "mixed.csv"
    file.write_text("path,label,split\ntest-0.mp4,walking,test\ntrain-0.mp4,archery,train\n")
    assert document(file, "--model", checkpoint)["clips"] == 1


def test_labels_that_are_numbers(table: Path, checkpoint: Path, tmp_path: Path) -> None:
    numbered = another(table, "numbered.csv", "test-0.mp4,3", "test-1.mp4,0")
    by_id = document(numbered, "--model", checkpoint)
    assert {row["label"] for row in by_id["classes"] if row["support"]} == {"walking", "滑雪"}
    names = tmp_path / "names.txt"
    names.write_text("WALKING\nunused\nunused too\nSTRASSE_ÜBERQUEREN", encoding="utf-8")
    named = document(numbered, "--model", checkpoint, "--data-labels", names)
    assert {row["label"] for row in named["classes"] if row["support"]} == {"walking", "Straße überqueren"}


@pytest.fixture(scope="module")
def damaged(table: Path) -> Path:
    (table.parent / "broken.mp4").write_text("no video")
    return another(table, "damaged.csv", "test-0.mp4,walking", "broken.mp4,滑雪", "missing.mp4,滑雪", "test-1.mp4,滑雪")


def test_broken_files_are_counted_and_the_others_measured(damaged: Path, checkpoint: Path, tmp_path: Path) -> None:
    result = evaluate(damaged, "--model", checkpoint, "--report", tmp_path / "r", "-o", tmp_path / "o.json")
    assert result.exit_code == 1
    broken, missing = result.stderr.splitlines()
    assert "broken.mp4" in broken
    assert "missing.mp4" in missing
    assert "2 clips failed" in result.stdout
    assert "top-1, failed as wrong" in result.stdout
    whole = json.loads((tmp_path / "o.json").read_text())
    m = whole["metrics"]
    assert (whole["clips"], whole["failed"], m["count"]) == (4, 2, 2)
    assert m["top1_of_all"] == pytest.approx(m["top1"] / 2)
    assert [Path(f["path"]).name for f in whole["failures"]] == ["broken.mp4", "missing.mp4"]
    assert [f["kind"] for f in whole["failures"]] == ["not_a_video", "not_found"]
    lines = [json.loads(line) for line in (tmp_path / "r" / "predictions.jsonl").read_text().splitlines()]
    assert [line["status"] for line in lines] == ["ok", "error", "error", "ok"]
    assert (lines[1]["error"]["kind"], lines[1]["scores"], lines[1]["said"]) == ("not_a_video", None, None)
    page = (tmp_path / "r" / "report.md").read_text()
    assert "## Failed" in page
    assert "broken.mp4" in page


def test_ok_on_errors(damaged: Path, checkpoint: Path) -> None:
    assert document(damaged, "--model", checkpoint, "--ok-on-errors")["failed"] == 2


def test_nothing_but_broken_files(damaged: Path, checkpoint: Path, tmp_path: Path) -> None:
    bad = another(damaged, "bad.csv", "broken.mp4,walking", "missing.mp4,walking")
    result = evaluate(
        bad, "--model", checkpoint, "-o", tmp_path / "o.json", "--report", tmp_path / "r", "--ok-on-errors"
    )
    assert (result.exit_code, result.stdout) == (1, "")
    *each, last = result.stderr.splitlines()
    assert len(each) == 2
    assert last == "videomae: none of 2 clips could be scored"
    assert list(tmp_path.iterdir()) == []


def test_weights_that_give_no_numbers_are_an_error_and_no_bad_result(table: Path, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "damaged")
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    weights["classifier.weight"].fill_(3e38)  # a number, and too large to be added up
    safetensors.torch.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    result = evaluate(table, "--model", folder)
    assert (result.exit_code, result.stdout) == (1, "")
    *each, last = result.stderr.splitlines()
    assert [line for line in each if "its weights are damaged" in line] == each
    assert len(each) == 3
    assert last == "videomae: none of 3 clips could be scored"


def test_nothing_is_replaced_unasked(table: Path, checkpoint: Path, tmp_path: Path) -> None:
    out, report = tmp_path / "o.json", tmp_path / "r"
    common = (table, "--model", checkpoint, "-o", out, "--report", report)
    assert evaluate(*common).exit_code == 0
    out.write_text("mine")
    (report / "notes.txt").write_text("mine too")
    assert "o.json is there already: --overwrite" in refused(1, *common)
    assert "r holds something already: --overwrite" in refused(1, table, "--model", checkpoint, "--report", report)
    assert out.read_text() == "mine"
    assert evaluate(*common, "--overwrite").exit_code == 0
    assert json.loads(out.read_text())["clips"] == 3
    assert (report / "notes.txt").read_text() == "mine too"


def test_places_that_cannot_be_written_are_refused_before_the_work(
    damaged: Path, checkpoint: Path, tmp_path: Path
) -> None:
    # Of damaged data: work would be told by a line for each broken file.
    (tmp_path / "file").write_text("")
    common = (damaged, "--model", checkpoint)
    assert "there is no folder" in refused(1, *common, "-o", tmp_path / "none" / "o.json")
    assert "is a folder" in refused(1, *common, "-o", tmp_path)
    assert "is a file" in refused(1, *common, "--report", tmp_path / "file")
    assert "is a file" in refused(1, *common, "--report", tmp_path / "file" / "below")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--format", "csv"], "unknown format 'csv'"),
        (["--split", "tset"], "unknown split 'tset'"),
        (["--dtype", "int8", "--engine", "openvino"], "int8"),
        (["--progress", "loud"], "unknown progress 'loud'"),
        (["--engine", "jax"], "jax"),
        (["--protocol", "paper", "--clips", "3"], "paper"),
        (["--start", "5", "--end", "2"], "end"),
    ],
)
def test_wrong_options(table: Path, checkpoint: Path, options: list[str], told: str) -> None:
    assert told in refused(2, table, "--model", checkpoint, *options)


def test_missing_data_and_models(table: Path, checkpoint: Path, tmp_path: Path) -> None:
    assert "no such folder or table" in refused(1, tmp_path / "nowhere", "--model", checkpoint)
    assert "holds no class folders" in refused(1, tmp_path, "--model", checkpoint)
    assert "nowhere" in refused(1, table, "--model", tmp_path / "nowhere")
    assert "videomae: camera-motion-mae is a pre-training checkpoint" in refused(
        1, table, "--model", "camera-motion-mae"
    )
    assert evaluate().exit_code == 2


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of independent labels."""
    return make_checkpoint(tmp_path_factory.mktemp("many") / "tiny", problem_type="multi_label_classification")


def test_several_labels_a_clip(table: Path, many: Path, tmp_path: Path) -> None:
    data = another(
        table, "many.csv", "test-0.mp4,walking|滑雪", "test-1.mp4,滑雪", "val-0.mp4,Straße überqueren|walking"
    )
    report = tmp_path / "folders" / "above"
    shown = evaluate(data, "--model", many, "--report", report, "-o", tmp_path / "o.json")
    assert shown.exit_code == 0
    whole = json.loads((tmp_path / "o.json").read_text())
    names = "count mAP micro_f1 macro_f1 exact_match hamming_loss nll"
    assert list(whole["metrics"]) == names.split()
    clips = [table.parent / name for name in ("test-0.mp4", "test-1.mp4", "val-0.mp4")]
    options = ["--model", many, "--format", "jsonl", "--top-k", "4", "--workers", "1"]
    said = CliRunner().invoke(app, ["classify", *map(os.fspath, [*clips, *options])])
    scores = np.zeros((3, 4))
    for row, line in enumerate(said.stdout.splitlines()):
        for p in json.loads(line)["predictions"]:
            scores[row, p["label_id"]] = p["score"]
    truth = np.array([[1, 0, 0, 1], [0, 0, 0, 1], [1, 0, 1, 0]], dtype=bool)
    guess = scores >= 0.5
    m = whole["metrics"]
    assert m["hamming_loss"] == pytest.approx((truth != guess).mean())
    assert m["exact_match"] == pytest.approx((truth == guess).all(axis=1).mean())
    assert m["micro_f1"] == pytest.approx(2 * (truth & guess).sum() / (truth.sum() + guess.sum()))
    assert m["nll"] == pytest.approx(-np.log(np.where(truth, scores, 1 - scores)).mean(), rel=1e-3)
    supports = {row["label"]: row["support"] for row in whole["classes"] if row["support"]}
    assert supports == {"walking": 2, "Straße überqueren": 1, "滑雪": 2}
    assert {file.name for file in report.iterdir()} == {"report.md", "report.json", "predictions.jsonl"}
    lines = [json.loads(line) for line in (report / "predictions.jsonl").read_text().splitlines()]
    assert [line["true"] for line in lines] == [["walking", "滑雪"], ["滑雪"], ["Straße überqueren", "walking"]]
    assert [line["said"] for line in lines] == [[LABELS[p] for p in np.flatnonzero(row)] for row in guess]
    assert re.search(rf"^mAP +{m['mAP']:.3f}", shown.stdout, re.MULTILINE)


def test_one_label_a_clip_on_independent_labels(table: Path, many: Path) -> None:
    whole = document(table, "--model", many)
    assert "mAP" in whole["metrics"]
    assert whole["clips"] == 3


def test_several_labels_where_the_model_says_one(damaged: Path, checkpoint: Path) -> None:
    data = another(damaged, "several.csv", "broken.mp4,walking", "test-1.mp4,滑雪|walking")
    line = refused(1, data, "--model", checkpoint)
    assert "test-1.mp4' has 2 labels, and the model says one: use a multi-label model" in line


def test_hostile_labels_and_names_reach_neither_terminal_nor_page(
    table: Path, checkpoint: Path, tmp_path: Path
) -> None:
    clip = table.parent / "x\x1b[2J[red].mp4"
    shutil.copy(table.parent / "test-0.mp4", clip)
    broken = table.parent / "y\x1b[2J[red].mp4"
    broken.write_text("no video")
    data = another(table, "hostile.csv", f"{clip.name},[bold]running[/bold]", f"{broken.name},walking")
    result = evaluate(data, "--model", checkpoint, "--report", tmp_path / "r")
    assert result.exit_code == 1
    assert "\x1b" not in result.output
    assert "[red].mp4" in result.stderr
    page = (tmp_path / "r" / "report.md").read_text()
    assert r"\[bold\]running\[/bold\]" in page
    assert "\x1b" not in page


def test_parts_of_a_file(table: Path, checkpoint: Path, tmp_path: Path) -> None:
    file = table.parent / "parts.csv"
    file.write_text("path,label,start,end\ntest-2.mp4,walking,0,0.4\ntest-2.mp4,walking,0.5,1\n")
    assert document(file, "--model", checkpoint, "--report", tmp_path / "r")["clips"] == 2
    lines = [json.loads(line) for line in (tmp_path / "r" / "predictions.jsonl").read_text().splitlines()]
    assert [(line["start"], line["end"]) for line in lines] == [(0, 0.4), (0.5, 1)]
    assert lines[0]["scores"] != lines[1]["scores"]
