"""`videomae finetune --target`: numbers from a table are learnt, saved, and read and measured by other commands."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from samples import make_checkpoint
from test_values import Lent
from typer.testing import CliRunner, Result

from videomae_cli.cli.app import app
from videomae_cli.model import VideoMAEForVideoClassification
from videomae_cli.training import Trainer
from videomae_cli.video import Decoder

COUNT = 10


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(workers=1) as decoder:
        yield decoder


@pytest.fixture(autouse=True)
def _one_decoder(decoder: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("cli.run.inputs", "training.terms"):
        monkeypatch.setattr(f"videomae_cli.{module}.Decoder", lambda **_: Lent(decoder))
    # Drawing takes longer than training here, and is tested elsewhere.
    monkeypatch.setattr("videomae_cli.training.curves.training_curves", lambda events: b"")
    # What ends with a task is lent as well.
    monkeypatch.setattr("videomae_cli.training.classification.FineTune.close", lambda self: None)


def film(path: Path, level: int) -> None:
    """A clip of one grey, brighter with `level`, with a square that tells left from right."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        image = np.full((32, 32, 3), level, np.uint8)
        image[8:16, 4:12] = 255 - level
        for _ in range(16):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of films with how bright they are, in an odd unit, and how dark; every third held out."""
    folder = tmp_path_factory.mktemp("films")
    rows = [("path", "brightness", "dark", "split")]
    for number in range(COUNT):
        level = 30 + 20 * number
        film(folder / f"{number}.mp4", level)
        rows.append((f"{number}.mp4", str(1000 + 10 * level), str(-level / 1e4), "val" if number % 3 == 1 else "train"))
    with (folder / "data.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder / "data.csv"


@pytest.fixture(scope="module")
def init(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("init") / "model")


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def train(data: Path, init: Path, out: Path, *more: object, code: int = 0) -> Result:
    common = ("--init", init, "--device", "cpu", "--workers", 1, "--no-check")
    return run("finetune", data, "-o", out, *common, *more, code=code)


def events(out: Path, kind: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == kind]


def values(data: Path, model: Path) -> list[dict[str, float]]:
    films = [data.parent / f"{number}.mp4" for number in range(COUNT)]
    said = json.loads(run("classify", *films, "--model", model, "--format", "json", "--quiet").stdout)
    return [record["values"] for record in said]


def test_a_head_learns_values_that_every_command_reads(data: Path, init: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    done = train(data, init, out, "--target", "brightness")
    assert "values of brightness (1300 to 3100)" in done.stderr
    assert "mode head" in done.stderr
    assert done.stdout.startswith("R² 0.")
    config = json.loads((out / "config.json").read_text())
    assert (config["problem_type"], config["id2label"]) == ("regression", {"0": "brightness"})
    tried = events(out, "probe")
    about = json.loads((out / "training.json").read_text())
    assert about["figures"]["mse"] == min(event["mse"] for event in tried), "the penalty is the one of the least error"
    assert about["figures"]["r2"] > 0.9
    assert "confusion.png" not in {path.name for path in out.iterdir()}
    assert (out / "scatter.png").read_bytes().startswith(b"\x89PNG")
    assert "brightness" in (out / "README.md").read_text()
    # What evaluate finds by the column's name, and by the option, is what training found.
    for more in ((), ("--target", "brightness")):
        found = json.loads(run("evaluate", data, "--model", out, *more, "--format", "json", "--quiet").stdout)
        assert (found["split"], found["clips"]) == ("val", 3)
        for theirs, ours in (("mean_squared_error", "mse"), ("mean_absolute_error", "mae"), ("r2", "r2")):
            assert found["metrics"][theirs] == pytest.approx(about["figures"][ours], rel=1e-3)
    truth = [1300 + 200 * number for number in range(COUNT)]
    assert [said["brightness"] for said in values(data, out)] == pytest.approx(truth, abs=400)


def test_all_weights_learn_two_values_and_transformers_reads_them(data: Path, init: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    out = tmp_path / "model"
    targets = ("--target", "brightness", "--target", "dark")
    changes = ("--augment-ops", 0, "--crop-scale", 1, "--views", 1, "--lr", "1e-3")
    train(data, init, out, *targets, "--mode", "full", "--epochs", 2, "--batch-size", 7, *changes)
    first, second = events(out, "epoch")
    assert first["score"] == -first["val_loss"]
    assert second["best"] == max(first["score"], second["score"])
    ours = VideoMAEForVideoClassification.from_pretrained(out)
    theirs = transformers.VideoMAEForVideoClassification.from_pretrained(out).eval()
    assert (theirs.config.problem_type, theirs.config.num_labels) == ("regression", 2)
    assert theirs.config.id2label == {0: "brightness", 1: "dark"}
    clip = torch.randn(2, 16, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(ours(clip).logits, theirs(clip).logits, rtol=1e-4, atol=1e-4)
    # An untrained head says about the mean: in the unit of each column, whatever that is.
    said = values(data, out)
    assert all(1300 <= one["brightness"] <= 3100 and -0.021 <= one["dark"] <= -0.003 for one in said)
    found = json.loads(run("evaluate", data, "--model", out, "--format", "json", "--quiet").stdout)
    kept = json.loads((out / "training.json").read_text())["figures"]
    assert found["metrics"]["mean_squared_error"] == pytest.approx(kept["mse"], rel=1e-3)
    assert [one["output"] for one in found["outputs"]] == ["brightness", "dark"]
    shown = run("evaluate", data, "--model", out, "--report", tmp_path / "report", "--quiet").stdout
    assert "R², mean of all values" in shown
    lines = [json.loads(line) for line in (tmp_path / "report" / "predictions.jsonl").read_text().splitlines()]
    assert [line["true"] for line in lines] == [
        {"brightness": 1300 + 200 * n, "dark": pytest.approx(-(30 + 20 * n) / 1e4)} for n in (1, 4, 7)
    ]
    assert lines[0]["said"] == pytest.approx(said[1], rel=1e-4)
    assert (tmp_path / "report" / "scatter.png").is_file()
    # The same model the other way round: columns by the option, in the order of the outputs.
    swapped = ("--target", "dark", "--target", "brightness", "--format", "json", "--quiet")
    wrong = json.loads(run("evaluate", data, "--model", out, *swapped).stdout)
    assert wrong["outputs"][0]["mean_absolute_error"] > 1000


def test_low_rank_matrices_learn_values_and_are_merged(data: Path, init: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    changes = ("--augment-ops", 0, "--crop-scale", 1, "--views", 1, "--lr", "1e-2", "--batch-size", 7, "--warmup", 0)
    lora = ("--mode", "lora", "--lora-rank", 2)
    train(data, init, out, "--target", "brightness", "--target", "dark", *lora, "--epochs", 2, *changes)
    made, before = (VideoMAEForVideoClassification.from_pretrained(folder) for folder in (out, init))
    assert made.config.problem_type == "regression"
    assert list(made.config.id2label.values()) == ["brightness", "dark"]
    query, key = (f"videomae.encoder.layer.0.attention.attention.{name}.weight" for name in ("query", "key"))
    assert set(before.state_dict()) == set(made.state_dict()), "nothing of the matrices is left"
    assert 1 <= int(torch.linalg.matrix_rank(made.state_dict()[query] - before.state_dict()[query], rtol=1e-3)) <= 2
    assert torch.equal(made.state_dict()[key], before.state_dict()[key])
    # In the unit of each column, and what training measured is what evaluate finds.
    assert all(1300 <= one["brightness"] <= 3100 and -0.021 <= one["dark"] <= -0.003 for one in values(data, out))
    kept = json.loads((out / "training.json").read_text())["figures"]
    found = json.loads(run("evaluate", data, "--model", out, "--format", "json", "--quiet").stdout)
    assert found["metrics"]["mean_squared_error"] == pytest.approx(kept["mse"], rel=1e-3)
    # Matrices go on from a model of the same values with its classifier.
    going_on = ("--target", "brightness", "--target", "dark", *lora, "--epochs", 1, *changes[:-6], "--lr", "1e-9")
    train(data, out, tmp_path / "on", *going_on, "--batch-size", 7)
    for name in ("brightness", "dark"):
        again, first = ([one[name] for one in values(data, folder)] for folder in (tmp_path / "on", out))
        assert again == pytest.approx(first, rel=1e-3)


@pytest.mark.parametrize("mode", ["full", "lora"])
def test_a_run_that_goes_on_ends_with_the_same_bits(
    mode: str, data: Path, init: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--target", "dark", "--mode", mode, "--epochs", 2, "--batch-size", 4, "--views", 1, "--ema", "0.9")
    train(data, init, tmp_path / "whole", *options)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_asked_to_stop", lambda self: self.done == 1)
        train(data, init, tmp_path / "parts", *options, code=130)
    train(data, init, tmp_path / "parts", *options, "--resume")
    for name in ("model.safetensors", "last/model.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()
    # It refuses to go on with another column.
    refused = train(data, init, tmp_path / "parts", *options[2:], "--target", "brightness", "--resume", code=1)
    assert "was started with other settings" in refused.stderr
    if mode == "lora":
        return
    # From there training goes on with the classifier that it has: of matrices the test above says so.
    before = values(data, tmp_path / "whole")
    train(data, tmp_path / "whole", tmp_path / "on", *options[:5], 1, "--lr", "1e-12", "--batch-size", 7, "--views", 1)
    after = values(data, tmp_path / "on")
    assert [one["dark"] for one in after] == pytest.approx([one["dark"] for one in before], rel=1e-3)


@pytest.mark.parametrize("mode", ["head", "full", "lora"])
def test_one_label_is_there_or_not(mode: str, data: Path, init: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    table = data.parent / f"{mode}.jsonl"
    split = ["val" if number % 3 == 1 else "train" for number in range(COUNT)]
    rows = [
        {"path": f"{number}.mp4", "label": ["bright"] if number > 4 else [], "split": split[number]}
        for number in range(COUNT)
    ]
    table.write_text("\n".join(map(json.dumps, rows)))
    more = () if mode == "head" else ("--epochs", 1, "--batch-size", 7, "--views", 1)
    out = tmp_path / "model"
    assert train(table, init, out, "--mode", mode, *more).stdout.startswith("mAP ")
    theirs = transformers.VideoMAEForVideoClassification.from_pretrained(out)
    assert (theirs.config.problem_type, theirs.config.num_labels) == ("multi_label_classification", 1)
    films = [data.parent / f"{number}.mp4" for number in (0, 9)]
    records = json.loads(run("classify", *films, "--model", out, "--format", "json", "--quiet").stdout)
    dark, bright = (record["predictions"][0]["score"] for record in records)
    assert 0 < dark < 1
    assert 0 < bright < 1
    assert [record["value"] for record in records] == [None, None]
    if mode == "head":
        assert dark < 0.5 < bright
    found = json.loads(run("evaluate", table, "--model", out, "--format", "json", "--quiet").stdout)
    assert found["clips"] == 3


@pytest.mark.parametrize("mode", ["head", "full", "lora", "auto"])
def test_nothing_to_tell_apart_is_one_line(mode: str, data: Path, init: Path, tmp_path: Path) -> None:
    for name, cells, more, message in (
        ("class", ["a", "a"], (), "there is one class only, 'a': a classifier needs two or more"),
        ("label", ["a|b", "a|b"], (), "every training clip has 'a', 'b'"),
        ("constant", ["5", "5"], ("--target", "label"), "all 2 training clips have the value 5 in 'label'"),
        ("value", ["5"], ("--target", "label"), "the only training clip has the value 5 in 'label'"),
    ):
        table = data.parent / f"{name}.csv"
        table.write_text("\n".join(["path,label", *(f"{number}.mp4,{cell}" for number, cell in enumerate(cells))]))
        result = train(table, init, tmp_path / "model", "--mode", mode, "--val", 0, *more, code=1)
        assert message in " ".join(result.stderr.split())
        assert "Traceback" not in result.stderr
        assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (("--target", "weight"), 1, "it has no column weight"),
        (("--target", "split"), 1, "row 2, column split: 'train' is not a number"),
        (("--target", "dark", "--target", "dark"), 2, "given twice"),
        (("--target", "dark", "--mode", "full", "--label-smoothing", "0.1"), 2, "--label-smoothing is for classes"),
        ((), 1, "it has no column label"),
    ],
)
def test_what_cannot_be_learnt_is_told_in_a_line(
    more: tuple[object, ...], code: int, message: str, data: Path, init: Path, tmp_path: Path
) -> None:
    result = train(data, init, tmp_path / "model", *more, code=code)
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "model").exists()


def test_evaluate_says_which_columns_it_needs(data: Path, init: Path, tmp_path: Path) -> None:
    two = make_checkpoint(tmp_path / "two", id2label={0: "a", 1: "b"}, problem_type="regression")
    one = make_checkpoint(tmp_path / "one", id2label={0: "a"}, problem_type="regression")
    for model, more, code, message in (
        (two, (), 1, "gives 2 values a clip: give a table with a column for each (--target a --target b)"),
        (two, ("--target", "dark"), 1, "gives 2 values a clip (a, b), and --target names 1"),
        (one, (), 1, "has no column a (its columns: path, split, brightness, dark): --target COLUMN names that"),
        (init, ("--target", "dark"), 2, "gives classes, not values: leave out --target"),
        (init, (), 1, "it has no column label"),
    ):
        result = run("evaluate", data, "--model", model, *more, "--quiet", code=code)
        assert message in " ".join(result.stderr.split())
        assert "Traceback" not in result.stderr
