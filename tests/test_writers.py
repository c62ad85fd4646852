"""Records in every format and back; whole files or none, links kept, devices left alone."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import stat
import threading
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from videomae_cli.errors import OptionError, OutputError
from videomae_cli.files import whole_file
from videomae_cli.results import Classification, Failure, Prediction, Source, Stamp, path_of
from videomae_cli.writers import FORMATS, TextWriter, make_writer, pick_format, read_records
from videomae_cli.writers.columns import to_record, to_row

SOURCE = Source(
    decoder="opencv",
    sampling="dense: 1 clip",
    frames=((0, 4, 8), (1, 5, 9)),
    timestamps=((0.0, 0.16, 0.32), (0.04, 0.2, 0.36)),
    crops=3,
    num_frames=10,
    fps=25.0,
    duration=0.4,
    width=640,
    height=360,
)
GOOD = Classification(
    'a\n"b",=.mp4',
    "tiny",
    predictions=(Prediction("[red]run[/red]", 1, 0.75), Prediction("滑雪, Ski", 0, 0.25)),
    source=SOURCE,
    warnings=("cut off",),
)
BAD = Classification(os.fsdecode(b"c\xff.mp4"), "tiny", "abc123", error=Failure("not_found", "no such file: 'c.mp4'"))
RECORDS = [GOOD.as_dict(Stamp(0, "f" * 16, "0.1.0")), BAD.as_dict(Stamp(1, "f" * 16, "0.1.0", "2/8"))]


def written(format: str, file: Path) -> Path:
    with whole_file(file) as sink:
        writer = make_writer("csv-wide" if format == "csv" else format, sink)
        for record in RECORDS:
            writer.write(record)
        writer.finish()
    return file


@pytest.mark.parametrize("format", ["jsonl", "json", "csv", "parquet"])
def test_records_come_back_as_they_were(format: str, tmp_path: Path) -> None:
    file = written(format, tmp_path / f"out.{format}")
    assert list(read_records(file)) == RECORDS
    assert [path_of(record) for record in read_records(file)] == [GOOD.path, BAD.path]


def test_csv_is_what_a_spreadsheet_reads(tmp_path: Path) -> None:
    with written("csv", tmp_path / "out.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert (rows[0]["path"], rows[0]["label"], rows[0]["score"]) == ('a\n"b",=.mp4', "[red]run[/red]", "0.75")
    assert (rows[1]["status"], rows[1]["label"], rows[1]["error_kind"]) == ("error", "", "not_found")
    assert json.loads(rows[0]["frames"]) == [[0, 4, 8], [1, 5, 9]]


def test_parquet_has_types(tmp_path: Path) -> None:
    table = pq.read_table(written("parquet", tmp_path / "out.parquet"))
    assert table["predictions"][0].as_py()[1] == {"label": "滑雪, Ski", "label_id": 0, "score": 0.25}
    assert table["frames"][0].as_py() == [[0, 4, 8], [1, 5, 9]]
    assert str(table.schema.field("score").type) == "double"
    assert table["revision"].to_pylist() == [None, "abc123"]


@pytest.mark.parametrize(("format", "rest"), [("jsonl", -10), ("json", -10), ("csv", -10), ("parquet", -10)])
def test_a_file_that_is_cut_off_is_an_error(format: str, rest: int, tmp_path: Path) -> None:
    file = written(format, tmp_path / f"out.{format}")
    file.write_bytes(file.read_bytes()[:rest])
    with pytest.raises(OutputError, match=file.name):
        list(read_records(file))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", b'{"other": 1}\n'),
        ("a.json", b"{}"),
        ("a.csv", b"x,y\n1,2\n"),
        ("a.parquet", b"PAR1"),
        ("a.txt", b""),
    ],
)
def test_what_is_no_output_of_ours_is_told(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(OutputError, match=name):
        list(read_records(tmp_path / name))


def test_the_file_appears_whole_with_the_rights_of_any_other(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with whole_file(out) as sink:
        sink.write(b"x")
        assert not out.exists()
    assert out.read_bytes() == b"x"
    (tmp_path / "other").touch()
    assert out.stat().st_mode == (tmp_path / "other").stat().st_mode
    assert {p.name for p in tmp_path.iterdir()} == {"out.jsonl", "other"}


def test_a_run_that_breaks_off_leaves_the_old_file(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    out.write_text("old")
    with contextlib.suppress(KeyboardInterrupt), whole_file(out) as sink:
        sink.write(b"new")
        raise KeyboardInterrupt
    assert out.read_text() == "old"
    assert list(tmp_path.iterdir()) == [out]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    real, link = tmp_path / "disk" / "real.json", tmp_path / "link.json"
    real.write_text("old")
    link.symlink_to(real)
    with whole_file(link) as sink:
        sink.write(b"new")
    assert link.is_symlink()
    assert real.read_text() == "new"
    assert list((tmp_path / "disk").iterdir()) == [real]


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    with whole_file(pipe) as sink:
        sink.write(b"through")
    reader.join(timeout=300)
    assert read == ["through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_full_disk_is_an_error_with_a_name() -> None:
    with pytest.raises(OutputError, match="/dev/full: No space left"), whole_file(Path("/dev/full")) as sink:
        sink.write(b"x" * 100_000)


def test_json_without_records_is_a_document() -> None:
    sink = io.BytesIO()
    make_writer("json", sink).finish()
    assert json.loads(sink.getvalue()) == []


def test_text_keeps_a_name_on_one_line_and_markup_as_it_is() -> None:
    sink = io.BytesIO()
    writer = TextWriter(sink)
    for record in RECORDS:
        writer.write(record)
    assert sink.getvalue().decode().splitlines() == [
        'a\\n"b",=.mp4',
        "   1  [red]run[/red]  0.7500",
        "   2  滑雪, Ski       0.2500",
        "      tiny, dense: 1 clip, 640x360 opencv",
        "c\\xff.mp4",
        "      failed: no such file: 'c.mp4'",
    ]


def test_where_nothing_can_be_written_is_an_error(tmp_path: Path) -> None:
    for out in (tmp_path, tmp_path / "no" / "out.json"):
        with pytest.raises(OutputError, match=out.name), whole_file(out):
            pass


def test_formats() -> None:
    assert pick_format(None, None) == "table"
    assert pick_format(None, Path("x.NDJSON")) == "jsonl"
    assert pick_format("json", Path("x.jsonl")) == "json"
    assert [pick_format(None, Path(f"x.{name}")) for name in ("csv", "parquet")] == ["csv", "parquet"]
    assert set(FORMATS) == {"table", "json", "jsonl", "csv", "parquet"}
    for asked, out in (("xml", None), (None, Path("x.doc")), (None, Path("x"))):
        with pytest.raises(OptionError):
            pick_format(asked, out)


def test_archives_of_one_job_are_equal_whenever_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    from videomae_cli.results import Embedding, VectorPlace
    from videomae_cli.writers import VectorLayout, make_vector_writer

    layout = VectorLayout(4, "float32", {"model": "tiny"}, None)
    record = Embedding("a.mp4", "tiny", vectors=np.ones((1, 4), np.float32), places=(VectorPlace(0.0, 1.0),)).as_dict()
    contents = []
    for year in (2001, 2031):
        date = time.struct_time((year, 5, 6, 7, 8, 10, 0, 126, 0))
        monkeypatch.setattr(time, "localtime", lambda *_, date=date: date)
        with (tmp_path / "out.npz").open("wb") as sink:
            writer = make_vector_writer("npz", sink, layout, rows=1)
            writer.write(record)
            writer.finish()
        contents.append((tmp_path / "out.npz").read_bytes())
    assert contents[0] == contents[1]


def test_a_row_makes_the_record_it_was_made_from_with_its_keys_in_their_order() -> None:
    record = Classification("a.mp4", "m", predictions=(Prediction("walking", 0, 0.5),)).as_dict()
    assert list(to_record(to_row(record))) == list(record)


def narrow(tmp_path: Path, *records: dict[str, object]) -> Path:
    file = tmp_path / "narrow.csv"
    with file.open("wb") as sink:
        writer = make_writer("csv", sink)
        for record in records:
            writer.write(record)
        writer.finish()
    return file


def test_csv_for_people_has_path_label_score_and_the_reason(tmp_path: Path) -> None:
    file = narrow(tmp_path, *reversed(RECORDS))  # the failure first
    with file.open(encoding="utf-8", newline="") as stream:
        assert list(csv.reader(stream)) == [
            ["path", "label", "score", "error"],
            ["c\ufffd.mp4", "", "", "not_found: no such file: 'c.mp4'"],
            ['a\n"b",=.mp4', "[red]run[/red]", "0.75", ""],
        ]
    with pytest.raises(OutputError, match="holds only path, label, score, error"):
        list(read_records(file))
    failed, good = read_records(file, narrow=True)
    assert failed["error"] == {"kind": "not_found", "message": "no such file: 'c.mp4'"}
    assert good["predictions"] == [{"label": "[red]run[/red]", "score": 0.75}]
    assert narrow(tmp_path, RECORDS[1]).read_bytes().startswith(b"path,label,score,error\r\n")


@pytest.mark.parametrize("names", [("speed",), ("x", "=y", "path", "score", "start")])
def test_csv_for_people_has_a_column_for_each_output_of_a_regression_model(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    values = {name: place - 0.5 for place, name in enumerate(names)}
    record = Classification("a.mp4", "m", values=values).as_dict(Stamp(0, "f", "0"))
    file = narrow(tmp_path, RECORDS[1], record)
    with file.open(encoding="utf-8", newline="") as stream:
        header, failed, row = csv.reader(stream)
    assert len(set(header)) == len(header) == len(names) + 2
    assert [*failed[1:-1], *row] == ["" for _ in names] + ["a.mp4", *map(str, values.values()), ""]
    before = file.read_bytes()
    assert narrow(tmp_path, *list(read_records(file, narrow=True))).read_bytes() == before


@pytest.mark.parametrize("row", ["a.mp4,x,0.5", "a.mp4,x,0.5,broken", "a.mp4,x,high,"])
def test_a_damaged_csv_for_people_is_refused(row: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"path,label,score,error\n{row}\n")
    with pytest.raises(OutputError, match=r"can't read .*a\.csv"):
        list(read_records(tmp_path / "a.csv", narrow=True))
