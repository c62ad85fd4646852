"""Cells of CSV are texts to a spreadsheet, and read back as they were."""

from __future__ import annotations

import csv
import io
import json
import random
import re
from pathlib import Path

import pytest

from videomae_cli.datasets.rows import WantedColumns, read_rows
from videomae_cli.writers import make_writer
from videomae_cli.writers.cells import csv_row, json_cell, read_cell
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
BEHIND = [("a;=1", "a;'=1"), ("a;'+1", "a;''+1"), ("a\t@x", "a\t'@x"), ("a\r\n-1", "a\r\n'-1"), ("\t=1", "'\t'=1")]
TEXTS = [
    "a=b",
    "'tis",
    "''",
    "",
    "pan left",
    "滑雪",
    'say "x", y',
    "'a-b",
    "1-2",
    "a;b",
    "a;b=c",
    "a\n\nb",
    "\ufeffa",
    "a;'b",
]


def cell_of(value: object) -> str:
    return next(csv.reader(io.StringIO(csv_row([value, "end"]), newline="")))[0]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_becomes_text_and_comes_back(text: str) -> None:
    assert cell_of(text) == "'" + text
    assert read_cell(cell_of(text)) == text


@pytest.mark.parametrize(("text", "cell"), BEHIND)
def test_a_separator_begins_no_formula(text: str, cell: str) -> None:
    assert cell_of(text) == cell
    assert read_cell(cell) == text


def test_any_text_comes_back_also_by_the_documented_step() -> None:
    docs = (Path(__file__).parents[1] / "docs" / "outputs.md").read_text(encoding="utf-8")
    (step,) = re.findall(r"```python\n(import re\n.*?MARKED.*?)```", docs, re.DOTALL)
    compiled, rng = compile(step, "outputs.md", "exec"), random.Random(5)
    for _ in range(3000):
        text = "".join(rng.choice("'=;\t\n\r +a-,\"@\u3000＝") for _ in range(rng.randrange(9)))
        names = {"cell": cell_of(text)}
        exec(compiled, names)
        assert read_cell(cell_of(text)) == names["exact"] == text
        parts = re.split(r"[;\t\r\n]", cell_of(text))
        assert not any(re.match(r"\s*[=+\-@＝]", part) for part in parts), "no part is a formula"


def test_json_in_a_cell_is_exact_without_a_step() -> None:
    value = [{"label": "a;=1\t;+2"}]
    assert json.loads(cell_of(json_cell(value))) == value
    assert ";" not in cell_of(json_cell(value))


@pytest.mark.parametrize("text", TEXTS)
def test_other_texts_are_left_alone(text: str) -> None:
    assert cell_of(text) == text
    assert read_cell(text) == text


def test_numbers_stay_numbers() -> None:
    assert [cell_of(value) for value in (-1.5, -3, 2, None)] == ["-1.5", "-3", "2", ""]


def test_on_a_terminal_a_cell_is_harmless() -> None:
    assert cell_of("a") == "a"
    assert csv_row(["\x1b[2J\n"], for_people=True) == "\\x1b[2J\\n\r\n"


@pytest.mark.parametrize("text", [*FORMULAS, *(text for text, _ in BEHIND), *filter(None, TEXTS), "\x1b[2J\u202e\n"])
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
    for format, columns in (("csv-wide", record), ("csv", ("path", "error"))):
        with file.open("wb") as sink:
            writer = make_writer(format, sink)
            writer.write(record)
            writer.finish()
        read = next(read_records(file, narrow=True))
        assert {name: read[name] for name in columns} == {name: record[name] for name in columns}
        assert (read["predictions"][0]["label"], read["predictions"][0]["score"]) == (text, -0.5)
        assert next(read_rows(file, WantedColumns()))[1]["label"] == text
        with file.open(newline="", encoding="utf-8") as stream:
            assert float(next(csv.DictReader(stream))["score"]) == -0.5
