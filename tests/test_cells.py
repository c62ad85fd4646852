"""Cells of CSV are texts to a spreadsheet, and read back as they were."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from videomae_cli.datasets.rows import Wanted, read_rows
from videomae_cli.writers import make_writer
from videomae_cli.writers.cells import csv_row, read_cell
from videomae_cli.writers.reading import read_records

FORMULAS = [
    "=1+1",
    "+1",
    "-dash.mp4",
    "@SUM(A1)",
    "\tx",
    "\rx",
    "\nx",
    "  =1",
    "＝1",
    "'=1",
    "''-1",
    "=cmd|' /C calc'!A0",
]
TEXTS = ["a=b", "'tis", "''", "", "pan left", "滑雪", 'say "x", y', "'a-b", "1-2"]


def cell_of(value: object) -> str:
    return next(csv.reader(io.StringIO(csv_row([value, "end"]), newline="")))[0]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_becomes_text_and_comes_back(text: str) -> None:
    assert cell_of(text) == "'" + text
    assert read_cell(cell_of(text)) == text


@pytest.mark.parametrize("text", TEXTS)
def test_other_texts_are_left_alone(text: str) -> None:
    assert cell_of(text) == text
    assert read_cell(text) == text


def test_numbers_stay_numbers() -> None:
    assert [cell_of(value) for value in (-1.5, -3, 2, None)] == ["-1.5", "-3", "2", ""]


def test_on_a_terminal_a_cell_is_harmless() -> None:
    assert cell_of("a") == "a"
    assert csv_row(["\x1b[2J\n"], for_people=True) == "\\x1b[2J\\n\r\n"


@pytest.mark.parametrize("text", [*FORMULAS, *filter(None, TEXTS), "\x1b[2J\u202e\n"])
def test_our_readers_read_exactly(text: str, tmp_path: Path) -> None:
    scored = {"label": text, "label_id": 0, "score": -0.5}
    record = {
        **dict.fromkeys(("schema_version", "index", "width", "height", "crops", "num_frames"), 1),
        **dict.fromkeys(("fps", "duration"), -1.5),
        **dict.fromkeys(
            ("status", "model", "revision", "fingerprint", "version", "shard", "sampling", "decoder"), text
        ),
        **{"path": text, "error": None, "predictions": [scored], "frames": [], "timestamps": [], "warnings": [text]},
    }
    file = tmp_path / "out.csv"
    with file.open("wb") as sink:
        writer = make_writer("csv", sink)
        writer.write(record)
        writer.finish()
    read = next(read_records(file))
    assert {name: read[name] for name in record} == record
    assert next(read_rows(file, Wanted()))[1]["label"] == text
    with file.open(newline="", encoding="utf-8") as stream:
        assert float(next(csv.DictReader(stream))["score"]) == -0.5
