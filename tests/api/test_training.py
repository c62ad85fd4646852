"""Training and measuring from Python: the same files and figures as from the commands, told to a listener."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from lessons import events
from samples import write_video
from typer.testing import CliRunner

import videomae_cli as videomae
from videomae_cli.cli.app import app
from videomae_cli.errors import DatasetError, OptionError, OutputError, VideoMAEError
from videomae_cli.training.listener import OnEvent, OnFile
from videomae_cli.training.task import Task


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes, two clips each to learn from and one held out, and a broken one."""
    folder = tmp_path_factory.mktemp("clips")
    for part, places in (("train", (0, 1)), ("val", (2,))):
        for number, label in enumerate(("short", "long")):
            (folder / part / label).mkdir(parents=True)
            for place in places:
                write_video(folder / part / label / f"{place}.mp4", count=18 + 8 * number + place)
    (folder / "train" / "long" / "broken.mp4").write_text("no video")
    return folder


class Ears(videomae.TrainingListener):
    """Writes down what it hears. steps_to_go: until it stops the training."""

    def __init__(self, steps_to_go: int = 1000) -> None:
        self.notes: list[str] = []
        self.tried: list[tuple[str, bool]] = []
        self.heard: list[str] = []
        self.steps_to_go = steps_to_go

    def note(self, line: str) -> None:
        self.notes.append(line)

    def stopping(self) -> bool:
        self.steps_to_go -= 1
        return self.steps_to_go <= 0

    @contextmanager
    def files(self, count: int) -> Iterator[OnFile]:
        def on_file(path: str, error: VideoMAEError | None) -> None:
            self.tried.append((Path(path).name, error is None))

        yield on_file

    @contextmanager
    def steps(self, task: Task) -> Iterator[OnEvent]:
        yield lambda event: self.heard.append(event["event"])


def run(*arguments: object) -> str:
    done = CliRunner().invoke(app, [*map(str, arguments), "--quiet"])
    assert done.exit_code == 0, done.output
    return done.stdout


def described(folder: Path) -> Any:
    """What a run says of itself, but for times."""
    left_out = ("seconds", "waited", "clips_per_s")
    return [{name: value for name, value in event.items() if name not in left_out} for event in events(folder)]


def test_a_head_is_the_one_of_the_command(
    clips: Path, checkpoint: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ears = Ears()
    trained = videomae.finetune(clips, output=tmp_path / "a", init=checkpoint, mode="head", listener=ears)
    assert capfd.readouterr() == ("", ""), "a library prints nothing"
    run("finetune", clips, "-o", tmp_path / "b", "--init", checkpoint, "--mode", "head")
    assert described(tmp_path / "a") == described(tmp_path / "b")
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == (tmp_path / "b" / "model.safetensors").read_bytes()
    assert (trained.folder, trained.ended) == (tmp_path / "a", "finished")
    assert trained.metrics["top1"] == events(tmp_path / "a")[-1]["top1"]
    assert ("broken.mp4", False) in ears.tried
    assert sum(good for _, good in ears.tried) == 6
    assert any(line.startswith("mode head") for line in ears.notes)
    assert videomae.load_classifier(trained.folder).labels == ("long", "short")


def test_all_weights_are_those_of_the_command_and_a_listener_stops_and_resumes(
    clips: Path, checkpoint: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"init": checkpoint, "mode": "full", "epochs": 2, "batch_size": 2, "device": "cpu"}
    ears = Ears(steps_to_go=1)
    stopped = videomae.finetune(clips, output=tmp_path / "a", listener=ears, **options)
    assert (stopped.ended, stopped.step) == ("interrupted", 1)
    assert "tick" in ears.heard
    trained = videomae.finetune(clips, output=tmp_path / "a", resume=True, **options)
    assert (trained.ended, trained.step) == ("finished", trained.steps)
    more = ("--mode", "full", "--epochs", 2, "--batch-size", 2, "--device", "cpu")
    run("finetune", clips, "-o", tmp_path / "b", "--init", checkpoint, *more)
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == (tmp_path / "b" / "model.safetensors").read_bytes()


def test_pretraining_is_the_one_of_the_command(clips: Path, tmp_path: Path) -> None:
    shape: dict[str, Any] = {"size": "tiny", "image_size": 32, "patch_size": 16, "frames": 4}
    trained = videomae.pretrain(clips, output=tmp_path / "a", epochs=1, batch_size=2, val=0.4, device="cpu", **shape)
    options = ("--size", "tiny", "--image-size", 32, "--patch-size", 16, "--frames", 4, "--epochs", 1)
    line = run("pretrain", clips, "-o", tmp_path / "b", *options, "--batch-size", 2, "--val", 0.4, "--device", "cpu")
    assert trained.loss is not None
    assert line == f"loss {trained.loss:.4f}\n"
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == (tmp_path / "b" / "model.safetensors").read_bytes()


def test_an_evaluation_is_the_document_of_the_command(
    clips: Path, checkpoint: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "clips.csv"
    rows = ["path,label", f"{clips}/val/long/2.mp4,walking", f"{clips}/val/short/2.mp4,滑雪", "missing.mp4,walking"]
    table.write_text("\n".join(rows), encoding="utf-8")
    heard: list[tuple[str, bool]] = []
    with videomae.load_classifier(checkpoint) as model:
        found = videomae.evaluate(
            table,
            model=model,
            clips=2,
            report=tmp_path / "report",
            on_clip=lambda path, views, error: heard.append((Path(path).name, error is None)),
        )
    assert capfd.readouterr() == ("", "")
    done = CliRunner().invoke(
        app, ["evaluate", str(table), "--model", str(checkpoint), "--clips", "2", "-o", str(tmp_path / "c.json"), "-q"]
    )
    assert done.exit_code == 1, "a clip failed"
    document = json.loads(json.dumps(found.as_dict()))
    assert document == json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))
    assert sorted(heard) == [("2.mp4", True), ("2.mp4", True), ("missing.mp4", False)]
    assert json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8")) == document
    with pytest.raises(OutputError, match="holds something already"):
        videomae.evaluate(table, model=checkpoint, report=tmp_path / "report")


def test_wrong_data_and_options_are_errors_before_anything_is_loaded(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="unknown mode"):
        videomae.finetune(clips, output=tmp_path / "a", init="no-such-model", mode="heads")
    with pytest.raises(OptionError, match="unknown size"):
        videomae.pretrain(clips, output=tmp_path / "a", size="giant")
    with pytest.raises(TypeError, match="epoch"):
        videomae.finetune(clips, output=tmp_path / "a", init="no-such-model", epoch=3)  # type: ignore[call-arg]
    with pytest.raises(DatasetError):
        videomae.evaluate(tmp_path / "missing", model="no-such-model")
    with pytest.raises(OptionError, match="unknown split"):
        videomae.evaluate(clips, model="no-such-model", split="dev")
    assert not list(tmp_path.iterdir())
