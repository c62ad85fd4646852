"""`videomae embed` in real processes, and its files in the programs that people read them with."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl
import pytest
from samples import Run, write_video

from videomae_cli.files import whole_file
from videomae_cli.writers import VectorLayout, make_vector_writer, read_layout, read_vector_records

PAGE = (Path(__file__).parent.parent.parent / "docs" / "search.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five films of different length and a letter."""
    folder = tmp_path_factory.mktemp("archive")
    (folder / "sub").mkdir()
    for number, count in enumerate((16, 20, 30, 60, 75)):
        write_video(folder / ("sub" if number > 2 else "") / f"{number}.mp4", count=count)
    (folder / "2b.mp4").write_text("a letter")
    return folder


@pytest.fixture(scope="module")
def parquet(videomae: Run, archive: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "vectors.parquet"
    done = videomae("embed", archive, "--model", checkpoint, "-o", out, "--clips", "2")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "videomae: 5 of 6 files embedded, 1 failed (not_a_video)"
    return out


def vectors_of(file: Path) -> npt.NDArray[Any]:
    return np.concatenate([r["vectors"] for r in read_vector_records(file) if r["vectors"] is not None])


def test_pandas_polars_and_duckdb_read_it(parquet: Path) -> None:
    expected = vectors_of(parquet)
    assert expected.shape == (5, 32)
    table = pd.read_parquet(parquet)
    np.testing.assert_array_equal(np.stack(table.loc[table.status == "ok", "embedding"]), expected)
    assert table.loc[table.status == "error", "embedding"].isna().all()
    assert table.error_kind.dropna().tolist() == ["not_a_video"]
    frame = pl.read_parquet(parquet)
    assert frame.schema["embedding"] == pl.Array(pl.Float32, 32)
    np.testing.assert_array_equal(frame.filter(pl.col("status") == "ok")["embedding"].to_numpy(), expected)
    rows = duckdb.sql(
        f"SELECT embedding::FLOAT[32] AS v FROM '{parquet}' WHERE status = 'ok' ORDER BY index"
    ).fetchall()
    np.testing.assert_array_equal(np.array([row[0] for row in rows], np.float32), expected)


def test_lancedb_searches_it(parquet: Path, tmp_path: Path) -> None:
    import lancedb
    import pyarrow.parquet as pq

    table = pq.read_table(parquet).filter(
        pq.ParquetFile(parquet).read()["status"].combine_chunks().to_numpy(False) == "ok"
    )
    store = lancedb.connect(tmp_path / "db").create_table("videos", table)
    query = vectors_of(parquet)[2]
    best = store.search(query, vector_column_name="embedding").limit(1).to_list()[0]
    assert Path(best["path"]).name == "2.mp4"


def test_the_code_in_the_docs_runs(parquet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    reading = [block for block in blocks if "vectors.parquet" in block]
    assert len(reading) == 2
    (tmp_path / "vectors.parquet").write_bytes(parquet.read_bytes())
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(reading[0], names)
    np.testing.assert_array_equal(names["vectors"], vectors_of(parquet))
    query = reading[1].replace("FLOAT[192]", "FLOAT[32]").replace("duckdb.sql(", "found = duckdb.sql(")
    exec(query, names)
    found = names["found"].fetchall()
    table = vectors_of(parquet)
    unit = table / np.linalg.norm(table, axis=1, keepdims=True)
    assert [cosine for _, cosine in found] == pytest.approx(sorted(unit[1:] @ unit[0], reverse=True), abs=1e-5)


def test_every_format_holds_the_same(
    videomae: Run, archive: Path, checkpoint: Path, parquet: Path, tmp_path: Path
) -> None:
    expected = vectors_of(parquet)
    for name in ("v.npz", "v.jsonl"):
        done = videomae("embed", archive, "--model", checkpoint, "-o", tmp_path / name, "--clips", "2")
        assert done.returncode == 1
        np.testing.assert_array_equal(vectors_of(tmp_path / name), expected)
        for ours, theirs in zip(read_vector_records(tmp_path / name), read_vector_records(parquet), strict=True):
            for key in ("index", "path", "status", "error", "rows", "model", "fingerprint", "version"):
                assert ours[key] == theirs[key], (name, key)
    with np.load(tmp_path / "v.npz", allow_pickle=False) as content:
        np.testing.assert_array_equal(content["embeddings"], expected)
        assert [Path(path).name for path in content["paths"]] == ["0.mp4", "1.mp4", "2.mp4", "3.mp4", "4.mp4"]
        about = json.loads(str(content["metadata"]))
    assert (about["settings"]["pool"], about["failures"][0]["kind"]) == ("mean", "not_a_video")
    assert read_layout(parquet).settings["fingerprint"] == about["settings"]["fingerprint"]


def test_a_folder_gets_an_array_a_video(
    videomae: Run, archive: Path, checkpoint: Path, parquet: Path, tmp_path: Path
) -> None:
    done = videomae("embed", archive, "--model", checkpoint, "-o", f"{tmp_path}/features/", "--clips", "2")
    assert done.returncode == 1
    index = [json.loads(line) for line in (tmp_path / "features" / "index.jsonl").read_text().splitlines()]
    assert [entry["file"] for entry in index] == [
        "0.mp4.npy",
        "1.mp4.npy",
        "2.mp4.npy",
        None,
        "sub/3.mp4.npy",
        "sub/4.mp4.npy",
    ]
    arrays = [np.load(tmp_path / "features" / entry["file"]) for entry in index if entry["file"]]
    np.testing.assert_array_equal(np.stack(arrays), vectors_of(parquet))
    again = videomae("embed", archive, "--model", checkpoint, "-o", f"{tmp_path}/features/", "--clips", "2")
    assert "--resume completes it" in again.stderr
    again = videomae("embed", archive, "--model", checkpoint, "-o", f"{tmp_path}/features/", "--clips", "2", "--resume")
    assert again.stderr.startswith("videomae: 6 of 6 files are done already")


@pytest.mark.parametrize("name", ["v.parquet", "v.npz"])
def test_killed_and_gone_on_with(
    videomae: Run, archive: Path, checkpoint: Path, name: str, tmp_path: Path, quick_python: str
) -> None:
    options = ["--model", str(checkpoint), "--clips", "3", "--per-clip", "--storage", "float16", "--batch-size", "2"]
    whole = tmp_path / f"whole-{name}"
    assert videomae("embed", archive, *options, "-o", whole).returncode == 1
    out = tmp_path / name
    command = [quick_python, "-m", "videomae_cli", "embed", str(archive), *options, "-o", str(out), "--resume"]
    for lines in (1, 3):
        process = subprocess.Popen(command, stderr=subprocess.PIPE)
        records = out.with_name(f"{name}.partial") / "records.jsonl"
        deadline = time.monotonic() + 300
        while process.poll() is None and time.monotonic() < deadline:
            if records.exists() and records.read_bytes().count(b"\n") >= lines:
                break
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.communicate()  # until nobody writes any more
        if records.exists():  # what a power cut may do besides: vectors that never got to the disk
            vectors = records.with_name("vectors.bin")
            content = vectors.read_bytes()
            vectors.write_bytes(content[: len(content) - 70] + bytes(30) if lines == 3 else content + b"torn")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    np.testing.assert_array_equal(vectors_of(out), vectors_of(whole))
    for ours, theirs in zip(
        read_vector_records(out, vectors=False), read_vector_records(whole, vectors=False), strict=True
    ):
        assert ours == theirs
    assert vectors_of(out).dtype == np.float16
    assert {p.name for p in tmp_path.iterdir()} == {name, f"whole-{name}"}


def test_shards_join(videomae: Run, archive: Path, checkpoint: Path, parquet: Path, tmp_path: Path) -> None:
    for number in (1, 2):
        out = tmp_path / f"{number}.parquet"
        shard = f"{number}/2"
        assert videomae(
            "embed", archive, "--model", checkpoint, "-o", out, "--clips", "2", "--shard", shard
        ).returncode in (0, 1)
    for name in ("all.parquet", "all.npz", "all.jsonl"):
        done = videomae("merge", tmp_path / "1.parquet", tmp_path / "2.parquet", "-o", tmp_path / name)
        assert done.returncode == 0, done.stderr
        np.testing.assert_allclose(vectors_of(tmp_path / name), vectors_of(parquet), rtol=1e-5, atol=1e-6)
        paths = [record["path"] for record in read_vector_records(tmp_path / name)]
        assert paths == [record["path"] for record in read_vector_records(parquet)]
    assert videomae("merge", tmp_path / "2.parquet", "-o", tmp_path / "one.parquet").returncode == 1


def test_rows_are_flushed_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow.parquet as pq

    from videomae_cli.writers import vectors

    monkeypatch.setattr(vectors, "ROW_GROUP_BYTES", 10 * 4 * 8)
    with whole_file(tmp_path / "v.parquet") as sink:
        writer = make_vector_writer("parquet", sink, VectorLayout(8, "float32"))
        for number in range(25):
            place = {"clip": None, "t": None, "h": None, "w": None, "start": 0.0, "end": 1.0}
            vector = np.full((1, 8), number, np.float32)
            writer.write(
                {
                    "index": number,
                    "path": f"{number}",
                    "status": "ok",
                    "error": None,
                    "rows": [place],
                    "vectors": vector,
                }
            )
        writer.finish()
    content = pq.ParquetFile(tmp_path / "v.parquet")
    assert [content.metadata.row_group(n).num_rows for n in range(content.num_row_groups)] == [10, 10, 5]
    assert vectors_of(tmp_path / "v.parquet")[:, 0].tolist() == list(range(25))


@pytest.mark.parametrize(
    "options",
    [
        ["-o", "x.txt"],
        ["-o", "x.parquet", "--pool", "max"],
        ["-o", "x.parquet", "--layer", "99"],
        ["-o", "x.parquet", "--storage", "int8"],
        ["-o", "x.parquet", "--pool", "tokens", "--crops", "3"],
        ["-o", "/dev/null", "--format", "npz"],
        [],
    ],
)
def test_wrong_options(videomae: Run, video: Path, checkpoint: Path, tmp_path: Path, options: list[str]) -> None:
    done = videomae("embed", video, "--model", checkpoint, *options, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
