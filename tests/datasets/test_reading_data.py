"""DATA as people have it -> examples: folders and tables, and a line for what is wrong with them."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from videomae_cli.datasets import Dataset, Example, read_dataset
from videomae_cli.datasets.examples import make_dataset
from videomae_cli.errors import DatasetError, VideoMAEError


def lay(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def told(data: Dataset, root: Path) -> list[tuple[str, tuple[str, ...], str | None]]:
    return [(os.path.relpath(e.path, root), e.labels, e.split) for e in data.examples]


def table(root: Path, text: str | bytes, name: str = "data.csv") -> str:
    file = root / name
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(file)


def test_class_folders_are_searched_to_the_bottom(tmp_path: Path) -> None:
    lay(tmp_path, "Pole Vault/a.mp4", "Pole Vault/deep/er/b.MKV", "archery/c.mp4", "archery/notes.txt", ".git/x.mp4")
    data = read_dataset(str(tmp_path))
    assert told(data, tmp_path) == [
        ("Pole Vault/a.mp4", ("Pole Vault",), None),
        ("Pole Vault/deep/er/b.MKV", ("Pole Vault",), None),
        ("archery/c.mp4", ("archery",), None),
    ]
    assert data.classes == ("Pole Vault", "archery")
    assert not data.multi_label


@pytest.mark.parametrize("source", ["data", "data/", "./data", "../here/data", "data/../data"])
def test_parts_without_labels_are_splits_however_the_folder_is_spelled(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay(tmp_path / "here" / "data", "train/1.mp4", "val/deep/2.mp4")
    monkeypatch.chdir(tmp_path / "here")
    data = read_dataset(source, labels_required=False)
    assert [(Path(e.path).name, e.split) for e in data.examples] == [("1.mp4", "train"), ("2.mp4", "val")]


def test_one_file_without_labels_is_of_no_split(tmp_path: Path) -> None:
    lay(tmp_path, "train/1.mp4")
    (example,) = read_dataset(str(tmp_path / "train" / "1.mp4"), labels_required=False).examples
    assert (Path(example.path).name, example.split) == ("1.mp4", None)


def test_parts_are_splits_and_what_holds_no_videos_does_not_matter(tmp_path: Path) -> None:
    lay(tmp_path, "train/a/1.mp4", "validation/a/2.mp4", "Test/b/3.mp4", "train/b/4.mp4", "annotations/list.csv")
    data = read_dataset(str(tmp_path))
    assert sorted((e.split, e.labels[0]) for e in data.examples) == [
        ("test", "b"),
        ("train", "a"),
        ("train", "b"),
        ("val", "a"),
    ]
    assert [e.labels for e in data.of("test")] == [("b",)]
    assert data.classes == ("a", "b")


def test_train_may_be_a_class(tmp_path: Path) -> None:
    lay(tmp_path, "train/1.mp4", "car/2.mp4")
    assert read_dataset(str(tmp_path)).classes == ("car", "train")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.mp4"], "holds no class folders: DATA is a folder of class folders"),
        (["a/1.mp4", "b/notes.txt"], "the class folder .*b' holds no videos: fill it, or remove it"),
        (["a/notes.txt"], "no class folder in .* holds videos"),
        (["train/a/1.mp4", "val/a/1.mp4", "b/2.mp4"], "and videos in 'b' beside them"),
        (["train/1.mp4"], "train' holds no class folders"),
    ],
)
def test_folders_that_are_laid_out_otherwise(tmp_path: Path, names: list[str], message: str) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        read_dataset(str(lay(tmp_path, *names)))
    assert "\n" not in str(caught.value)


def test_videos_beside_the_class_folders_are_counted(tmp_path: Path) -> None:
    data = read_dataset(str(lay(tmp_path, "a/1.mp4", "b/1.mp4", "loose.mp4", "loose2.mp4")))
    assert len(data.examples) == 2
    assert data.notes == ("left out, since beside the class folders and so without a class: 2 of the videos",)


def test_without_labels_anything_goes(tmp_path: Path) -> None:
    lay(tmp_path, "1.mp4", "sub/2.mp4", "my clip 3.mp4")
    assert len(read_dataset(str(tmp_path), labels_required=False).examples) == 3
    assert len(read_dataset(f"{tmp_path}/*.mp4", labels_required=False).examples) == 2
    listed = read_dataset(table(tmp_path, "1.mp4\nmy clip 3.mp4\n", "list.txt"), labels_required=False)
    assert [Path(e.path).name for e in listed.examples] == ["1.mp4", "my clip 3.mp4"]
    assert {e.labels for e in listed.examples} == {()}


CONTENTS = {
    "plain": "path,label,split\na.mp4,x,train\nsub/b.mp4,y,val\n",
    "bom and crlf": b"\xef\xbb\xbfpath,label,split\r\na.mp4,x,train\r\nsub/b.mp4,y,val\r\n",
    "other names": "Video_Path , Category,subset\na.mp4,x,training\nsub/b.mp4,y,validation\n",
    "semicolons": "path;label;split\na.mp4;x;train\nsub/b.mp4;y;val\n",
    "empty lines": "path,label,split\n\na.mp4,x,TRAIN\n,,\nsub/b.mp4,y,Val\n\n",
    "more columns": "n,label,path,split,z\n1,x,a.mp4,train,\n2,y,sub/b.mp4,val\n",
}


@pytest.mark.parametrize("name", CONTENTS)
def test_tables_with_a_header(tmp_path: Path, name: str) -> None:
    data = read_dataset(table(tmp_path, CONTENTS[name]))
    assert told(data, tmp_path) == [("a.mp4", ("x",), "train"), ("sub/b.mp4", ("y",), "val")]


def test_all_kinds_of_tables_say_the_same(tmp_path: Path) -> None:
    rows = [
        {"path": "a, b.mp4", "label": "x", "split": "train", "group": "g", "start": 0.5, "end": 2.0},
        {"path": "c.mp4", "label": "y", "split": None, "group": None, "start": None, "end": None},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "data.parquet")
    table(tmp_path, "".join(json.dumps(row) + "\n" for row in rows), "data.jsonl")
    table(tmp_path, 'path,label,split,group,start,end\n"a, b.mp4",x,train,g,0.5,2\nc.mp4,y,,,,\n')
    table(tmp_path, "path\tlabel\tsplit\tgroup\tstart\tend\na, b.mp4\tx\ttrain\tg\t0.5\t2\nc.mp4\ty\n", "data.tsv")
    files = [read_dataset(str(tmp_path / f"data.{kind}")) for kind in ("parquet", "jsonl", "csv", "tsv")]
    assert files[0].examples[0] == Example(str(tmp_path / "a, b.mp4"), ("x",), "train", "g", 0.5, 2.0)
    assert files[0].examples[1].split is None
    assert all(one == files[0] for one in files)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.txt", "my clip.mp4 1\n/x/b.avi 10\n"),
        ("list.csv", "my clip.mp4,1\n/x/b.avi,10\n"),
        ("l.csv", "my clip.mp4 1\n/x/b.avi 10\n"),
    ],
)
def test_lists_without_a_header(tmp_path: Path, name: str, text: str) -> None:
    data = read_dataset(table(tmp_path, text, name))
    assert [(Path(e.path).name, e.labels) for e in data.examples] == [("my clip.mp4", ("1",)), ("b.avi", ("10",))]
    assert data.examples[1].path == "/x/b.avi"
    names = tmp_path / "names.txt"
    names.write_text("\n".join(f"name{10 - n}" for n in range(11)))
    # In the order of the file, not of the alphabet.
    assert read_dataset(str(tmp_path / name), labels=names).classes == ("name9", "name0")


def test_several_labels(tmp_path: Path) -> None:
    texts = [
        "path,label\na.mp4,x|y\nb.mp4,y\n",
        "path,label\na.mp4,x; y\nb.mp4,y\n",
        "path,label\na.mp4,x\n./a.mp4,y\nb.mp4,y\n",
    ]
    for text in texts:
        data = read_dataset(table(tmp_path, text))
        assert data.multi_label
        assert [e.labels for e in data.examples] == [("x", "y"), ("y",)]
        targets = data.targets(data.examples)
        assert targets.dtype == np.float32
        assert targets.tolist() == [[1, 1], [0, 1]]
    lists = table(tmp_path, '{"path": "a.mp4", "label": ["x"]}\n{"path": "b.mp4", "label": []}\n', "d.jsonl")
    assert read_dataset(lists).targets(read_dataset(lists).examples).tolist() == [[1], [0]]


def test_numbers_with_gaps_and_names_in_odd_bytes(tmp_path: Path) -> None:
    pq.write_table(pa.table({"path": [b"a\xff.mp4", b"b.mp4"], "label": [3.0, 10.0]}), tmp_path / "t.parquet")
    data = read_dataset(str(tmp_path / "t.parquet"))
    assert data.classes == ("3", "10")
    assert os.fsencode(data.examples[0].path).endswith(b"/a\xff.mp4")
    line = {"path": "a\ufffd.mp4", "path_bytes": base64.b64encode(b"a\xff.mp4").decode(), "label": "x"}
    data = read_dataset(table(tmp_path, json.dumps(line), "t.jsonl"))
    assert os.fsencode(data.examples[0].path).endswith(b"/a\xff.mp4")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("d.csv", "path,label\na.mp4,\n", "d.csv, row 2: there is no label"),
        ("d.csv", "path,label\n,x\n", "d.csv, row 2: there is no path"),
        ("d.csv", "path,label\na\0.mp4,x\n", "row 2: there is no path|contains NUL"),
        ("d.csv", "path,label,split\na.mp4,x,holdout\n", "row 2: unknown split 'holdout': write train, val, test"),
        ("d.csv", "path,label,split\na.mp4,x,train\na.mp4,y,val\n", "row 3: an earlier row .* 'train', this one into 'val'"),
        ("d.csv", "path,label,start,end\na.mp4,x,3,2\n", r"row 2: its end \(2 s\) is not after its start"),
        ("d.csv", "path,label,start\na.mp4,x,soon\n", "row 2: 'soon' is no time in seconds"),
        ("d.csv", "path,label,start\na.mp4,x,inf\n", "no time in seconds"),
        ("d.csv", "label,youtube_id,time\nx,abc,1\n", r"no column path \(its columns: label, youtube_id, time\)"),
        ("d.csv", "path,tag\na.mp4,x\n", r"no column label \(its columns: path, tag\)"),
        ("d.csv", "path,label\nstra\u00dfe.mp4,x\n".encode("latin-1"), "is not UTF-8 text: save it as such"),
        ("d.csv", "path,label\na.mp4,x\n".encode("utf-16"), "is not UTF-8 text"),
        ("d.csv", "", "has no rows"),
        ("d.csv", "path,label\n", "has no rows"),
        ("d.txt", "a.mp4\n", "line 1: there is no label"),
        ("d.jsonl", '{"path": 1, "label": "x"}\n', "line 1: .*path"),
        ("d.jsonl", '{"path": "a\\ud800.mp4", "label": "x"}\n', "line 1: the path is no file name"),
        ("d.jsonl", '{"path": "a.mp4", "label": "\\ud800"}\n', "line 1: the label .* is no text"),
        ("d.jsonl", '{"path": "a.mp4"}\n', "line 1 has no label"),
        ("d.jsonl", "[1]\n", "line 1 holds no object"),
        ("d.jsonl", "{\n", "line 1 is no JSON"),
        ("d.jsonl", "[" * 100_000, "line 1 is no JSON"),
        ("d.parquet", "PAR1 nonsense", "can't read .*d.parquet"),
        ("d.md", "x", "is no table"),
    ],
)  # fmt: skip
def test_a_bad_table_is_one_line(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        read_dataset(table(tmp_path, content, name))
    assert "\n" not in str(caught.value)


def test_labels_that_are_not_among_the_names(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("walk\nrun\n")
    with pytest.raises(DatasetError, match="row 1: the label '2' is not among the 2 names given"):
        read_dataset(table(tmp_path, "a.mp4,2\n"), labels=names)
    with pytest.raises(VideoMAEError, match="can't read the labels"):
        read_dataset(table(tmp_path, "a.mp4,1\n"), labels=tmp_path / "none.txt")
    lay(tmp_path / "f", "0/a.mp4", "1/b.mp4")
    assert read_dataset(str(tmp_path / "f"), labels=names).classes == ("walk", "run")


def test_data_that_is_not_there() -> None:
    with pytest.raises(DatasetError, match="no such folder or table: 'nowhere'"):
        read_dataset("nowhere")


def test_classes_are_in_natural_order_whatever_they_are_called() -> None:
    names = ["10", "9", "a10", "a9", "a09", "9" * 5000, "B", "b"]
    examples = [Example(name, (name,), None, name) for name in names]
    expected = ("9", "10", "9" * 5000, "B", "a09", "a9", "a10", "b")
    for order in (examples, examples[::-1]):
        assert sorted(make_dataset(order).classes) == sorted(expected)
        assert make_dataset(order).classes == make_dataset(examples).classes
    classes = make_dataset(examples).classes
    assert classes.index("9") < classes.index("10") < classes.index("9" * 5000)
    assert classes.index("a9") < classes.index("a10")
    with pytest.raises(DatasetError, match="'z' is none of the 8 classes"):
        make_dataset(examples).targets([Example("z", ("z",), None, "z")])
