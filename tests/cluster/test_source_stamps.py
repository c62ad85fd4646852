"""The list beside an output tells what the videos were like, and --resume says which have changed since; no Ray needed."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from objectstore import ObjectStore

from videomae_cli.cluster import source_stamps
from videomae_cli.cluster.output import Output, open_output
from videomae_cli.cluster.plan import ClusterPlan
from videomae_cli.cluster.source_stamps import Changes
from videomae_cli.errors import StorageError
from videomae_cli.jobs import Settings
from videomae_cli.storage import manifest_names, objects

SETTINGS = Settings("classify", "0", {"model": "m", "revision": None, "top_k": 5})


def begin(out: Path, names: list[str]) -> Output:
    plan = ClusterPlan(files=len(names), task=2, shard=4, batch=1, group=4)
    with open_output(f"{out}/", vectors=False, format=None, resume=True, overwrite=False) as output:
        output.begin(SETTINGS, names, plan, shard=None)
        with output.folder.writing(output.place.piece_name(0, 1)) as sink:  # else nothing was done, and nothing is kept
            sink.write(b"")
    return output


def test_changed_sources_are_counted_and_named(store: ObjectStore, bucket: str, tmp_path: Path) -> None:
    place = store.bucket(bucket, {"a.mp4": b"one", "b.mp4": b"two"})
    (tmp_path / "c.mp4").write_bytes(b"three")
    (tmp_path / "d.mp4").write_bytes(b"four")
    names = [f"{place}/a.mp4", f"{place}/b.mp4", f"{tmp_path}/c.mp4", f"{tmp_path}/d.mp4", f"{tmp_path}/gone.mp4"]
    assert begin(tmp_path / "out", names).changes is None
    table = pq.read_table(tmp_path / "out" / "_list.parquet")
    assert table.column_names == ["path", "path_bytes", "size", "changed", "etag"]
    assert table.column("size").to_pylist() == [3, 3, 5, 4, None]
    assert [bool(tag) for tag in table.column("etag").to_pylist()] == [True, True, False, False, False]
    assert table.column("changed").null_count == 1
    with (tmp_path / "out" / "_list.parquet").open("rb") as stream:
        assert list(manifest_names(stream)) == names, "it is still a list of names"
    assert begin(tmp_path / "out", names).changes is None
    store.put(bucket, "a.mp4", b"one")  # the same content
    store.put(bucket, "b.mp4", b"owt")
    os.utime(tmp_path / "d.mp4", ns=(1, 1))
    (tmp_path / "c.mp4").unlink()
    assert begin(tmp_path / "out", names).changes == Changes(2, f"{place}/b.mp4")
    # A longer list keeps what is known of the first ones.
    (tmp_path / "new.mp4").write_bytes(b"new")
    longer = [f"{tmp_path}/new.mp4", *names]
    assert begin(tmp_path / "out", longer).changes == Changes(2, f"{place}/b.mp4")
    assert pq.read_table(tmp_path / "out" / "_list.parquet").column("size").to_pylist() == [3, 3, 5, 4, None, 3]
    assert begin(tmp_path / "out", longer).changes == Changes(2, f"{place}/b.mp4"), "said again as long as it is so"


def test_of_very_many_objects_none_is_asked_for(
    store: ObjectStore, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_stamps, "MOST_OBJECTS", 1)
    place = store.bucket(bucket, {"a.mp4": b"one", "b.mp4": b"two"})
    begin(tmp_path / "out", [f"{place}/a.mp4", f"{place}/b.mp4"])
    assert pq.read_table(tmp_path / "out" / "_list.parquet").column("size").to_pylist() == [None, None]


def test_a_storage_that_refuses_is_not_asked_for_each_of_thousands(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def refuse(address: str) -> None:
        asked.append(address)
        raise StorageError("nobody answers", subject=address)

    monkeypatch.setattr(objects, "stamp", refuse)
    assert objects.stamps(f"s3://bucket/{number}.mp4" for number in range(5000)) == {}
    assert 0 < len(asked) < 100


def test_a_list_of_an_earlier_version_tells_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"one")
    names = [f"{tmp_path}/a.mp4"]
    begin(tmp_path / "out", names)
    file = tmp_path / "out" / "_list.parquet"
    pq.write_table(pq.read_table(file).select(["path", "path_bytes"]), file)
    (tmp_path / "a.mp4").write_bytes(b"another")
    assert begin(tmp_path / "out", names).changes is None
    file.write_bytes(b"rubbish")
    assert begin(tmp_path / "out", names).changes is None
