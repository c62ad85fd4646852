"""Folders and tables of all kinds -> the same examples."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from videomae_cli.datasets import Dataset, Example, read_dataset
from videomae_cli.datasets.examples import make_dataset, natural
from videomae_cli.errors import DatasetError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def table(folder: Path, content: str | bytes, name: str = "data.csv") -> str:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def seen(dataset: Dataset) -> list[tuple[str, tuple[str, ...], str | None]]:
    """(file name, labels, split) of every example."""
    return [(Path(e.path).name, e.labels, e.split) for e in dataset.examples]


def plain(dataset: Dataset) -> list[tuple[str, str]]:
    """(file name, label) of data with one label each."""
    return [(Path(e.path).name, e.labels[0]) for e in dataset.examples]


# --- folders ----------------------------------------------------------------------------------


def test_each_folder_is_a_class(tmp_path: Path) -> None:
    touch(tmp_path, "run/b.mp4", "run/a.mp4", "jump/deep/c.mkv", "jump/notes.txt", "jump/.hidden.mp4", "loose.mp4")
    dataset = read_dataset(str(tmp_path))
    assert seen(dataset) == [("c.mkv", ("jump",), None), ("a.mp4", ("run",), None), ("b.mp4", ("run",), None)]
    assert dataset.classes == ("jump", "run")
    assert not dataset.multi_label
    assert all(Path(e.path).is_file() for e in dataset.examples)


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        (("train", "val", "test"), {"train", "val", "test"}),
        (("Training", "Validation", "TESTING"), {"train", "val", "test"}),
        (("train", "valid"), {"train", "val"}),
        (("train",), {"train"}),
    ],
)
def test_folders_called_like_splits_are_splits(tmp_path: Path, folders: tuple[str, ...], splits: set[str]) -> None:
    for folder in folders:
        touch(tmp_path, f"{folder}/run/{folder}-1.mp4", f"{folder}/jump/{folder}-2.mp4")
    dataset = read_dataset(str(tmp_path))
    assert dataset.classes == ("jump", "run")
    assert {e.split for e in dataset.examples} == splits
    for split in splits:
        assert [e.labels[0] for e in dataset.of(split)] == ["jump", "run"]
        assert all(Path(e.path).name.lower().startswith(split) for e in dataset.of(split))


def test_a_class_may_be_called_test(tmp_path: Path) -> None:
    touch(tmp_path, "test/a.mp4", "match/b.mp4")
    dataset = read_dataset(str(tmp_path))
    assert seen(dataset) == [("b.mp4", ("match",), None), ("a.mp4", ("test",), None)]


def test_hidden_folders_are_no_classes(tmp_path: Path) -> None:
    touch(tmp_path, ".git/a.mp4", "run/b.mp4", "jump/c.mp4")
    assert read_dataset(str(tmp_path)).classes == ("jump", "run")


def test_a_folder_without_class_folders_says_what_is_wanted(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.mp4")
    with pytest.raises(DatasetError, match=r"no class folders.*DATA/archery"):
        read_dataset(str(tmp_path))
    touch(tmp_path / "parts", "train/a.mp4", "val/run/b.mp4")
    with pytest.raises(DatasetError, match="train' holds no class folders"):
        read_dataset(str(tmp_path / "parts"))


def test_class_folders_without_videos_hold_no_videos(tmp_path: Path) -> None:
    touch(tmp_path, "run/a.txt", "jump/b.txt")
    with pytest.raises(DatasetError, match="holds no videos"):
        read_dataset(str(tmp_path))


def test_what_is_not_there_or_no_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no such folder or table: .*nowhere.*a table of path and label"):
        read_dataset(str(tmp_path / "nowhere"))
    with pytest.raises(DatasetError, match=r"no such folder or table: .*nowhere\.csv"):
        read_dataset(str(tmp_path / "nowhere.csv"))
    with pytest.raises(DatasetError, match=r"is no table \(.*\.csv"):
        read_dataset(table(tmp_path, "", "data.xlsx"))


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
@pytest.mark.parametrize("name", [b"odd\xff", b"new\nline", b"comma,quote\"'", "\u00fcber \U0001f3a5".encode()])
def test_names_of_odd_bytes_are_kept(tmp_path: Path, name: bytes) -> None:
    root = os.fsencode(tmp_path)
    for folder in (name, b"other"):
        os.mkdir(root + b"/" + folder)  # noqa: PTH102 - Path takes no bytes
        with open(root + b"/" + folder + b"/" + name + b".mp4", "wb"):  # noqa: PTH123
            pass
    dataset = read_dataset(str(tmp_path))
    assert set(dataset.classes) == {os.fsdecode(name), "other"}
    assert {os.fsencode(e.path) for e in dataset.examples} == {
        root + b"/" + folder + b"/" + name + b".mp4" for folder in (name, b"other")
    }


# --- without labels ---------------------------------------------------------------------------


def test_without_labels_any_folder_list_or_pattern_does(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "deep/b.mp4", "deep/c.txt")
    whole = [("a.mp4", (), None), ("b.mp4", (), None)]
    assert seen(read_dataset(str(tmp_path), labels_required=False)) == whole
    assert seen(read_dataset(str(tmp_path / "*"), labels_required=False)) == whole
    listed = tmp_path / "names.list"
    listed.write_text(f"{tmp_path}/deep/b.mp4\n")
    only = read_dataset(f"@{listed}", labels_required=False)
    assert seen(only) == [("b.mp4", (), None)]
    assert only.classes == ()


@pytest.mark.parametrize("spelling", ["{}", "{}/", "./{}", "."])
def test_without_labels_folders_called_like_splits_are_splits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelling: str
) -> None:
    touch(tmp_path / "data", "train/a.mp4", "train/deep/b.mp4", "val/c.mp4", "test/d.mp4")
    monkeypatch.chdir(tmp_path / "data" if spelling == "." else tmp_path)
    dataset = read_dataset(spelling.format("data"), labels_required=False)
    splits = {Path(e.path).name: e.split for e in dataset.examples}
    assert splits == {"a.mp4": "train", "b.mp4": "train", "c.mp4": "val", "d.mp4": "test"}


def test_a_table_without_labels_needs_none(tmp_path: Path) -> None:
    source = table(tmp_path, "path,split\na.mp4,train\nb.mp4,val\n")
    assert seen(read_dataset(source, labels_required=False)) == [("a.mp4", (), "train"), ("b.mp4", (), "val")]
    with pytest.raises(DatasetError, match="row 2: there is no label"):
        read_dataset(source)


def test_without_labels_a_wrong_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no such file: .*nowhere"):
        read_dataset(str(tmp_path / "nowhere"), labels_required=False)


# --- tables with a header ---------------------------------------------------------------------


@pytest.mark.parametrize("path", ["path", "video_path", "video", "file", "filename", "filepath", " Path ", "FILE"])
@pytest.mark.parametrize("label", ["label", "labels", "class", "category", "target", "Label"])
def test_columns_have_several_names(tmp_path: Path, path: str, label: str) -> None:
    source = table(tmp_path, f"id,{label},{path}\n1,run,a.mp4\n2,jump,b.mp4\n")
    assert plain(read_dataset(source)) == [("a.mp4", "run"), ("b.mp4", "jump")]


def test_the_same_rows_come_from_all_kinds_of_table(tmp_path: Path) -> None:
    rows = [
        {"path": "a.mp4", "label": "run", "split": "train", "group": "g1", "start": 1.5, "end": 2.0},
        {"path": "b.mp4", "label": "jump", "split": "val", "group": "g2", "start": 0.0, "end": 9.25},
    ]
    names = list(rows[0])

    def lines(mark: str) -> str:
        return "\n".join([mark.join(names), *(mark.join(map(str, row.values())) for row in rows)]) + "\n"

    jsonl = "\n".join(map(json.dumps, rows))
    sources = [
        table(tmp_path, lines(","), "data.csv"),
        table(tmp_path, lines(",").upper().replace(".MP4", ".mp4"), "data.CSV"),
        table(tmp_path, lines("\t"), "data.tsv"),
        table(tmp_path, lines(","), "data.txt"),
        table(tmp_path, jsonl, "data.jsonl"),
        table(tmp_path, "\n" + jsonl + "\n\n", "data.ndjson"),
        str(tmp_path / "data.parquet"),
    ]
    pq.write_table(pa.Table.from_pylist(rows), sources[-1])
    expected = (
        Example(str(tmp_path / "a.mp4"), ("run",), "train", "g1", 1.5, 2.0),
        Example(str(tmp_path / "b.mp4"), ("jump",), "val", "g2", 0.0, 9.25),
    )
    del sources[1]  # all in capitals: other labels, read below
    for source in sources:
        assert read_dataset(source).examples == expected, source
    shouted = read_dataset(str(tmp_path / "data.CSV"))
    assert [e.split for e in shouted.examples] == ["train", "val"]


@pytest.mark.parametrize(
    ("word", "split"),
    [
        ("train", "train"),
        ("Training", "train"),
        ("VAL", "val"),
        ("validation", "val"),
        ("valid", "val"),
        ("dev", "val"),
        ("validate", "val"),
        (" test ", "test"),
        ("testing", "test"),
        ("", None),
    ],
)
def test_splits_have_several_names(tmp_path: Path, word: str, split: str | None) -> None:
    assert read_dataset(table(tmp_path, f"path,label,subset\na.mp4,x,{word}\n")).examples[0].split == split


def test_an_unknown_split_is_named_with_its_row(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"data\.csv, row 3: unknown split 'holdout': write train, val, test"):
        read_dataset(table(tmp_path, "path,label,split\na.mp4,x,train\nb.mp4,x,holdout\n"))


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("quoted", [False, True])
def test_tables_of_other_programs_are_read(tmp_path: Path, newline: str, mark: str, quoted: bool) -> None:
    header = '"path","label"' if quoted else "path,label"
    text = mark + newline.join([header, '"one, two.mp4","a ""b"""', "", "drei\u00df.mp4,c", ""])
    assert plain(read_dataset(table(tmp_path, text))) == [("one, two.mp4", 'a "b"'), ("drei\u00df.mp4", "c")]


def test_relative_paths_begin_at_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    table(tmp_path / "sub", "path,label\nfilms/a.mp4,x\n/else/where.mp4,y\n../b.mp4,z\n")
    paths = [e.path for e in read_dataset("sub/data.csv").examples]
    assert paths == ["sub/films/a.mp4", "/else/where.mp4", "sub/../b.mp4"]


def test_what_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    for name in ("data.csv", "data.tsv", "data.txt", "data.jsonl"):
        for content in ('{"path":"\u00fc.mp4","label":"x"}'.encode("latin-1"), "path,label\na,b\n".encode("utf-16")):
            with pytest.raises(DatasetError, match="is not UTF-8 text"):
                read_dataset(table(tmp_path, content, name))


@pytest.mark.parametrize("name", ["data.csv", "data.tsv", "data.txt", "data.jsonl"])
@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff"])
def test_an_empty_table_has_no_rows(tmp_path: Path, name: str, content: str) -> None:
    with pytest.raises(DatasetError, match="has no rows"):
        read_dataset(table(tmp_path, content, name))


def test_a_header_alone_has_no_rows(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="has no rows"):
        read_dataset(table(tmp_path, "path,label\n,\n"))
    pq.write_table(
        pa.table({"path": pa.array([], pa.string()), "label": pa.array([], pa.string())}), tmp_path / "e.parquet"
    )
    with pytest.raises(DatasetError, match="has no rows"):
        read_dataset(str(tmp_path / "e.parquet"))


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("data.csv", "path,label\na.mp4,x\n,y\n", r"row 3: there is no path"),
        ("data.csv", "path,label\na.mp4,x\nb.mp4,\n", r"row 3: there is no label"),
        ("data.csv", "path,label\na.mp4,x\nb.mp4\n", r"row 3: there is no label"),
        ("data.csv", "path,label\na.mp4,|;\n", r"row 2: there is no label"),
        ("data.csv", "a.mp4 0\nb.mp4\n", r"row 2: there is no label"),
        ("data.txt", "a.mp4 0\n\nb.mp4\n", r"row 3: there is no label"),
        ("data.tsv", "path\tlabel\n\tx\n", r"row 2: there is no path"),
        ("data.jsonl", '{"path":"a.mp4","label":"x"}\n{"path":null,"label":"x"}\n', r"row 2: there is no path"),
        ("data.jsonl", '{"path":7,"label":"x"}\n', r"row 1: there is no path"),
        ("data.jsonl", '{"path":"a.mp4","label":"x"}\n{"path":"b.mp4"}\n', r"row 2: there is no label"),
        ("data.jsonl", '{"path":"a.mp4","label":"x"}\n["b.mp4"]\n', r"line 2 holds no object"),
        ("data.jsonl", '{"name":"a.mp4","label":"x"}\n', r"no column path \(its columns: name, label\)"),
        ("data.csv", "path,label,start\na.mp4,x,soon\n", r"row 2: 'soon' is no time in seconds"),
        ("data.csv", "path,label,start\na.mp4,x,-1\n", r"row 2: '-1' is no time in seconds"),
        ("data.csv", "path,label,end\na.mp4,x,nan\n", r"row 2: 'nan' is no time in seconds"),
        ("data.csv", "path,label,start,end\na.mp4,x,3,3\n", r"row 2: its end \(3 s\) is not after its start \(3 s\)"),
        ("data.csv", "path,label,end\na.mp4,x,0\n", r"row 2: its end \(0 s\) is not after its start \(0 s\)"),
        ("data.parquet", "no parquet at all", r"can't read .*data\.parquet"),
        ("data.jsonl", "{", r"can't read .*data\.jsonl"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, name: str, content: str, problem: str) -> None:
    with pytest.raises(DatasetError, match=problem) as raised:
        read_dataset(table(tmp_path, content, name))
    assert name in str(raised.value)


def test_a_line_that_is_no_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="line 3"):
        read_dataset(table(tmp_path, '{"path":"a.mp4","label":"x"}\n' * 2 + "{oops}\n", "data.jsonl"))


def test_an_object_without_a_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"(row|line) 2"):
        read_dataset(table(tmp_path, '{"path":"a.mp4","label":"x"}\n{"label":"x"}\n', "data.jsonl"))


def test_a_parquet_table_without_a_path_names_its_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"clip": ["a.mp4"], "label": ["x"]}), tmp_path / "data.parquet")
    with pytest.raises(DatasetError, match=r"no column path .*label"):
        read_dataset(str(tmp_path / "data.parquet"))


# --- start and end ----------------------------------------------------------------------------


def test_parts_of_a_file_are_clips_of_one_group(tmp_path: Path) -> None:
    source = table(
        tmp_path, "video,class,start_time,end_time\nmatch.mp4,goal,1.5,4\nmatch.mp4,foul,4,\nmatch.mp4,goal,,1.5\n"
    )
    dataset = read_dataset(source)
    assert [(e.labels[0], e.start, e.end) for e in dataset.examples] == [
        ("goal", 1.5, 4.0),
        ("foul", 4.0, None),
        ("goal", None, 1.5),
    ]
    assert len({e.group for e in dataset.examples}) == 1
    assert not dataset.multi_label


# --- several labels ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data.csv", "path,labels\na.mp4,run|jump\nb.mp4,run\n"),
        ("data.csv", "path,labels\na.mp4,run; jump ;run;\nb.mp4,run\n"),
        ("data.csv", "path,label\na.mp4,run\nb.mp4,run\na.mp4,jump\na.mp4,jump\n"),
        ("data.tsv", "path\tlabel\na.mp4\trun|jump\nb.mp4\trun\n"),
        ("data.jsonl", '{"path":"a.mp4","labels":["run","jump"]}\n{"path":"b.mp4","labels":["run"]}'),
        ("data.txt", "a.mp4 run\na.mp4 jump\nb.mp4 run\n"),
    ],
)
def test_a_clip_may_have_several_labels(tmp_path: Path, name: str, content: str) -> None:
    dataset = read_dataset(table(tmp_path, content, name))
    assert seen(dataset) == [("a.mp4", ("run", "jump"), None), ("b.mp4", ("run",), None)]
    assert dataset.multi_label
    assert dataset.classes == ("jump", "run")


def test_a_parquet_table_holds_lists_of_labels(tmp_path: Path) -> None:
    rows = pa.table({"path": ["a.mp4", "b.mp4", "c.mp4"], "labels": [["run", "jump"], ["run"], []]})
    pq.write_table(rows, tmp_path / "data.parquet")
    dataset = read_dataset(str(tmp_path / "data.parquet"))
    assert [e.labels for e in dataset.examples] == [("run", "jump"), ("run",), ()]
    assert dataset.multi_label


def test_parts_of_a_file_are_not_joined(tmp_path: Path) -> None:
    dataset = read_dataset(table(tmp_path, "path,label,start\na.mp4,run,0\na.mp4,jump,5\na.mp4,spin,5\n"))
    assert [e.labels for e in dataset.examples] == [("run",), ("jump", "spin")]


def test_several_labels_can_be_asked_for_or_refused(tmp_path: Path) -> None:
    one = table(tmp_path, "path,label\na.mp4,run\nb.mp4,jump\n", "one.csv")
    several = table(tmp_path, "path,label\na.mp4,run|jump\nb.mp4,jump\n", "several.csv")
    assert not read_dataset(one).multi_label
    assert read_dataset(one, multi_label=True).multi_label
    assert not read_dataset(one, multi_label=False).multi_label
    with pytest.raises(DatasetError, match=r"a\.mp4' has 2 labels, where each clip must have one"):
        read_dataset(several, multi_label=False)


# --- lists without a header -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["list.csv", "list.txt", "list.tsv"])
@pytest.mark.parametrize("mark", [" ", ",", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_lists_of_path_and_number_are_read(tmp_path: Path, name: str, mark: str, newline: str) -> None:
    names = tmp_path / "names.txt"
    names.write_text("run\njump\nspin\n")
    text = newline.join([f"films/a.mp4{mark}2", f"films/b.mp4{mark}0", f"films/c.mp4{mark}10", ""])
    source = table(tmp_path, text, name)
    assert plain(read_dataset(source)) == [("a.mp4", "2"), ("b.mp4", "0"), ("c.mp4", "10")]
    assert read_dataset(source).classes == ("0", "2", "10")
    with pytest.raises(DatasetError, match=r"row 3: the label '10' is not among the 3 names"):
        read_dataset(source, labels=names)
    source = table(tmp_path, text.replace("10", "1"), name)
    assert plain(read_dataset(source, labels=names)) == [("a.mp4", "spin"), ("b.mp4", "run"), ("c.mp4", "jump")]


@pytest.mark.parametrize(
    ("name", "mark"), [("list.csv", ","), ("list.csv", " "), ("list.txt", " "), ("list.tsv", "\t")]
)
def test_paths_in_lists_may_hold_spaces(tmp_path: Path, name: str, mark: str) -> None:
    source = table(tmp_path, f"my films/a b.mp4{mark}3\n", name)
    assert [(e.path, e.labels) for e in read_dataset(source).examples] == [(f"{tmp_path}/my films/a b.mp4", ("3",))]


def test_quotes_in_lists_are_no_part_of_the_path(tmp_path: Path) -> None:
    source = table(tmp_path, '"one, two.mp4",0\n"three.mp4","1"\n')
    assert plain(read_dataset(source)) == [("one, two.mp4", "0"), ("three.mp4", "1")]


def test_names_of_labels_go_for_all_tables(tmp_path: Path) -> None:
    names = tmp_path / "names.json"
    names.write_text('{"0": "run", "1": "jump"}')
    source = table(tmp_path, "path,label\na.mp4,1\nb.mp4,run\nc.mp4,0|1\n")
    assert [e.labels for e in read_dataset(source, labels=names).examples] == [("jump",), ("run",), ("run", "jump")]
    source = table(tmp_path, '{"path":"a.mp4","label":1}\n{"path":"b.mp4","label":[0]}\n', "data.jsonl")
    assert plain(read_dataset(source, labels=names)) == [("a.mp4", "jump"), ("b.mp4", "run")]


@pytest.mark.parametrize("label", ["2", "-1", "walk", "1.0", "\u00b2"])
def test_a_label_that_has_no_name_is_refused(tmp_path: Path, label: str) -> None:
    names = tmp_path / "names.txt"
    names.write_text("run\njump\n")
    with pytest.raises(DatasetError, match=r"row 2: the label .* is not among the 2 names given"):
        read_dataset(table(tmp_path, f"path,label\na.mp4,{label}\n"), labels=names)


def test_names_that_can_not_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere"):
        read_dataset(table(tmp_path, "a.mp4 0\n"), labels=tmp_path / "nowhere.txt")


# --- classes and targets ----------------------------------------------------------------------


def test_classes_come_in_natural_order() -> None:
    labels = ["class 10", "class 2", "class", "Zoo", "11", "2", "a\u00b2", "0"]
    dataset = make_dataset(Example(f"{label}.mp4", (label,), None, "") for label in labels)
    assert dataset.classes == ("0", "2", "11", "Zoo", "a\u00b2", "class", "class 2", "class 10")


def test_classes_that_count_the_same_have_a_fixed_order() -> None:
    labels = [zeros + str(number) for number in range(1, 30) for zeros in ("", "0", "00")]
    dataset = make_dataset(Example(f"{label}.mp4", (label,), None, "") for label in labels)
    assert dataset.classes == tuple(sorted(labels, key=lambda label: (natural(label), label)))


def test_targets_of_one_label_are_numbers() -> None:
    examples = [Example(f"{n}.mp4", (label,), None, "") for n, label in enumerate(["b", "a", "c", "a"])]
    targets = make_dataset(examples).targets(examples[1:])
    assert targets.dtype == np.int64
    assert targets.tolist() == [0, 2, 0]


def test_targets_of_several_labels_are_rows() -> None:
    examples = [
        Example("0.mp4", ("b", "c"), None, ""),
        Example("1.mp4", (), None, ""),
        Example("2.mp4", ("a",), None, ""),
    ]
    targets = make_dataset(examples).targets(examples)
    assert targets.dtype == np.float32
    assert targets.tolist() == [[0, 1, 1], [0, 0, 0], [1, 0, 0]]
    assert make_dataset(examples).targets([]).shape == (0, 3)
