"""Which clips a checkpoint was trained on is recorded beside it, by what is in the files, and `evaluate` says so."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from pictures_of_clips import write_frames, write_tar
from samples import quick_decoding, write_video

import videomae_cli
from videomae_cli.datasets import Example
from videomae_cli.evaluation import Evaluation, markdown
from videomae_cli.model.conversion import SEEN
from videomae_cli.training.seen_clips import SeenClips, file_digest, record_seen

__all__ = ["quick_decoding"]  # used by every test here


def example(path: Path, start: float | None = None, end: float | None = None) -> Example:
    return Example(str(path), ("x",), None, "", start, end)


@pytest.fixture
def films(tmp_path: Path) -> list[Path]:
    """Three files of one size, which differ in one byte at the beginning, in the middle and at the end."""
    content = bytes(1_000_000)
    names = [tmp_path / f"{name}.mp4" for name in "abc"]
    for path, place in zip(names, (0, 500_000, 999_999), strict=True):
        path.write_bytes(content[:place] + b"x" + content[place + 1 :])
    return names


def recorded(folder: Path, *examples: Example, init: Path | None = None) -> SeenClips:
    folder.mkdir(exist_ok=True)
    record_seen(folder, examples, init)
    seen = SeenClips.read(folder)
    assert seen is not None
    return seen


def test_files_are_known_by_their_content(films: list[Path], tmp_path: Path) -> None:
    assert len({file_digest(str(film)) for film in films}) == 3
    seen = recorded(tmp_path / "model", example(films[0]))
    copied = Path(shutil.copy(films[0], tmp_path / "other name.mov"))
    assert seen.count([example(copied)]) == 1
    assert seen.count([example(film) for film in films[1:]]) == 0
    assert seen.count([example(tmp_path / "gone.mp4")]) == 0
    assert str(tmp_path) not in (tmp_path / "model" / SEEN).read_text()


def test_pictures_and_films_in_archives_are_known_by_their_content(films: list[Path], tmp_path: Path) -> None:
    clip = write_frames(tmp_path / "clip", range(1, 21))
    other = write_frames(tmp_path / "other", range(2, 22))
    archive = write_tar(tmp_path / "a.tar", {"film.mp4": films[0].read_bytes()})
    seen = recorded(tmp_path / "model", example(clip), example(archive / "film.mp4"))
    copied = Path(shutil.copytree(clip, tmp_path / "elsewhere"))
    assert seen.count([example(copied), example(copied / "img_%05d.jpg"), example(films[0])]) == 3
    assert seen.count([example(other), example(films[1])]) == 0
    assert seen.count([example(tmp_path / "clip#frames=3-10"), example(clip, 0.1, 0.3)]) == 2


def test_parts_of_pictures_count_where_they_overlap(tmp_path: Path) -> None:
    clip = str(write_frames(tmp_path / "clip", range(1, 41)))
    seen = recorded(tmp_path / "model", example(Path(f"{clip}#frames=11-20")))
    parts = {"#frames=1-10": 0, "#frames=20-30": 1, "#frames=21-30": 0, "#count=11": 1, "#count=10": 0, "": 1}
    assert {part: seen.count([example(Path(clip + part))]) for part in parts} == parts


@pytest.mark.parametrize(
    ("start", "end", "counted"),
    [(None, None, 1), (0, 10, 0), (0, 10.5, 1), (20, 30, 0), (19, None, 1), (20, None, 0), (12, 13, 1)],
)
def test_only_what_overlaps_counts(
    films: list[Path], tmp_path: Path, start: float | None, end: float | None, counted: int
) -> None:
    seen = recorded(tmp_path / "model", example(films[0], 10, 20))
    assert seen.count([example(films[0], start, end)]) == counted


def test_a_model_trained_from_another_has_seen_its_clips_too(films: list[Path], tmp_path: Path) -> None:
    recorded(tmp_path / "first", example(films[0]))
    second = recorded(tmp_path / "second", example(films[1]), init=tmp_path / "first" / "model.safetensors")
    assert second.count(map(example, films)) == 2


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"schema_version": 2, "files": {}}', '{"schema_version": 1, "files": 3}']
)
def test_a_record_that_is_none_says_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / SEEN).write_text(content)
    assert SeenClips.read(tmp_path) is None


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with clips, and models that were trained on half of them, in both ways."""
    place = tmp_path_factory.mktemp("seen")
    film = write_video(place / "film.mp4")
    for number, name in enumerate(("train/a/1", "train/b/2", "val/a/3", "val/b/4")):
        file = place / "clips" / f"{name}.mp4"
        file.parent.mkdir(parents=True, exist_ok=True)
        # a few bytes more at the end: the same film, another file
        file.write_bytes(film.read_bytes() + bytes(number))
    common = {"init": "camera-motion", "device": "cpu", "workers": 1, "check": False}
    videomae_cli.finetune(place / "clips", output=place / "head", mode="head", **common)
    videomae_cli.finetune(
        place / "clips", output=place / "full", mode="full", epochs=1, batch_size=2, views=1, repeats=1, **common
    )
    return place


@pytest.mark.parametrize("mode", ["head", "full", "full/last"])
def test_evaluate_knows_the_clips_of_the_training(trained: Path, mode: str) -> None:
    model = videomae_cli.load_classifier(trained / mode, device="cpu")
    measured = {
        split: videomae_cli.evaluate(trained / "clips", model=model, split=split) for split in ("train", "val", "all")
    }
    assert {split: found.trained_on for split, found in measured.items()} == {"train": 2, "val": 0, "all": 2}
    assert measured["val"].doubt == ""
    assert "was trained on all 2 clips: on new clips" in measured["train"].doubt
    assert "was trained on 2 of the 4 clips: on new clips" in measured["all"].doubt
    assert measured["all"].as_dict()["trained_on"] == 2
    assert "was trained on 2 of the 4 clips" in markdown(measured["all"])


def test_a_model_that_does_not_say_is_not_suspected(trained: Path) -> None:
    found: Evaluation = videomae_cli.evaluate(
        trained / "clips", model=videomae_cli.load_classifier(trained / "head", device="cpu"), split="train"
    )
    unknown = replace(found, trained_on=None)
    assert unknown.doubt == ""
    assert unknown.as_dict()["trained_on"] is None
    assert videomae_cli.load_classifier("camera-motion", device="cpu").pipeline.checkpoint is not None


def test_a_converted_model_keeps_its_record_and_no_other(trained: Path, tmp_path: Path) -> None:
    videomae_cli.convert(trained / "head", tmp_path / "model")
    assert json.loads((tmp_path / "model" / SEEN).read_text()) == json.loads((trained / "head" / SEEN).read_text())
    videomae_cli.convert("camera-motion", tmp_path / "model", overwrite=True)
    assert SeenClips.read(tmp_path / "model") is None
