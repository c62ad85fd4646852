"""Columns of numbers to predict: read from every kind of table, refused where they are none, split and checked."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from videomae_cli.datasets import check_dataset, read_dataset, split_dataset, table_columns
from videomae_cli.errors import DatasetError, OptionError

ROWS = [{"path": f"{n}.mp4", "label": "x", "speed": n / 4, "height": 10 - n} for n in range(10)]


def tables(folder: Path) -> list[str]:
    lines = ["path,label,speed,height", *(",".join(map(str, row.values())) for row in ROWS)]
    (folder / "t.csv").write_text("\n".join(lines))
    (folder / "t.tsv").write_text("\n".join(lines).replace(",", "\t"))
    (folder / "t.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    pq.write_table(pa.Table.from_pylist(ROWS), folder / "t.parquet")
    return [str(folder / f"t.{kind}") for kind in ("csv", "tsv", "jsonl", "parquet")]


def test_every_kind_of_table_has_the_same_values(tmp_path: Path) -> None:
    for source in tables(tmp_path):
        data = read_dataset(source, targets=["height", " Speed"])
        assert [example.values for example in data.examples] == [(10 - n, n / 4) for n in range(10)]
        assert (data.outputs, data.classes, data.problem_type) == (("height", " Speed"), (), "regression")
        assert data.targets(data.examples[:2]).tolist() == [[10.0, 0.0], [9.0, 0.25]]
        assert {"path", "label", "speed", "height"} <= set(table_columns(source))
        assert read_dataset(source).outputs == (), "numbers are no values unless asked for"


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["1", ""], "row 3, column v: there is no value"),
        (["1", "fast"], "row 3, column v: 'fast' is not a number"),
        (["1", "nan"], "row 3, column v: 'nan' is not a number"),
        (["1", "inf"], "row 3, column v: inf is no value to predict"),
        (["1", "-1e31"], "row 3, column v: -1e31 is no value to predict"),
        (["1", "1_0"], "row 3, column v: '1_0' is not a number"),
        (["1", '"1,5"'], "row 3, column v: '1,5' is not a number"),
        (["1", "true"], "row 3, column v: 'true' is not a number"),
    ],
)
def test_what_is_no_value_is_named(cells: list[str], message: str, tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("path,v\n" + "".join(f"{n}.mp4,{cell}\n" for n, cell in enumerate(cells)))
    with pytest.raises(DatasetError) as caught:
        read_dataset(str(file), targets=["v"])
    assert message in str(caught.value)


@pytest.mark.parametrize("value", [None, float("nan"), True, [1.0], "x", float("inf"), 10**400])
def test_cells_of_other_types_are_refused(value: object, tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(json.dumps({"path": "a.mp4", "v": value}))
    with pytest.raises(DatasetError, match="column v: "):
        read_dataset(str(tmp_path / "t.jsonl"), targets=["v"])


def test_columns_that_are_not_there_or_make_no_sense(tmp_path: Path) -> None:
    source, *_ = tables(tmp_path)
    with pytest.raises(DatasetError, match="it has no column weight "):
        read_dataset(source, targets=["weight"])
    with pytest.raises(OptionError, match="'speed' is given twice"):
        read_dataset(source, targets=["speed", "speed"])
    with pytest.raises(OptionError, match="can't be the name"):
        read_dataset(source, targets=[" "])
    with pytest.raises(OptionError, match="names of labels are for classes"):
        read_dataset(source, targets=["speed"], labels=tmp_path / "names.txt")
    with pytest.raises(DatasetError, match="needs a table"):
        read_dataset(str(tmp_path), targets=["speed"])
    (tmp_path / "bare.csv").write_text("a.mp4,1\nb.mp4,2\n")
    with pytest.raises(DatasetError, match="it has no header"):
        read_dataset(str(tmp_path / "bare.csv"), targets=["speed"])
    assert table_columns(str(tmp_path / "bare.csv")) == ()
    (tmp_path / "twice.csv").write_text("path,v\na.mp4,1\na.mp4,2\n")
    with pytest.raises(DatasetError, match="an earlier row gives this clip the value 1, this one 2"):
        read_dataset(str(tmp_path / "twice.csv"), targets=["v"])


def test_a_split_keeps_sources_and_values_together(tmp_path: Path) -> None:
    data = read_dataset(tables(tmp_path)[0], targets=["speed"])
    train, val, rule = split_dataset(data, fraction=0.2)
    assert (len(train), len(val)) == (8, 2)
    assert rule == "20% held out by seed 0"
    report = check_dataset(data, train, val, rule, decoder=None)
    speeds = sorted(example.values[0] for example in report.train)
    assert report.lines()[0].startswith(f"8 train clips, 2 held out, values of speed ({speeds[0]:g} to {speeds[-1]:g})")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([3.0, 3.0], "all 2 training clips have the value 3 in 'v': nothing can be learnt"),
        ([3.0], "the only training clip has the value 3 in 'v': nothing can be learnt"),
        ([1e9, 1e9 + 1], "differ by less than"),
    ],
)
def test_values_that_do_not_vary_cannot_be_learnt(values: list[float], message: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,v\n" + "".join(f"{n}.mp4,{value}\n" for n, value in enumerate(values)))
    data = read_dataset(str(tmp_path / "t.csv"), targets=["v"])
    with pytest.raises(DatasetError, match=message):
        check_dataset(data, data.examples, [], "", decoder=None)
