"""Reading embeddings: every format gives the same, tables of other tools work, and what is damaged is one clear line."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tables import FORMATS, bunches, write_table

from videomae_cli.errors import EmbeddingsError, OutputError
from videomae_cli.results import path_of
from videomae_cli.search.embedding_table import EmbeddingTable, Row, unit
from videomae_cli.writers import read_layout, read_vector_records, vector_reading

NAMES = ["a/[b] c.mp4", "<script>alert(1)</script>.mp4", "new\nline\t\"'.mp4", os.fsdecode(b"caf\xe9.mp4"), "滑雪.mp4"]


def read(file: Path) -> tuple[np.ndarray[Any, Any], list[Row]]:
    blocks = list(EmbeddingTable(file).blocks())
    return np.concatenate([block.vectors for block in blocks]), [row for block in blocks for row in block.rows]


@pytest.mark.parametrize("storage", ["float32", "float16"])
def test_all_formats_give_the_same_rows(tmp_path: Path, storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_reading, "BLOCK", 2)
    vectors = bunches(5)
    tables = [write_table(tmp_path / f"v.{name}", vectors, NAMES, storage=storage) for name in FORMATS]
    for file in tables:  # for `videomae merge` too
        assert [path_of(record) for record in read_vector_records(file)] == NAMES
    first, rows = read(tables[0])
    assert [row.path for row in rows] == NAMES
    assert [(row.index, row.clip, row.start, row.end) for row in rows] == [(n, None, 0.0, 1.0) for n in range(5)]
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, rtol=1e-6)
    for other in tables[1:]:
        values, same = read(other)
        assert same == rows
        # The text of a float16 is as short as a float16 allows, and is read as what it says.
        np.testing.assert_allclose(values, first, atol=0 if storage == "float32" or other.suffix != ".jsonl" else 1e-3)


@pytest.mark.parametrize("name", FORMATS)
def test_files_without_a_vector_are_counted_and_left_out(name: str, tmp_path: Path) -> None:
    table = EmbeddingTable(write_table(tmp_path / f"v.{name}", bunches(3), failures=["x.mp4", "y.mp4"]))
    for _ in range(2):
        assert sum(len(block.rows) for block in table.blocks()) == 3
        assert table.failed == 2
    assert (table.model, table.fingerprint) == ("camera-motion", "f" * 16)


@pytest.mark.parametrize("name", FORMATS)
def test_a_table_of_failures_only_says_so(name: str, tmp_path: Path) -> None:
    file = write_table(tmp_path / f"v.{name}", np.zeros((0, 4)), failures=["x.mp4", "y.mp4"])
    with pytest.raises(EmbeddingsError, match=r"holds no vectors: all 2 files failed$"):
        EmbeddingTable(file)


def test_a_folder_of_arrays_is_read_by_its_index(tmp_path: Path) -> None:
    vectors = bunches(6)
    raw = os.fsdecode(b"sub/caf\xe9.mp4")
    lines: list[dict[str, Any]] = [
        {"index": 0, "path": "/films/a.mp4", "file": "a.mp4.npy", "rows": [{"clip": None, "start": 0.0, "end": 1.0}]},
        {"index": 1, "path": "/films/b.mp4", "file": None, "rows": []},
        {
            "index": 2,
            "path": "/films/sub/caf�.mp4",
            "path_bytes": "L2ZpbG1zL3N1Yi9jYWbpLm1wNA==",
            "file": "sub/caf�.mp4.npy",
        },
    ]
    lines[2]["rows"] = [{"clip": clip, "t": None, "start": float(clip), "end": clip + 1.0} for clip in range(5)]
    (tmp_path / "sub").mkdir()
    np.save(tmp_path / "a.mp4.npy", vectors[0])
    np.save(tmp_path / f"{raw}.npy", vectors[1:])
    (tmp_path / "index.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    values, rows = read(tmp_path)
    np.testing.assert_array_equal(values, unit(vectors))
    assert [row.path for row in rows] == ["/films/a.mp4"] + [f"/films/{raw}"] * 5
    assert [row.clip for row in rows] == [None, 0, 1, 2, 3, 4]
    (tmp_path / "a.mp4.npy").unlink()
    with pytest.raises(EmbeddingsError, match=r"can't read \S*a\.mp4\.npy: No such file"):
        read(tmp_path)
    (tmp_path / "a.mp4.npy").write_bytes(b"no array")
    with pytest.raises(EmbeddingsError, match="can't read embeddings from"):
        read(tmp_path)
    np.save(tmp_path / "a.mp4.npy", vectors)
    with pytest.raises(EmbeddingsError, match="does not have the 1 vectors"):
        read(tmp_path)


@pytest.mark.parametrize("tool", ["pandas", "polars array", "polars list", "integers", "savez"])
def test_tables_of_other_tools(tool: str, tmp_path: Path) -> None:
    vectors = np.round(bunches(4, 8) * 100)
    columns = {"path": ["a", "b", "c", "d"], "start": ["x", "y", "z", ""], "index": [1.0, float("nan"), 2.0, 3.0]}
    file = tmp_path / "v.parquet"
    if tool == "pandas":
        pd.DataFrame({**columns, "embedding": list(vectors.astype(np.float64))}).to_parquet(file)
    elif tool == "polars array":
        pl.DataFrame({**columns, "embedding": vectors}).write_parquet(file)
    elif tool == "polars list":
        pl.DataFrame({**columns, "embedding": vectors.tolist()}).write_parquet(file)
    elif tool == "integers":
        pd.DataFrame({**columns, "embedding": list(vectors.astype(np.int16))}).to_parquet(file)
    else:
        file = tmp_path / "v.npz"
        np.savez_compressed(file, embeddings=vectors, paths=np.array(columns["path"]), index=np.array(columns["index"]))
    values, rows = read(file)
    np.testing.assert_allclose(values, unit(vectors), rtol=1e-6)
    assert [row.path for row in rows] == columns["path"]
    assert [row.index for row in rows] == [1, None, 2, 3]
    assert {row.start for row in rows} == {None}


def test_a_missing_vector_of_another_tool_is_a_failure(tmp_path: Path) -> None:
    pd.DataFrame({"path": ["a", "b"], "embedding": [None, [1.0, 2.0]]}).to_parquet(tmp_path / "v.parquet")
    table = EmbeddingTable(tmp_path / "v.parquet")
    assert [row.path for block in table.blocks() for row in block.rows] == ["b"]
    assert table.failed == 1


def save(file: Path, **columns: Any) -> None:
    pq.write_table(pa.table(columns), file)


def lines(file: Path, *records: object) -> None:
    file.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records))


def zipped(file: Path, **members: bytes) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)


GOOD = {"path": "a", "embedding": [1.0, 2.0]}
FOREIGN: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda f: f.write_bytes(b""), "none of Parquet, npz and JSON Lines"),
    "video": (lambda f: f.write_bytes(b"\0\0\0\x18ftypmp42"), "is a video \\(MP4\\), not embeddings"),
    "json array": (lambda f: f.write_text("[1]"), "none of Parquet, npz and JSON Lines"),
    "parquet, cut": (lambda f: f.write_bytes(b"PAR1" + bytes(40)), "is damaged"),
    "parquet, other columns": (lambda f: save(f, name=["a"]), "no columns path and embedding"),
    "parquet, text": (lambda f: save(f, path=["a"], embedding=["[1, 2]"]), "no lists of numbers"),
    "parquet, bytes": (lambda f: save(f, path=["a"], embedding=[b"12345678"]), "no lists of numbers"),
    "parquet, texts": (lambda f: save(f, path=["a"], embedding=[["1", "2"]]), "no lists of numbers|damaged"),
    "parquet, ragged": (lambda f: save(f, path=["a", "b"], embedding=[[1.0], [1.0, 2.0, 3.0]]), "1 and 3 values"),
    "parquet, empty lists": (
        lambda f: save(f, path=["a"], embedding=pa.array([[]], pa.list_(pa.float32()))),
        "no .*values",
    ),
    "parquet, no path": (lambda f: save(f, path=pa.array([None], pa.string()), embedding=[[1.0]]), "without a path"),
    "parquet, NaN": (lambda f: save(f, path=["a"], embedding=[[float("nan")]]), "vector of a holds values that are no"),
    "parquet, null": (lambda f: save(f, path=["a"], embedding=[[1.0, None]]), "vector of a holds values that are no"),
    "parquet, two models": (
        lambda f: save(f, path=["a", "b"], embedding=[[1.0], [2.0]], model=["base", "large"]),
        r"more than one model \(base, large\)",
    ),
    "parquet, two settings": (
        lambda f: save(f, path=["a", "b"], embedding=[[1.0], [2.0]], fingerprint=["1", "2"]),
        r"more than one fingerprint",
    ),
    "parquet, tokens": (lambda f: save(f, path=["a"], embedding=[[1.0]], t=[0]), 'pool="mean"'),
    "lines, cut": (lambda f: lines(f, GOOD, '{"path": "b", "embedding": [1.0'), "line 2 is damaged or cut off"),
    "lines, deep": (lambda f: lines(f, GOOD, "[" * 100_000), "line 2 is damaged or cut off"),
    "lines, labels": (lambda f: lines(f, {"path": "a", "predictions": []}), "line 1 has no path and embedding"),
    "lines, no list": (lambda f: lines(f, GOOD, {"path": "a", "embedding": 3}), "line 2 has no path and embedding"),
    "lines, an array": (lambda f: lines(f, GOOD, [1, 2]), "line 2 is no record"),
    "lines, texts": (lambda f: lines(f, {"path": "a", "embedding": ["x"]}), "no lists of numbers"),
    "lines, nested": (lambda f: lines(f, {"path": "a", "embedding": [[[1.0]]]}), "no lists of numbers"),
    "lines, ragged": (lambda f: lines(f, GOOD, {"path": "b", "embedding": [1.0]}), "1 and 2 values"),
    "lines, huge": (lambda f: lines(f, {"path": "a", "embedding": [1e999]}), "vector of a holds values that are no"),
    "npz, cut": (lambda f: f.write_bytes(b"PK\3\4" + bytes(40)), "not a zip file"),
    "npz, other arrays": (lambda f: np.savez(f, x=np.zeros(3)), "no arrays embeddings and paths"),
    "npz, flat": (lambda f: np.savez(f, embeddings=np.zeros(3), paths=np.array(["a"] * 3)), r"not \(N, D\) numbers"),
    "npz, lengths": (lambda f: np.savez(f, embeddings=np.ones((3, 2)), paths=np.array(["a"])), "not of one length"),
    "npz, columns": (
        lambda f: np.savez(f, embeddings=np.ones((3, 2), order="F"), paths=np.array(["a"] * 3)),
        "column by column",
    ),
    "npz, objects": (
        lambda f: np.savez(f, embeddings=np.ones((1, 2)), paths=np.array([{}], object)),
        "something else than numbers and texts",
    ),
    "npz, no array": (lambda f: zipped(f, embeddings=b"x", paths=b"y"), "can't read embeddings"),
    "npz, metadata": (lambda f: zipped(f, metadata=b"x"), "holds no embeddings"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_holds_no_embeddings_is_one_clear_line(kind: str, tmp_path: Path) -> None:
    file = tmp_path / ("v.npz" if kind.startswith("npz") else "v")
    make, words = FOREIGN[kind]
    make(file)
    with pytest.raises(EmbeddingsError, match=words) as caught:
        list(EmbeddingTable(file).blocks())
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("format", FORMATS)
def test_what_merge_and_resume_read_is_one_clear_line_too(format: str, tmp_path: Path) -> None:
    """The same readers, told by the name: all that is foreign, and then every cut and many flipped bytes of a sound file."""
    file = tmp_path / f"v.{format}"
    for make, _ in FOREIGN.values():
        make(tmp_path / "v.npz")  # numpy.savez gives other names this ending
        (tmp_path / "v.npz").rename(file)
        assert one_line(file)
    content = write_table(file, bunches(20, 4), failures=["x.mp4"]).read_bytes()
    assert not one_line(file)
    random = np.random.default_rng(2)
    for place in random.integers(4, len(content), 60):
        for damaged in content[:place], content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]:
            file.write_bytes(damaged)
            one_line(file)


def one_line(file: Path) -> str:
    """What reading a file for another job says, or nothing where it can be read."""
    said = ""
    try:
        list(read_vector_records(file))
        read_layout(file)
    except OutputError as error:
        said = str(error)
    assert not said or (str(file) in said and "\n" not in said)
    return said


@pytest.mark.parametrize("storage", [np.dtype("<U8"), np.dtype("<f4")])
def test_an_array_is_never_larger_than_its_file(storage: np.dtype[Any], tmp_path: Path) -> None:
    """A header of 64 bytes may speak of any size: no memory is asked for before the bytes are there."""
    for shape in [(2**40,), (2**62, 4), (2, 2**62), (2**40, 2**40, 2**40), (0, 2**40), ()]:
        head = io.BytesIO()
        np.lib.format.write_array_header_1_0(head, {"descr": storage.str, "fortran_order": False, "shape": shape})
        for name in ["embeddings", "paths", "metadata", "index"]:
            members = {"embeddings": npy(np.ones((1, 2))), "paths": npy(np.array(["a"])), name: head.getvalue()}
            zipped(tmp_path / "v.npz", **members)
            with pytest.raises(EmbeddingsError):
                read(tmp_path / "v.npz")
            assert one_line(tmp_path / "v.npz")
        (tmp_path / "index.jsonl").write_text('{"path": "a", "file": "a.npy"}\n')
        (tmp_path / "a.npy").write_bytes(head.getvalue())
        with pytest.raises(EmbeddingsError):
            read(tmp_path)


def npy(values: np.ndarray[Any, Any]) -> bytes:
    content = io.BytesIO()
    np.save(content, values)
    return content.getvalue()


@pytest.mark.parametrize("name", FORMATS)
def test_every_cut_of_a_file_is_told(name: str, tmp_path: Path) -> None:
    content = write_table(tmp_path / f"v.{name}", bunches(40)).read_bytes()
    whole, _ = read(tmp_path / f"v.{name}")
    for size in range(0, len(content) - 1, len(content) // 40):
        (tmp_path / "cut").write_bytes(content[:size])
        try:
            values, _ = read(tmp_path / "cut")
        except EmbeddingsError:
            continue
        # Lines end where they end: what is there is right.
        assert name == "jsonl"
        np.testing.assert_array_equal(values, whole[: len(values)])


@pytest.mark.parametrize("name", ["parquet", "npz"])
def test_a_flipped_byte_never_ends_in_a_traceback(name: str, tmp_path: Path) -> None:
    content = bytearray(write_table(tmp_path / f"v.{name}", bunches(20, 4)).read_bytes())
    random = np.random.default_rng(1)
    for place in random.integers(4, len(content), 150):
        damaged = content.copy()
        damaged[place] ^= 1 << int(random.integers(0, 8))
        (tmp_path / "damaged").write_bytes(damaged)
        with contextlib.suppress(EmbeddingsError):
            read(tmp_path / "damaged")


def test_a_parquet_file_is_never_all_in_memory(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((60_000, 1024), np.float32)
    names = [f"{number // 1000}.mp4" for number in range(len(vectors))]
    file = write_table(tmp_path / "v.parquet", vectors, names, clips=True)
    program = (
        "import sys, pathlib, pyarrow; from videomae_cli.search.embedding_table import EmbeddingTable;"
        "blocks = EmbeddingTable(pathlib.Path(sys.argv[1])).blocks();"
        "print(sum(len(block.rows) for block in blocks), pyarrow.default_memory_pool().max_memory())"
    )
    done = subprocess.run([sys.executable, "-c", program, file], capture_output=True, text=True, check=True)
    rows, peak = map(int, done.stdout.split())
    assert (rows, peak < file.stat().st_size / 2) == (60_000, True), peak


def test_halves_of_characters_become_something_that_can_be_printed(tmp_path: Path) -> None:
    (tmp_path / "v").write_text('{"path": "\\ud83d.mp4", "embedding": [1.0], "model": "\\udfff"}\n')
    table = EmbeddingTable(tmp_path / "v")
    assert [row.path for block in table.blocks() for row in block.rows] == ["?.mp4"]
    assert table.model == "?"


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (
            (),
            'there is no file v.parquet: write_results(load_embedder(MODEL).embed_all(VIDEOS), "v.parquet") makes it',
        ),
        (("v.parquet.partial/",), "v.parquet is not complete: run its videomae embed again with --resume"),
        (("v.parquet/",), "v.parquet is a folder without index.jsonl: give an output of videomae embed"),
        (("v.parquet/index.jsonl.partial/",), "v.parquet is not complete: run its videomae embed again with --resume"),
    ],
)
def test_what_is_not_there_says_what_to_do(
    names: tuple[str, ...], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in names:
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EmbeddingsError) as caught:
        EmbeddingTable(Path("v.parquet"))
    assert str(caught.value) == words


def test_lengths_of_any_size_become_one() -> None:
    values = np.array([[3.0, 4.0], [3e-40, 4e-40], [3e300, 4e300], [0.0, 0.0], [-3e-300, 4e-300]])
    np.testing.assert_allclose(unit(values), [[0.6, 0.8], [0.6, 0.8], [0.6, 0.8], [0, 0], [-0.6, 0.8]], rtol=1e-6)
    assert unit(values).dtype == np.float32
    np.testing.assert_allclose(unit(np.full((1, 4), 60000, np.float16)), 0.5, rtol=1e-6)


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_folder_without_one_of_its_shards_is_not_taken_for_the_whole(gone: int, tmp_path: Path) -> None:
    folder, vectors = tmp_path / "out", bunches(6)
    folder.mkdir()
    for number in range(3):
        part = slice(2 * number, 2 * number + 2)
        write_table(folder / f"part-{number:05}-of-00003.parquet", vectors[part], [f"{n}.mp4" for n in range(6)][part])
    assert len(read(folder)[1]) == 6
    (folder / f"part-{gone:05}-of-00003.parquet").unlink()
    with pytest.raises(
        OutputError, match=f"part-{gone:05}-of-00003.parquet is missing: run its job again with resume=True"
    ):
        EmbeddingTable(folder)


def test_what_a_name_promises_has_a_limit() -> None:
    promised = "part-00000-of-99999999999.parquet"
    assert len(vector_reading.missing_shards([Path(promised)])) == 1000
    assert vector_reading.missing_shards(map(Path, ["a/" + promised[:14] + "00001.parquet", "part-x.parquet"])) == []
