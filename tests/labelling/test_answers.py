"""The table of answers: what was acknowledged is in it, once, after kills, full disks and other programs."""

from __future__ import annotations

import csv
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas
import pytest

from videomae_cli.datasets import read_dataset
from videomae_cli.errors import OptionError, OutputError
from videomae_cli.labelling import answers
from videomae_cli.labelling.answers import Answer, AnswerTable, Clip, check_label, now


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def put(file: Path, *given: tuple[str, str]) -> None:
    with AnswerTable(file) as table:
        for path, label in given:
            table.add([Answer(Clip(path), label, now())])


def test_answers_are_read_by_what_comes_after(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    film = str(tmp_path / "=film, one\n.mp4")
    with AnswerTable(file) as table:
        table.add([Answer(Clip(film, 1.0, 3.5), "serve", now()), Answer(Clip(film, 3.5, 6.0), "-rally", now())])
    dataset = read_dataset(str(file))
    assert [(e.path, e.start, e.end, e.labels) for e in dataset.examples] == [
        (film, 1.0, 3.5, ("serve",)),
        (film, 3.5, 6.0, ("-rally",)),
    ]
    assert list(pandas.read_csv(file).columns) == ["path", "start", "end", "label", "time"]
    with AnswerTable(file) as table:
        assert [answer.label for answer in table.answers] == ["serve", "-rally"]


def test_paths_are_relative_to_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    put(Path("out/labels.csv"), ("videos/a.mp4", "x"), (os.fsdecode(b"videos/caf\xe9.mp4"), "y"))
    assert [row["path"] for row in rows(Path("out/labels.csv"))] == ["../videos/a.mp4", "../videos/caf\ufffd.mp4"]
    found = [Path(e.path).resolve() for e in read_dataset("out/labels.csv").examples]
    assert found == [tmp_path / "videos/a.mp4", tmp_path / os.fsdecode(b"videos/caf\xe9.mp4")]
    with AnswerTable(Path("out/labels.csv")) as table:
        answer = table.answer_of(Clip(os.fsdecode(b"videos/caf\xe9.mp4")))
        assert answer is not None
        assert answer.label == "y"


def test_a_changed_answer_replaces_and_the_same_one_is_not_written_again(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    with AnswerTable(file) as table:
        table.add([Answer(Clip("a.mp4"), "x", now()), Answer(Clip("b.mp4"), "y", now())])
        before = file.stat()
        table.add([Answer(Clip("a.mp4"), "x", now())])
        assert file.stat() == before
        table.add([Answer(Clip("a.mp4"), "z", now())])
        table.remove([Clip("b.mp4")])
    assert [row["label"] for row in rows(file)] == ["z"]


@pytest.mark.parametrize("cut", [1, 2, 5, 21, 22, 25, 30])
def test_half_a_row_is_cut_off(tmp_path: Path, cut: int) -> None:
    file = tmp_path / "labels.csv"
    put(file, ("a.mp4", "x"), ('b,"\n.mp4', "a long label"))
    whole = file.read_bytes()
    file.write_bytes(whole[:-cut])
    kept = 2 if cut <= 2 else 1  # all but the line end was there
    with AnswerTable(file) as table:
        assert table.torn
        assert len(table.answers) == kept
        table.add([Answer(Clip("c.mp4"), "z", now())])
    assert [row["label"] for row in rows(file)] == [*["x", "a long label"][:kept], "z"]


def test_a_killed_process_loses_no_answer(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    program = f"""
from pathlib import Path
from videomae_cli.labelling.answers import *
with AnswerTable(Path({str(file)!r})) as table:
    for number in range(10**6):
        table.add([Answer(Clip(f"{{number}}.mp4"), "x", now())])
        print(number, flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [int(process.stdout.readline()) for _ in range(20)][-1]
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    with AnswerTable(file) as table:
        assert len(table.answers) > said
        assert len({answer.clip.path for answer in table.answers}) == len(table.answers)


def test_a_full_disk_takes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "labels.csv"
    with AnswerTable(file) as table:
        table.add([Answer(Clip("a.mp4"), "x", now())])
        before = file.read_bytes()

        def full(stream: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(answers, "sync", full)
            with pytest.raises(OutputError, match=r"can't write .*labels.csv: No space left on device"):
                table.add([Answer(Clip("b.mp4"), "y", now())])
        assert file.read_bytes() == before
        assert table.answer_of(Clip("b.mp4")) is None
        table.add([Answer(Clip("b.mp4"), "y", now())])
    assert [row["label"] for row in rows(file)] == ["x", "y"]


def test_one_process_writes_at_a_time(tmp_path: Path) -> None:
    with (
        AnswerTable(tmp_path / "labels.csv"),
        pytest.raises(OutputError, match=r"another process is writing .*labels.csv"),
        AnswerTable(tmp_path / "labels.csv"),
    ):
        pass
    with AnswerTable(tmp_path / "labels.csv"):
        pass


def test_what_another_program_wrote_is_not_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    with AnswerTable(file) as table:
        table.add([Answer(Clip("a.mp4"), "x", now())])
        file.write_text("path,label\na.mp4,corrected\n")
        for change in (lambda: table.add([Answer(Clip("b.mp4"), "y")]), lambda: table.remove([Clip("a.mp4")])):
            with pytest.raises(OutputError, match="changed by another program"):
                change()
    assert file.read_text() == "path,label\na.mp4,corrected\n"


def test_a_table_of_ones_own_keeps_its_columns(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("split,path,label\nval,a.mp4,x\ntrain,b.mp4,y")  # no line end
    put(file, (str(tmp_path / "c.mp4"), "z"))
    assert [(row["split"], row["path"], row["label"]) for row in rows(file)] == [
        ("val", "a.mp4", "x"),
        ("train", "b.mp4", "y"),
        ("", str(tmp_path / "c.mp4"), "z"),
    ]


@pytest.mark.parametrize(
    "content",
    [
        b"name,score\na,1\n",
        b"\xff\xfe",
        b"path,label\ra.mp4,x\r",
        b'path,label\n"a.mp4,x\n' + 4000 * b"b.mp4,y\n",
        b"path,label\na.mp4,caf\xe9\n",
    ],
)
def test_another_file_is_left_alone(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "labels.csv"
    file.write_bytes(content)
    with pytest.raises(OutputError, match="no table of answers"), AnswerTable(file):
        pass
    assert file.read_bytes() == content


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "labels.csv")
    with pytest.raises(OutputError, match="is no file"), AnswerTable(tmp_path / "labels.csv"):
        pass


@pytest.mark.parametrize("label", ["", " ", "a|b", "a;b", "a\nb", "x" * 101, "\ud800"])
def test_labels_that_tables_cannot_hold(label: str) -> None:
    with pytest.raises(OptionError, match="can't be a class"):
        check_label(label)
