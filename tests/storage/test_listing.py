"""Addresses, folders and patterns: the rules of a disk, in a bucket."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from objectstore import ObjectStore, closed_port

from videomae_cli.errors import DependencyError, MachineError, ObjectNotFoundError, StorageError
from videomae_cli.storage import Address, files_below, is_address, local_copy, look, matching, without_options

NAMES = (
    "b.mp4",
    "a.MKV",
    "notes.txt",
    "sub/c.webm",
    "sub/deep/d.mp4",
    "sub/raw/e.mp4",
    "sub-2/f.mp4",
    ".hidden/g.mp4",
    "sub/.h.mp4",
    "odd #1 50%.mp4",
)
BELOW = [
    "a.MKV",
    "b.mp4",
    "notes.txt",
    "odd #1 50%.mp4",
    "sub/c.webm",
    "sub/deep/d.mp4",
    "sub/raw/e.mp4",
    "sub-2/f.mp4",
]


@pytest.fixture
def folder(store: ObjectStore, bucket: str) -> str:
    return store.bucket(bucket, {f"clips/{name}": b"x" for name in NAMES}) + "/clips"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://bucket/a.mp4", True),
        ("S3A://bucket/a.mp4", True),
        ("gs://bucket/a.mp4", True),
        ("abfs://c@account.dfs.core.windows.net/a.mp4", True),
        ("hdfs://node:8020/a.mp4", True),
        ("file:///a.mp4", True),
        ("memory://a.mp4", True),
        ("hf://datasets/a/b/c.mp4", True),
        ("http://example.com/a.mp4", False),
        ("https://example.com/a.mp4", False),
        ("rtsp://camera/stream", False),
        ("udp://239.0.0.1:1234", False),
        ("nonsense://a/b", False),
        ("clips/a.mp4", False),
        ("a:b.mp4", False),
        ("dir/s3://bucket", False),
        ("://", False),
    ],
)
def test_what_is_an_address(text: str, expected: bool) -> None:
    assert is_address(text) is expected


@pytest.mark.parametrize(
    ("text", "parts", "plain"),
    [
        ("s3://b/a/c.mp4", ("s3", "b", "a/c.mp4", ""), "s3://b/a/c.mp4"),
        ("s3://b", ("s3", "b", "", ""), "s3://b"),
        ("s3://b/what?.mp4", ("s3", "b", "what?.mp4", ""), "s3://b/what?.mp4"),
        ("s3://b/*.mp4?scheme=http&region=x", ("s3", "b", "*.mp4", "scheme=http&region=x"), "s3://b/*.mp4"),
        ("s3://b?region=x", ("s3", "b", "", "region=x"), "s3://b"),
        ("file:///a%20b.mp4", ("file", "", "a%20b.mp4", ""), "file:///a%20b.mp4"),
    ],
)
def test_the_parts_of_an_address(text: str, parts: tuple[str, str, str, str], plain: str) -> None:
    address = Address.parse(text)
    assert (address.scheme, address.authority, address.path, address.options) == parts
    assert str(address) == text
    assert without_options(text) == plain


def test_a_folder_is_walked_as_on_a_disk(folder: str, tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for root in (folder, folder + "/", f"file://{tmp_path}"):
        found = list(files_below(root))
        assert [address.removeprefix(root.rstrip("/") + "/") for address in found] == BELOW
        top = list(files_below(root, recursive=False))
        assert [address.rpartition("/")[2] for address in top] == [name for name in BELOW if "/" not in name]
    assert list(files_below(folder, enters=lambda below: not below.endswith("/sub"))) == [
        f"{folder}/{name}" for name in BELOW if not name.startswith("sub/")
    ]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.mp4", ["b.mp4", "odd #1 50%.mp4"]),
        ("?.mp4", ["b.mp4"]),
        ("*", ["a.MKV", "b.mp4", "notes.txt", "odd #1 50%.mp4", "sub/", "sub-2/"]),
        ("*/", ["sub/", "sub-2/"]),
        ("sub/*/*.mp4", ["sub/deep/d.mp4", "sub/raw/e.mp4"]),
        ("**/*.mp4", ["b.mp4", "odd #1 50%.mp4", "sub/deep/d.mp4", "sub/raw/e.mp4", "sub-2/f.mp4"]),
        ("s*/**/[de].mp4", ["sub/deep/d.mp4", "sub/raw/e.mp4"]),
        ("sub/**", ["sub/c.webm", "sub/deep/", "sub/deep/d.mp4", "sub/raw/", "sub/raw/e.mp4"]),
        (".hid*/*", [".hidden/g.mp4"]),
        ("none/*.mp4", []),
        ("*.mov", []),
    ],
)
def test_patterns(folder: str, pattern: str, expected: list[str]) -> None:
    found = [entry.address.removeprefix(f"{folder}/") + "/" * entry.folder for entry in matching(f"{folder}/{pattern}")]
    assert found == expected


@pytest.mark.parametrize(("folders", "each", "worth"), [(2, 3, 100), (18, 3, 100), (18, 3, 3)])
def test_many_folders_are_listed_in_order(
    store: ObjectStore, bucket: str, monkeypatch: pytest.MonkeyPatch, folders: int, each: int, worth: int
) -> None:
    """By a list of each folder, or by one long list if the folders hold less than is worth a list."""
    monkeypatch.setattr("videomae_cli.storage.listing._WORTH", worth)
    keys = [f"clips/{folder:02}/{'ab'[file % 2]}/{file:03}.mp4" for folder in range(folders) for file in range(each)]
    keys += [
        "clips/00.mp4",
        "clips/05",
        "clips/05.mp4",
        "clips/05-x/1.mp4",
        "clips/zz.mp4",
        "clips/.x/1.mp4",
        "clips/7//1.mp4",
    ]
    address = store.bucket(bucket)
    for key in keys:
        store.put(bucket, key, b"")
    wanted = sorted(key.removeprefix("clips/").split("/") for key in keys if "/.x/" not in key)
    below = list(files_below(f"{address}/clips"))
    assert below == [f"{address}/clips/{'/'.join(parts)}" for parts in wanted]
    left = files_below(f"{address}/clips/", enters=lambda folder: not folder.endswith(("/01", "/a")))
    assert list(left) == [name for name in below if "/01/" not in name and "/a/" not in name]


def test_options_stay_with_what_is_found(folder: str, store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    options = f"?endpoint_override={store.url.removeprefix('http://')}&scheme=http"
    assert list(files_below(f"{folder}/sub-2/{options}")) == [f"{folder}/sub-2/f.mp4{options}"]
    assert [entry.address for entry in matching(f"{folder}/b*{options}")] == [f"{folder}/b.mp4{options}"]
    assert look(f"{folder}/b.mp4{options}") == "file"


def test_what_is_where(folder: str) -> None:
    assert [look(f"{folder}{name}") for name in ("", "/", "/sub", "/b.mp4", "/c.mp4")] == [
        "folder",
        "folder",
        "folder",
        "file",
        None,
    ]


def test_what_can_not_be_listed(store: ObjectStore, folder: str, bucket: str) -> None:
    with pytest.raises(ObjectNotFoundError, match=r"there is no 's3://.*/clips/none'"):
        list(files_below(f"{folder}/none"))
    with pytest.raises(ObjectNotFoundError, match="there is no bucket 'no-such-bucket'"):
        list(files_below("s3://no-such-bucket/clips"))
    with pytest.raises(StorageError, match="can't choose the bucket"):
        matching("s3://*/clips")
    with pytest.raises(StorageError, match="unknown option 'nonsense'"):
        list(files_below(f"{folder}?nonsense=1"))
    with pytest.raises(StorageError, match="AWS_ACCESS_KEY_ID"):
        list(files_below(f"s3://key:secret@{bucket}/clips"))
    store.lock(bucket)
    with pytest.raises(StorageError, match=r"no permission for .*AWS_PROFILE.*anonymous=true"):
        look(f"{folder}/b.mp4")


def test_a_server_that_is_down(bucket: str) -> None:
    with pytest.raises(StorageError, match="can't reach the server of 's3://bucket/clips"):
        list(files_below(f"s3://bucket/clips?endpoint_override=127.0.0.1:{closed_port()}&scheme=http&region=x"))


def test_a_package_that_is_not_there() -> None:
    with pytest.raises(DependencyError, match=r"adl:// needs another package"):
        look("adl://store/a.mp4")


@pytest.mark.parametrize("size", [0, 10, 3 * 1000])
def test_a_copy_is_whole_and_goes_away(
    store: ObjectStore, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("videomae_cli.storage.objects.CHUNK_BYTES", 1000)
    content = bytes(range(256)) * 12
    address = store.bucket(bucket, {"a b.mp4": content[:size]}) + "/a b.mp4"
    with local_copy(address) as copy:
        assert copy.read_bytes() == content[:size]
        assert (copy.suffix, copy.parent.parent) == (".mp4", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_copy_that_is_broken_off_goes_away(
    store: ObjectStore, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("videomae_cli.storage.objects.CHUNK_BYTES", 1000)
    address = store.bucket(bucket, {"a.mp4": b"x" * 3000}) + "/a.mp4"
    with pytest.raises(StorageError, match="cut off: 0 of 3000 bytes"), local_copy(address, stopped=lambda: True):
        pass
    with pytest.raises(ObjectNotFoundError), local_copy(address.replace("a.mp4", "b.mp4")):
        pass
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(MachineError, match="TMPDIR"), local_copy(address):
        pass


def test_nothing_is_imported_before_an_address_is_used() -> None:
    program = """
import sys
from videomae_cli.storage import Address, is_address
from videomae_cli.storage.folders import Folder
assert is_address("s3://bucket/a") and not is_address("a.mp4")
Folder("s3://bucket/a"), Address.parse("s3://b/a")
print([name for name in ("pyarrow", "fsspec", "numpy") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
