"""`label_videos` from Python: the checkpoint says what the session said, parts of films, labels that exist, going on."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from motions import write_motions
from samples import make_checkpoint, write_video
from transformers import VideoMAEForVideoClassification

import videomae_cli
from videomae_cli.api.label_session import load_server
from videomae_cli.errors import OptionError, OutputError
from videomae_cli.video import worker


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_python: str) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(worker, "INTERPRETER", quick_python)
    for kind in ("a", "b"):
        (tmp_path / "videos" / kind).mkdir(parents=True)
        for number in range(4):
            write_video(tmp_path / "videos" / kind / f"{number}.mp4", count=17 + 3 * number + 20 * (kind == "b"))
    return tmp_path


@pytest.mark.parametrize("kind", ["classifier", "encoder"])
def test_the_checkpoint_says_what_the_session_says(here: Path, kind: str) -> None:
    changes: dict[str, object] = {} if kind == "classifier" else {"use_mean_pooling": False}
    start = make_checkpoint(here / "start", **changes)
    with videomae_cli.label_videos("videos", "labels.csv", model=start, classes=["b", "a"]) as labelling:
        labelling.embed()
        with pytest.raises(OptionError, match="nothing to learn from yet"):
            labelling.save_model()
        while (clip := labelling.question()) is not None:
            labelling.answer(clip, Path(clip.path).parent.name)
        said = {clip.path: labelling.session.predictions([n])[0] for n, clip in enumerate(labelling.session.clips)}
        weight = labelling.session.head()
        for _ in range(2):  # the second replaces the first
            place = labelling.save_model()
    assert {row.split(",")[0] for row in Path("labels.csv").read_text().splitlines()[1:]} == set(said)
    assert weight is not None
    model = videomae_cli.load_classifier(place)
    for path, told in said.items():
        result = model.classify(path)
        assert told is not None
        assert (result.label, result.score) == (told[0], pytest.approx(told[1], abs=0.02))
    theirs, found = VideoMAEForVideoClassification.from_pretrained(place, output_loading_info=True)
    assert not found["missing_keys"]
    assert theirs.config.id2label == {0: "b", 1: "a"}
    assert np.allclose(theirs.classifier.weight.detach().numpy(), weight[0])
    clip = torch.rand(1, 16, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(theirs.eval()(clip).logits, model.model(clip).logits, atol=1e-5)
    assert (place / "trained_on.json").is_file()
    assert not list(here.glob("labels.model.*"))


def test_parts_of_films_labels_that_exist_and_going_on(here: Path) -> None:
    start = make_checkpoint(here / "start")
    write_motions(here / "film.mp4", [("pan left", 4.0), ("zoom in", 4.0)])
    (here / "known.csv").write_text("path,start,end,label\nfilm.mp4,0,4,pan\n")
    tried: list[str] = []
    for _ in range(2):
        with videomae_cli.label_videos(
            "film.mp4",
            "parts.csv",
            model=start,
            labels="known.csv",
            window="2s",
            on_file=lambda path, _: tried.append(path),
        ) as labelling:
            labelling.embed()
            parts = [
                (clip.start, clip.end, labelling.session.label_of(n)) for n, clip in enumerate(labelling.session.clips)
            ]
            if len(labelling.session.answers.answers) == 2:
                labelling.answer(labelling.session.clips[3], "zoom")
                parts[3] = (*parts[3][:2], "zoom")
        assert parts == [(0, 2, "pan"), (2, 4, "pan"), (4, 6, None), (6, 8, "zoom")]
    assert tried == ["film.mp4"]  # the second run had its vectors
    with (
        pytest.raises(OutputError, match=r"parts\.vectors\.parquet.* other settings .*; use those, or remove it"),
        videomae_cli.label_videos("film.mp4", "parts.csv", model=start, window="4s"),
    ):
        pass


def test_a_key_means_the_same_after_a_restart(here: Path) -> None:
    start = make_checkpoint(here / "start")
    for typed, expected in (("c", ["b", "a", "c"]), ("d 🎥", ["b", "a", "c", "d 🎥"])):
        with videomae_cli.label_videos("videos", "labels.csv", model=start, classes=["b"]) as labelling:
            labelling.embed()
            if typed == "c":
                labelling.session.add_class("a")
            clip = labelling.question()
            assert clip is not None
            labelling.answer(clip, typed)  # the first rows of the table are of the later classes
            assert labelling.session.classes == expected
    with videomae_cli.label_videos("videos", "labels.csv", model=start) as labelling:
        assert labelling.session.classes == expected


def test_what_comes_after_reads_the_result(here: Path) -> None:
    write_motions(here / "film.mp4", [("pan left", 8.0), ("zoom in", 8.0), ("pan left", 8.0)])
    with videomae_cli.label_videos("film.mp4", "parts.csv", model="camera-motion", window="4s") as labelling:
        labelling.embed()
        while (clip := labelling.question()) is not None:
            labelling.answer(clip, "zoom" if clip.start == 8 or clip.start == 12 else "pan")
        place = labelling.save_model()
    with videomae_cli.load_classifier(place) as model:
        timeline = model.timeline("film.mp4", window="4s")
    assert [segment.label for segment in timeline.segments] == ["pan", "zoom", "pan"]
    assert [segment.start for segment in timeline.segments] == pytest.approx([0, 8, 16], abs=2)
    found = videomae_cli.evaluate("parts.csv", model=place)
    assert (found.metrics.count, found.metrics.top1) == (6, 1.0)
    trained = videomae_cli.finetune("parts.csv", output="tuned", init="camera-motion", mode="head")
    assert videomae_cli.load_classifier(trained.folder).labels == ("pan", "zoom")


def test_the_example_of_the_guide_runs(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree("videos")
    Path("videos").mkdir()
    for name, kind in (("a", "pan left"), ("b", "zoom in")):
        write_motions(Path("videos", f"{name}.mp4"), [(kind, 1.3)])
    page = (Path(__file__).parent.parent.parent / "docs" / "label.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S)
    exec(compile(example, "docs/label.md", "exec"), {"__name__": "example"})
    assert capsys.readouterr().out == "by-hand.model\n"
    assert videomae_cli.load_classifier("by-hand.model").classify("videos/b.mp4").label == "long"


def test_what_is_wrong_is_said_before_anything_is_written(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = make_checkpoint(here / "start")
    (here / "mine.model").mkdir()
    with pytest.raises(OptionError, match=r"ends in \.csv"):
        videomae_cli.label_videos("videos", "labels.txt", model=start)
    with (
        pytest.raises(OutputError, match=r"mine.model is there and was not written by videomae label"),
        videomae_cli.label_videos("videos", "mine.csv", model=start),
    ):
        pass
    assert sorted(path.name for path in here.iterdir()) == ["mine.model", "start", "videos"]
    monkeypatch.delitem(sys.modules, "videomae_cli.labelling.label_server", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(videomae_cli.VideoMAEError, match=r"pip install 'videomae-cli\[label\]'"):
        load_server()
