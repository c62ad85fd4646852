"""`label_videos` from Python: the checkpoint says what the session said, parts of films, labels that exist, going on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from motions import write_motions
from samples import make_checkpoint, write_video
from transformers import VideoMAEForVideoClassification

import videomae_cli
from videomae_cli.errors import OptionError, OutputError
from videomae_cli.labelling.label_server import check_server
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
        labelling.wait()
        with pytest.raises(OptionError, match="nothing to learn from yet"):
            labelling.save_model()
        while (clip := labelling.question()) is not None:
            labelling.answer(clip, Path(clip.path).parent.name)
        said = {clip.path: labelling.session.prediction(n) for n, clip in enumerate(labelling.session.clips)}
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
            labelling.wait()
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
    monkeypatch.setitem(__import__("sys").modules, "uvicorn", None)
    with pytest.raises(videomae_cli.VideoMAEError, match=r"pip install 'videomae-cli\[label\]'"):
        check_server()
