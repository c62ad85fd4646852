"""Labelled clips that are pictures: class folders of clip folders, annotation lists and tables with frames and rates."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "video"))

from pictures_of_clips import write_frames

from videomae_cli.datasets import check_dataset, read_dataset, split_dataset
from videomae_cli.errors import DatasetError, OptionError
from videomae_cli.video import Decoder, Filter, find_videos, open_video


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Two clips of 40 frames, numbered from 1, and a film."""
    write_frames(tmp_path / "P01 a", range(1, 41))
    write_frames(tmp_path / "P02", range(1, 41))
    (tmp_path / "film.mp4").touch()
    return tmp_path


def read(folder: Path, name: str, text: str, *, labels: bool = True) -> list[tuple[str, tuple[str, ...]]]:
    """The clips of a table, relative to its folder, with their labels."""
    (folder / name).write_text(text, encoding="utf-8")
    examples = read_dataset(str(folder / name), labels_required=labels).examples
    return [(os.path.relpath(example.path, folder), example.labels) for example in examples]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "P01 a 3 20 7\nP01 a 23 10 8\nP02/img_%05d.jpg 1 30 7\nP02 12 8\nfilm.mp4 8\n"),
        ("a.csv", "P01 a,3,20,7\nP01 a,23,10,8\nP02/img_%05d.jpg,1,30,7\nP02,12,8\nfilm.mp4,8\n"),
        ("a.csv", "P01 a 3 20,7\nP01 a 23 10,8\nP02/img_%05d.jpg 1 30,7\nP02 12,8\nfilm.mp4,8\n"),
    ],
)
def test_annotation_lists(clips: Path, name: str, text: str) -> None:
    """`path start count label`, and `path count label`, beside paths alone."""
    assert read(clips, name, text) == [
        ("P01 a#frames=3-22", ("7",)),
        ("P01 a#frames=23-32", ("8",)),
        ("P02/img_%05d.jpg#frames=1-30", ("7",)),
        ("P02#count=12", ("8",)),
        ("film.mp4", ("8",)),
    ]


def test_lists_without_labels_have_start_and_count(clips: Path) -> None:
    expected = [("P01 a#frames=3-22", ()), ("P02#frames=5-8", ())]
    assert read(clips, "a.txt", "P01 a 3 20\nP02 5 4 1\n", labels=False) == expected
    assert read(clips, "a.csv", "P01 a,3,20\nP02,5,4,1\n", labels=False) == expected
    names = (
        find_videos([f"@{clips}/names"]) if (clips / "names").write_text(f"{clips}/P02 5 4 1\n{clips}/P02\n") else []
    )
    assert [(os.path.relpath(v.path, clips), v.error) for v in names] == [("P02#frames=5-8", None), ("P02", None)]


def test_tables_give_frames_and_rates(clips: Path) -> None:
    text = (
        "path,label,start_frame,stop_frame,fps\nP01 a,x,3,22,59.94\nP01 a,y,23,32,\nP02,x,,,12\nfilm.mp4,y,,,25\n"
        "P02/img_%05d.jpg,x,5,8,\n"
    )
    assert read(clips, "a.csv", text) == [
        ("P01 a#frames=3-22&fps=59.94", ("x",)),
        ("P01 a#frames=23-32", ("y",)),
        ("P02#fps=12", ("x",)),
        ("film.mp4", ("y",)),
        ("P02/img_%05d.jpg#frames=5-8", ("x",)),
    ]
    assert read(clips, "b.csv", "path,label,offset,num_frames\nP02,x,5,4.0\nP02,y,,7\n") == [
        ("P02#frames=5-8", ("x",)),
        ("P02#count=7", ("y",)),
    ]
    with open_video(f"{clips}/P01 a#frames=3-22&fps=59.94") as reader:
        assert (reader.num_frames, reader.fps) == (20, 59.94)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("P02,x,a,5,", "row 2: 'a' is no number of a frame"),
        ("P02,x,5,,", "it has the first frame, but neither the last one nor a count"),
        ("P02,x,5,4,", "its frames end before they begin"),
        ("P02,x,,,-3", "is no time in seconds|is no rate"),
        ("P02,x,,,5000", "5000 is no rate of frames"),
    ],
)
def test_rows_that_make_no_sense(clips: Path, row: str, said: str) -> None:
    with pytest.raises(DatasetError, match=said):
        read(clips, "a.csv", f"path,label,start_frame,stop_frame,fps\n{row}\n")


def test_class_folders_of_clips(tmp_path: Path) -> None:
    for label in ("walk", "run"):
        for clip in ("c1", "c2"):
            write_frames(tmp_path / "train" / label / clip, range(1, 11))
    write_frames(tmp_path / "val" / "walk" / "c9", range(1, 11))
    (tmp_path / "val" / "run").mkdir()
    write_frames(tmp_path / "val" / "run" / "few", range(1, 4))
    data = read_dataset(str(tmp_path), only=Filter(frame_folders="always"))
    assert [(os.path.relpath(e.path, tmp_path), e.labels, e.split) for e in data.examples][-2:] == [
        ("val/run/few", ("run",), "val"),
        ("val/walk/c9", ("walk",), "val"),
    ]
    assert len(read_dataset(str(tmp_path)).examples) == 5
    with pytest.raises(DatasetError, match=r"no class folder in .* holds videos"):
        read_dataset(str(tmp_path), only=Filter(frame_folders="never"))
    unlabelled = read_dataset(str(tmp_path), labels_required=False)
    assert [example.split for example in unlabelled.examples] == ["train"] * 4 + ["val"]


def test_parts_of_one_clip_are_never_on_both_sides(clips: Path) -> None:
    rows = [f"P0{1 + n % 2}{' a' if n % 2 == 0 else ''} {1 + n} 8 {n % 3}" for n in range(24)]
    (clips / "a.txt").write_text("\n".join(rows))
    data = read_dataset(str(clips / "a.txt"))
    assert {example.group for example in data.examples} == {str(clips / "P01 a"), str(clips / "P02")}
    train, val, _ = split_dataset(data, fraction=0.4)
    sides = [{example.path.partition("#")[0] for example in side} for side in (train, val)]
    assert not sides[0] & sides[1]


def test_a_check_finds_the_bad_clips_and_keeps_the_others(clips: Path) -> None:
    (clips / "P02" / "img_00001.jpg").write_bytes(b"")
    (clips / "a.txt").write_text("P01 a 1 20 0\nP01 a 21 20 1\nP02 0\nP01 a 90 5 1\nnone 3 4 1\n")
    data = read_dataset(str(clips / "a.txt"))
    with Decoder() as decoder:
        report = check_dataset(data, data.examples, (), "", decoder=decoder)
    assert [os.path.relpath(example.path, clips) for example in report.train] == [
        "P01 a#frames=1-20",
        "P01 a#frames=21-40",
    ]
    assert [round(report.lengths[example], 3) for example in report.train] == [0.667, 0.667]
    reasons = [why for _, why in report.broken]
    assert "picture 'img_00001.jpg'" in reasons[0]
    assert "has no such pictures" in reasons[1]
    assert "no such file" in reasons[2]


def test_a_wrong_way_with_folders_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="auto, never or always"):
        read_dataset(str(tmp_path), only=Filter(frame_folders="some"))
