"""Results written from Python: the files of the commands, but for what is of their job."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import videomae_cli as videomae
from videomae_cli.errors import OptionError, OutputError, VideoMAEError
from videomae_cli.results import Classification, Embedding, Failure, Prediction, Segment, Timeline, VectorPlace, Window
from videomae_cli.writers import read_records, read_vector_records

BAD = Failure("decode", "broken")
LABELS = [Classification("a.mp4", "m", predictions=(Prediction("x", 0, 0.5),)), Classification("b.mp4", "m", error=BAD)]
FILMS = [Timeline("a.mp4", "m", segments=(Segment(0, 1, "x", 0, 0.5),)), Timeline("b.mp4", "m", error=BAD)]
VECTORS = [
    Embedding("b.mp4", "m", error=BAD),
    Embedding("a.mp4", "m", vectors=np.ones((1, 3), np.float32), places=(VectorPlace(0.0, 1.0),)),
]


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "parquet"])
def test_labels_are_read_back(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"labels.{suffix}"
    assert videomae.write_results(iter(LABELS), file, wide=suffix == "csv") == 2
    assert [(r["path"], r["status"], r["index"]) for r in read_records(file)] == [
        ("a.mp4", "ok", 0),
        ("b.mp4", "error", 1),
    ]
    before = file.read_bytes()
    with pytest.raises(OutputError, match="is there already: overwrite=True"):
        videomae.write_results(LABELS, file)
    assert videomae.write_results(LABELS, file, wide=suffix == "csv", overwrite=True) == 2
    assert file.read_bytes() == before


def test_timelines_and_nothing(tmp_path: Path) -> None:
    videomae.write_results(FILMS, tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text().splitlines() == [
        "path,start,end,label,score,unsure,error",
        "a.mp4,0,1,x,0.5,False,",
        "b.mp4,,,,,,decode: broken",
    ]
    with pytest.raises(OptionError, match="wide=True is about the columns of CSV"):
        videomae.write_results(FILMS, tmp_path / "u.jsonl", wide=True)
    videomae.write_results(FILMS, tmp_path / "t.jsonl")
    assert [len(record["segments"]) for record in read_records(tmp_path / "t.jsonl")] == [1, 0]
    windows = tuple(Window(0.5 * n, 1 + 0.5 * n, (Prediction("x", 0, 0.5),)) for n in range(3))
    films = [replace(FILMS[0], windows=windows, warnings=("w",)), replace(FILMS[0], error=BAD), FILMS[1], *FILMS * 150]
    for suffix in ("jsonl", "parquet"):  # of which the second has more than one group of rows
        videomae.write_results(films, tmp_path / f"w.{suffix}")
    lines, rows = (list(read_records(tmp_path / name)) for name in ("w.jsonl", "w.parquet"))
    assert rows == lines
    assert [list(record) for record in rows] == [list(record) for record in lines]
    with pytest.raises(OptionError, match=r"can't tell the format of 't.doc': end it in one of .*\.srt"):
        videomae.write_results(FILMS, tmp_path / "t.doc")
    for name, begins in (("t.srt", b"1\n00:00"), ("t.vtt", b"WEBVTT"), ("t.eaf", b"<?xml"), ("t.png", b"\x89PNG")):
        assert videomae.write_results(FILMS[:1], tmp_path / name) == 1
        assert (tmp_path / name).read_bytes().startswith(begins)
        with pytest.raises(OptionError, match="holds one video"):
            videomae.write_results(FILMS, tmp_path / name, overwrite=True)
        assert (tmp_path / name).read_bytes().startswith(begins)
    assert videomae.write_results([], tmp_path / "none.json") == 0
    assert list(read_records(tmp_path / "none.json")) == []


@pytest.mark.parametrize("format", ["srt", "vtt", "elan", "png", "npz"])
def test_no_results_are_not_written_in_a_format_of_one(format: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=f"there are no results: {format} can't hold none, as table, json, .* can"):
        videomae.write_results([], tmp_path / "x", format=format)
    ending = {"elan": "eaf"}.get(format, format)
    with pytest.raises(OptionError, match="there are no results"):
        videomae.write_results(iter([]), tmp_path / f"x.{ending}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "npz"])
def test_vectors_are_read_back_whichever_file_failed_first(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"v.{suffix}"
    assert videomae.write_results(iter(VECTORS), file) == 2
    assert [len(record["rows"]) for record in read_vector_records(file)] == [0, 1]
    with pytest.raises(OutputError, match="no result holds a vector"):
        videomae.write_results(VECTORS[:1], tmp_path / "w.parquet")
    assert not (tmp_path / "w.parquet").exists()


def test_what_is_read_is_never_replaced(tmp_path: Path) -> None:
    film, link = tmp_path / "a.jsonl", tmp_path / "link.jsonl"
    film.write_bytes(b"a film")
    link.symlink_to(film)
    found = Classification(str(film), "m", predictions=(Prediction("x", 0, 0.5),))
    for output in (film, link):
        with pytest.raises(OutputError, match="is what is read: give another name with output"):
            videomae.write_results([LABELS[0], found], output, overwrite=True)
    assert film.read_bytes() == b"a film"
    with pytest.raises(OutputError, match="is a folder"):
        videomae.write_results(FILMS[:1], f"{tmp_path}/new/", format="srt")
    with pytest.raises(VideoMAEError, match="broken"):
        videomae.write_results(FILMS[1:], tmp_path / "b.srt")
    assert sorted(tmp_path.iterdir()) == [film, link]


def test_a_file_of_results_that_break_off_is_not_there(tmp_path: Path) -> None:
    def broken():  # type: ignore[no-untyped-def]
        yield LABELS[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        videomae.write_results(broken(), tmp_path / "a.jsonl")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("given", [[3], [None], ["a.mp4"], [*LABELS, FILMS[0]], [*VECTORS, LABELS[0]]])
def test_what_is_no_result_or_of_another_kind_is_refused(given: list[object], tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"^results must be a list of Result objects|^results must be of one kind"):
        videomae.write_results(given, tmp_path / "a.jsonl")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"^results must be of one kind"):
        videomae.write_results(iter(given), tmp_path / "a.jsonl")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_outputs_to_merge_are_names(tmp_path: Path) -> None:
    for given in [(name for name in (b"a.jsonl",)), {4}]:
        with pytest.raises(OptionError, match=r"^outputs must be names or paths, and one of them is "):
            videomae.merge(given, tmp_path / "a.csv")  # type: ignore[arg-type]
