"""A cluster's folder, on a disk or in a bucket: all of it or a word about what is missing, whatever else lies there."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from jobrecords import LAYOUT, SETTINGS, record, vector
from objectstore import ObjectStore
from typer.testing import CliRunner

import videomae_cli as videomae
from videomae_cli.cli.app import app
from videomae_cli.errors import EmbeddingsError, OutputError, StorageError
from videomae_cli.jobs.joining import IncompleteError, merge
from videomae_cli.writers import make_vector_writer, make_writer, read_records, read_vector_records

SHARDS = 4


@pytest.fixture(params=["labels", "vectors"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where copies are kept; nothing is left there."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


def make_shards(folder: Path, kind: str) -> Path:
    """What a job on a cluster leaves: three files in a shard, and other things that somebody put there."""
    folder.mkdir()
    for number in range(SHARDS):
        with (folder / f"part-{number:05}-of-{SHARDS:05}.parquet").open("wb") as sink:
            layout = replace(LAYOUT, settings={**LAYOUT.settings, "pool": "mean"})
            writer = make_vector_writer("parquet", sink, layout) if kind == "vectors" else make_writer("parquet", sink)
            for place in range(3 * number, 3 * number + 3):
                writer.write((vector if kind == "vectors" else record)(place))
            writer.finish()
    (folder / "_job.json").write_text(json.dumps({"settings": SETTINGS.as_dict()}))
    for foreign in ("notes.txt", "part-x.parquet", "part-00000-of-00004.parquet.bak", "other.parquet"):
        (folder / foreign).write_text("mine")
    return folder


def uploaded(folder: Path, store: ObjectStore, bucket: str) -> str:
    """The same folder in a bucket."""
    return store.bucket(bucket, {f"out/{file.name}": file for file in folder.iterdir()}) + "/out/"


@pytest.mark.parametrize("gone", range(SHARDS))
def test_a_lost_shard_is_missed_on_a_disk_and_in_a_bucket(
    kind: str, gone: int, tmp_path: Path, scratch: Path, store: ObjectStore, bucket: str
) -> None:
    folder = make_shards(tmp_path / "out", kind)
    lost = f"part-{gone:05}-of-{SHARDS:05}.parquet"
    (folder / lost).unlink()
    for place in (str(folder), uploaded(folder, store, bucket)):
        with pytest.raises(IncompleteError) as raised:
            merge(place, tmp_path / "all.jsonl")
        assert lost in raised.value.found.missing_shards
        if kind == "vectors":
            for read in (videomae.map_embeddings, videomae.find_duplicates):
                with pytest.raises(OutputError, match=f"{lost} is missing") as refused:
                    read(place)  # type: ignore[operator]
                assert refused.value.subject == place.rstrip("/")
    assert not (tmp_path / "all.jsonl").exists()


def test_a_folder_in_a_bucket_is_joined_as_one_on_a_disk(
    kind: str, tmp_path: Path, scratch: Path, store: ObjectStore, bucket: str
) -> None:
    folder = make_shards(tmp_path / "out", kind)
    address = uploaded(folder, store, bucket)
    for place, name in ((str(folder), "disk.parquet"), (address, "a.parquet"), (address.rstrip("/"), "b.parquet")):
        done = CliRunner().invoke(app, ["merge", place, "-o", str(tmp_path / name)])
        assert (done.exit_code, done.stderr.count("12 files from 4 outputs")) == (0, 1), done.stderr
        assert (tmp_path / name).read_bytes() == (tmp_path / "disk.parquet").read_bytes()
    (one,) = (
        CliRunner().invoke(app, ["merge", f"{address}gone/", "-o", str(tmp_path / "c.parquet")]).stderr.splitlines()
    )
    assert f"there is no '{address}gone/'" in one
    refused = CliRunner().invoke(app, ["merge", str(folder), "-o", address])
    assert (refused.exit_code, "writes to a disk" in refused.stderr) == (2, True)


def test_a_job_that_is_not_complete_is_not_joined(
    tmp_path: Path, scratch: Path, store: ObjectStore, bucket: str
) -> None:
    folder = make_shards(tmp_path / "out", "labels")
    address = uploaded(folder, store, bucket)
    store.put(bucket, "out/_partial/0000000000-0000000003.parquet", b"x")
    with pytest.raises(OutputError, match=rf"^{address.rstrip('/')} is not complete: .*resume=True"):
        merge(address, tmp_path / "all.jsonl")


def test_a_folder_is_written_where_one_is_asked_for(kind: str, tmp_path: Path) -> None:
    folder = make_shards(tmp_path / "out", kind)
    read = read_vector_records if kind == "vectors" else read_records
    for output in (f"{tmp_path}/new/", f"{tmp_path}/plain"):
        merge(folder, output)
        file = Path(output) / "part-00000-of-00001.parquet" if output.endswith("/") else Path(output)
        file = file.rename(tmp_path / "read.parquet") if not file.suffix else file
        assert [one["index"] for one in read(file)] == list(range(12))
    assert merge(f"{tmp_path}/new/", tmp_path / "again.parquet").files == 12
    if kind == "vectors":
        assert len(videomae.map_embeddings(tmp_path / "new", method="pca", thumbnails=0).rows) == sum(
            n % 3 + 1 for n in range(12)
        )
    with pytest.raises(OutputError, match="overwrite=True replaces it"):
        merge(folder, f"{tmp_path}/new/")
    with pytest.raises(OutputError, match=r"holds part-00000-of-00004\.parquet: give a new folder, or a file"):
        merge(folder, f"{folder}/")


def test_vectors_in_a_bucket_are_searched(tmp_path: Path, scratch: Path, store: ObjectStore, bucket: str) -> None:
    folder = make_shards(tmp_path / "out", "vectors")
    address = uploaded(folder, store, bucket)
    for place in (address, f"{address}part-00001-of-00004.parquet"):
        assert [match.row.path for match in videomae.similar(np.ones(4), place, top_k=1)]
    done = CliRunner().invoke(app, ["similar", "2.mp4", address, "--top-k", "3"])
    assert (done.exit_code, ".mp4" in done.stdout) == (0, True), done.stderr
    done = CliRunner().invoke(
        app, ["map", address, "-o", str(tmp_path / "m.html"), "--method", "pca", "--thumbnails", "0"]
    )
    assert done.exit_code == 0, done.stderr
    assert Path(tmp_path / "m.html").exists()
    done = CliRunner().invoke(app, ["similar", "--duplicates", "0.9", f"{address}nothing/"])
    assert (done.exit_code, f"there is no '{address}nothing/'" in done.stderr) == (1, True)
    store.put(bucket, "bad/part-00000-of-00001.parquet", b"PAR1 is not enough")
    with pytest.raises(EmbeddingsError) as raised:
        videomae.similar(np.ones(4), f"s3://{bucket}/bad/")
    assert str(scratch) not in str(raised.value)
    with pytest.raises(StorageError):
        videomae.similar(np.ones(4), "s3://no-such-bucket-anywhere/x/")
