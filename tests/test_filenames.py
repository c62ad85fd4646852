"""Names of outputs: they fit, they differ, and they are the same in every run, whatever the inputs are called."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from videomae_cli.filenames import fitting, limit_in, names_below, partial_folder, temporary_prefix


@pytest.mark.parametrize("letter", ["a", "ß", "视", "🎬", "é", os.fsdecode(b"\xff")])
@pytest.mark.parametrize("length", range(240, 257))
@pytest.mark.parametrize("ending", [".npy", ".partial", ".srt"])
def test_a_name_fits_with_what_is_put_behind_it(letter: str, length: int, ending: str, tmp_path: Path) -> None:
    stem = "x" * (length % len(os.fsencode(letter))) + letter * (length // len(os.fsencode(letter)))
    name = fitting(stem, ending)
    assert len(os.fsencode(name)) <= 255
    assert name.endswith(ending)
    assert name == fitting(stem, ending)
    assert name == stem + ending or "~" in name
    (tmp_path / name).touch()
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    assert fitting(stem + "y", ending) != name


def test_names_that_begin_alike_stay_apart(tmp_path: Path) -> None:
    paths = ["n" * 249 + f"{number:02}.mp4" for number in range(50)]
    names = names_below(tmp_path, paths, ".npy")
    assert len(set(names.values())) == 50
    for name in names.values():
        (tmp_path / name).touch()
    # In any order, and one by one as well: a later run finds them again.
    assert names_below(tmp_path, paths[::-1], ".npy") == names
    assert names_below(tmp_path, paths[:1], ".npy") == {paths[0]: names[paths[0]]}


def test_usual_names_stay_as_they_are(tmp_path: Path) -> None:
    assert names_below(tmp_path, ["c/a.mp4", "c/sub/b.mp4"], ".npy") == {
        "c/a.mp4": "a.mp4.npy",
        "c/sub/b.mp4": "sub/b.mp4.npy",
    }
    assert names_below(tmp_path, ["a.mp4", "a.mkv", "b.mp4"], ".srt", instead=True) == {
        **{"a.mp4": "a.mp4.srt", "a.mkv": "a.mkv.srt"},
        "b.mp4": "b.srt",
    }
    assert names_below(tmp_path, [], ".npy") == {}


@pytest.mark.parametrize(
    "paths",
    [
        ["A.mp4", "a.mp4"],
        [unicodedata.normalize("NFC", "é.mp4"), unicodedata.normalize("NFD", "é.mp4")],
        ["Sub/a.mp4", "sub/A.mp4", "SUB/a.MP4"],
        ["straße.mp4", "STRASSE.mp4"],
        ["x", "x.npy/a.mp4", "x.npy/b.mp4"],
    ],
)
def test_no_disk_takes_two_of_them_for_one(paths: list[str], tmp_path: Path) -> None:
    names = names_below(tmp_path, paths, ".npy")
    folded = {unicodedata.normalize("NFC", name).casefold() for name in names.values()}
    assert len(folded) == len(paths)
    for name in names.values():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert names_below(tmp_path, paths[::-1], ".npy") == names


@pytest.mark.parametrize(
    "name", ["CON.mp4", "aux", "nul.tar.mp4", "LPT1.mkv", "con .mp4", "a:b.mp4", 'q".mp4', "x?.mp4", "s|t*.mp4"]
)
def test_windows_takes_them(name: str, tmp_path: Path) -> None:
    [(_, made)] = names_below(tmp_path, [name], ".npy", windows=True).items()
    assert made.endswith(".npy")
    assert not set(made) & set('<>:"|?*')
    assert made.split(".")[0].rstrip().lower() not in {"con", "aux", "nul", "lpt1"}
    assert names_below(tmp_path, [name], ".npy", windows=False) == {name: name + ".npy"}


@pytest.mark.parametrize("name", ["sub./a.mp4", "sub /a.mp4"])
def test_windows_would_lose_the_end_of_a_folder(name: str, tmp_path: Path) -> None:
    made = names_below(tmp_path, [name, "x.mp4"], ".npy", windows=True)[name]
    assert not Path(made).parts[0].endswith((".", " "))


def test_the_files_of_the_job_are_not_to_be_had(tmp_path: Path) -> None:
    reserved = ("index.jsonl", "index.jsonl.partial")
    paths = ["index.jsonl/a.mp4", "Index.JSONL.partial/a.mp4", "b.mp4"]
    names = names_below(tmp_path, paths, ".npy", reserved=reserved)
    assert {Path(name).parts[0].lower() for name in names.values()}.isdisjoint(reserved)


def test_a_path_that_would_be_too_long_loses_its_folders(tmp_path: Path) -> None:
    deep = "/".join(["d" * 200] * 10) + "/a.mp4"
    names = names_below(tmp_path, [deep, "b.mp4"], ".npy")
    assert os.sep not in names[deep]
    (tmp_path / names[deep]).touch()


def test_temporary_names_fit(tmp_path: Path) -> None:
    for name in ("n" * 255, "视" * 85, os.fsdecode(b"\xff" * 255)):
        assert len(os.fsencode(temporary_prefix(name))) < 120
        (tmp_path / (temporary_prefix(name) + "12345678.part")).touch()
        partial_folder(tmp_path / name).mkdir()
    assert partial_folder(Path("out.jsonl")) == Path("out.jsonl.partial")


def test_the_limit_is_the_disks(tmp_path: Path) -> None:
    assert 64 <= limit_in(tmp_path) <= 255
    assert limit_in(tmp_path / "nowhere") == 255
