"""Datasets in a bucket, from a real S3 server: class folders, tables, and tables that name objects."""

from __future__ import annotations

from pathlib import Path

import pytest
from objectstore import ObjectStore, closed_port

from videomae_cli.datasets import check_dataset, read_dataset, split_dataset, table_columns
from videomae_cli.errors import DatasetError

NAMES = tuple(f"{label}/{name}.mp4" for label in ("high jump", "archery") for name in ("a-clip1", "a-clip2", "b", "c"))


def lay(root: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.mark.parametrize("end", ["", "/"])
def test_class_folders_are_those_of_a_disk(store: ObjectStore, bucket: str, tmp_path: Path, end: str) -> None:
    names = (*NAMES, "archery/deep/er/d.MKV", "archery/notes.txt", ".git/x.mp4")
    disk = read_dataset(str(lay(tmp_path / "data", names)))
    place = store.bucket(bucket, {f"data/{name}": b"" for name in names}) + "/data"
    stored = read_dataset(place + end)
    root = f"{tmp_path / 'data'}"
    assert [e.path.replace(place, root) for e in stored.examples] == [e.path for e in disk.examples]
    assert [e.labels for e in stored.examples] == [e.labels for e in disk.examples]
    assert stored.classes == ("archery", "high jump")
    # The same clips are held out, wherever they lie.
    (_, here, _), (_, there, _) = split_dataset(disk), split_dataset(stored)
    assert here
    assert [e.path.replace(place, root) for e in there] == [e.path for e in here]


def test_parts_of_a_bucket_are_splits(store: ObjectStore, bucket: str) -> None:
    place = store.bucket(bucket, {f"{part}/{label}/1.mp4": b"" for part in ("train", "val") for label in "ab"})
    assert [(e.split, e.labels) for e in read_dataset(place).examples] == [
        *(("train", ("a",)), ("train", ("b",)), ("val", ("a",)), ("val", ("b",))),
    ]
    unlabelled = read_dataset(f"{place}/", labels_required=False)
    assert [e.split for e in unlabelled.examples] == ["train", "train", "val", "val"]


def test_a_table_here_or_there_names_objects(store: ObjectStore, bucket: str, tmp_path: Path) -> None:
    text = f"path,label\nx.mp4,a\nsub/y.mp4,b\ns3://{bucket}/z 1.mp4,b\ns3a://{bucket}/z 1.mp4,c\n{tmp_path}/w.mp4,a\n"
    place = store.bucket(bucket, {"tables/data.csv": text.encode()})
    table = tmp_path / "data.csv"
    table.write_text(text)
    for source, folder in ((str(table), str(tmp_path)), (f"{place}/tables/data.csv", f"{place}/tables")):
        assert table_columns(source) == ("path", "label")
        assert [(e.path, e.labels) for e in read_dataset(source).examples] == [
            *((f"{folder}/x.mp4", ("a",)), (f"{folder}/sub/y.mp4", ("b",)), (f"{place}/z 1.mp4", ("b", "c"))),
            (f"{tmp_path}/w.mp4", ("a",)),
        ]


def test_an_official_list_names_objects(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("s3://clips/a b.mp4 0\ns3://clips/c.mp4 1\n")
    assert [(e.path, e.labels) for e in read_dataset(str(tmp_path / "train.txt")).examples] == [
        *(("s3://clips/a b.mp4", ("0",)), ("s3://clips/c.mp4", ("1",))),
    ]


def test_options_of_an_address_stay_with_every_clip(
    store: ObjectStore, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.bucket(
        bucket,
        {"data/a/1.mp4": b"", "data/a/2.mp4": b"", "data/b/1.mp4": b"", "data/t.csv": b"path,label\na/1.mp4,a\n"},
    )
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    options = f"?endpoint_override={store.url.removeprefix('http://')}&scheme=http"
    folder = read_dataset(f"s3://{bucket}/data{options}")
    assert folder.examples[0].path == f"s3://{bucket}/data/a/1.mp4{options}"
    assert folder.classes == ("a", "b")
    assert read_dataset(f"s3://{bucket}/data/t.csv{options}").examples[0].path == f"s3://{bucket}/data/a/1.mp4{options}"


def test_what_can_not_be_had_is_one_line(store: ObjectStore, bucket: str) -> None:
    place = store.bucket(
        bucket, {"data/a/1.mp4": b"", "data/b/notes.txt": b"", "flat/1.mp4": b"", "t.csv": b"x,y\n1,2\n"}
    )
    down = f"s3://{bucket}/data?endpoint_override=127.0.0.1:{closed_port()}&scheme=http"
    for source, words in (
        (f"{place}/gone/", f"no such folder or table: '{place}/gone/'"),
        (f"{place}/gone.csv", f"no such folder or table: '{place}/gone.csv'"),
        (f"{place}/data", f"the class folder '{place}/data/b' holds no videos: fill it, or remove it"),
        (f"{place}/flat", f"'{place}/flat' holds no class folders"),
        (f"{place}/t.csv", f"can't read {place}/t.csv: it has no column path"),
        ("s3://no-such-bucket/x/", "no-such-bucket"),
        (down, "can't reach the server"),
    ):
        with pytest.raises(DatasetError) as raised:
            read_dataset(source)
        assert words in str(raised.value)
        assert "\n" not in str(raised.value)


def test_doubles_in_a_bucket_are_known_by_content(store: ObjectStore, bucket: str) -> None:
    content = {"a/1": b"one", "a/2": b"two", "b/1": b"six", "b/2": b"four"}
    content |= {"v/a/copy": b"six", "v/a/new": b"ten", "v/b/1": b"other"}
    place = store.bucket(bucket, {f"{name}.mp4": body for name, body in content.items()})
    rows = [
        f"{place}/{name}.mp4,{name.removeprefix('v/')[0]},{'val' if name[0] == 'v' else 'train'}" for name in content
    ]
    store.put(bucket, "data.csv", "\n".join(["path,label,split", *rows]).encode())
    data = read_dataset(f"{place}/data.csv")
    report = check_dataset(data, data.of("train"), data.of("val"), "", decoder=None)
    assert report.doubles == (f"{place}/v/a/copy.mp4",)
