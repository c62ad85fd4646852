"""Videos in object storage: found, brought, decoded, and gone from this disk; results and errors speak of the address."""

from __future__ import annotations

import errno
import io
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from objectstore import ObjectStore, closed_port

from videomae_cli.errors import MachineError, NotAVideoError, OptionError, VideoFetchError, VideoNotFoundError
from videomae_cli.video import ClipRequest, DecodedVideo, Decoder, Filter, SamplingSpec, fetching, find_videos

Films = Callable[[str], Path]
FOUR = SamplingSpec(frames=4, family="uniform")


def names(*arguments: str, recursive: bool = True, include: str | None = None, exclude: str | None = None) -> list[str]:
    only = Filter((include,) if include else (), (exclude,) if exclude else ())
    return [
        video.path + "!" * (video.error is not None)
        for video in find_videos(arguments, recursive=recursive, only=only, addresses=True)
    ]


@pytest.fixture
def clips(store: ObjectStore, bucket: str) -> str:
    """The address of a folder; nothing in it is a video."""
    listed = ("b.mp4", "a.MKV", "notes.txt", "sub/c.webm", "sub/deep/d.mp4", "sub/raw/e.mp4", "sub/raw/f.dat", ".g.mp4")
    return store.bucket(bucket, {f"clips/{name}": b"x" for name in listed}) + "/clips"


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where copies are kept."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.mark.parametrize(
    ("below", "expected"),
    [
        ("", ["a.MKV", "b.mp4", "sub/c.webm", "sub/deep/d.mp4", "sub/raw/e.mp4"]),
        ("/", ["a.MKV", "b.mp4", "sub/c.webm", "sub/deep/d.mp4", "sub/raw/e.mp4"]),
        ("/sub/raw", ["sub/raw/e.mp4"]),
        ("/*.mp4", ["b.mp4"]),
        ("/**/*.mp4", ["b.mp4", "sub/deep/d.mp4", "sub/raw/e.mp4"]),
        ("/sub/raw/*.dat", ["sub/raw/f.dat"]),
        ("/sub/*", ["sub/c.webm", "sub/deep/d.mp4", "sub/raw/e.mp4"]),
        ("/notes.txt", ["notes.txt"]),
        ("/gone.mp4", ["gone.mp4"]),
        ("/gone", ["gone!"]),
        ("/gone/", ["gone/!"]),
        ("/*.mov", ["*.mov!"]),
    ],
)
def test_folders_and_patterns(clips: str, below: str, expected: list[str]) -> None:
    assert names(clips + below) == [f"{clips}/{name}" for name in expected]


def test_what_is_below_a_folder_has_a_name_without_bucket_and_options(clips: str, store: ObjectStore) -> None:
    options = f"?endpoint_override={store.url.removeprefix('http://')}&scheme=http"
    for given in (f"{clips}/sub/raw", f"{clips}/sub/raw/", f"{clips}/sub/raw/{options}", f"{clips}/sub/raw/*{options}"):
        assert [video.name for video in find_videos([given], addresses=True)] == ["e.mp4"]
    assert [video.name for video in find_videos([f"{clips}/b.mp4{options}"], addresses=True)] == [f"{clips}/b.mp4"]


def test_filters_and_duplicates(clips: str, store: ObjectStore, bucket: str) -> None:
    def found(*arguments: str, **options: Any) -> list[str]:
        return [path.removeprefix(f"{clips}/") for path in names(*arguments, **options)]

    assert found(clips, recursive=False) == ["a.MKV", "b.mp4"]
    assert found(clips, include="*.dat") == ["sub/raw/f.dat"]
    assert found(clips, exclude="raw") == ["a.MKV", "b.mp4", "sub/c.webm", "sub/deep/d.mp4"]
    assert found(f"{clips}/b.mp4", exclude="b.*") == []
    assert found(f"{clips}/b.mp4", clips, f"s3a://{bucket}/clips/b.mp4")[:2] == ["b.mp4", "a.MKV"]
    assert len(names(clips, clips + "/", f"s3a://{bucket}/clips")) == 5
    store.put(bucket, "clips/[b].mp4", b"x")
    assert found(f"{clips}/[b].mp4") == ["[b].mp4"]  # what is there is no pattern


def test_clips_that_need_a_disk_get_a_line(store: ObjectStore, bucket: str) -> None:
    names = ("frames/1.jpg", "frames/2.jpg", "shards/a.tar", "text/a.txt")
    folder = store.bucket(bucket, dict.fromkeys(names, b"x"))
    for name, said in {
        "shards/a.tar": "archives are read on a disk, not in object storage: download .* first",
        "frames/": "no video files in folder .*, and its pictures are read on a disk only: download them first",
        "frames": "and its pictures are read on a disk only",
        "shards/": "and its archives are read on a disk only",
        "text/": "no video files in folder '[^']*'$",
    }.items():
        (found,) = find_videos([f"{folder}/{name}"], addresses=True)
        with pytest.raises(VideoNotFoundError, match=said):
            raise found.error or AssertionError


def test_one_object_costs_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(address: object) -> None:
        raise AssertionError(f"a server was asked about {address}")

    monkeypatch.setattr("videomae_cli.storage.objects.store_of", asked)
    monkeypatch.setattr("videomae_cli.storage.listing.store_of", asked)
    assert names("s3://bucket/a.mp4", "gs://bucket/b.mkv") == ["s3://bucket/a.mp4", "gs://bucket/b.mkv"]


def test_only_who_can_read_addresses_gets_them(clips: str) -> None:
    (video,) = find_videos([f"{clips}/b.mp4"])
    assert isinstance(video.error, VideoNotFoundError)
    assert "is an address, not a file: download it first" in str(video.error)
    (video,) = find_videos(["https://example.com/a.mp4"], addresses=True)
    assert "is an address, not a file: download it first" in str(video.error)


def test_lists_in_a_bucket(clips: str, store: ObjectStore, bucket: str, tmp_path: Path) -> None:
    store.put(bucket, "lists/names.txt", f"{clips}/b.mp4\n{clips}/*.mp4\n{clips}/sub/\n{clips}/noending\n".encode())
    assert names(f"@s3://{bucket}/lists/names.txt") == [
        *(f"{clips}/{name}" for name in ("b.mp4", "*.mp4", "sub/c.webm", "sub/deep/d.mp4", "sub/raw/e.mp4", "noending"))
    ]
    table = tmp_path / "table"
    pq.write_table(pa.table({"path": [f"{clips}/b.mp4", None, "local.mp4"]}), table)
    store.put(bucket, "lists/table", table)
    assert names(f"@s3://{bucket}/lists/table") == [f"{clips}/b.mp4", "local.mp4!"]
    with pytest.raises(OptionError, match=r"can't read the list: there is no 's3://.*gone.txt'"):
        names(f"@s3://{bucket}/gone.txt")


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"path": ["b", "a", "b", "", None], "uri": ["x"] * 5}, ["b!", "a!"]),
        ({"label": ["l"], "uri": ["a"]}, ["a!"]),
        ({"size": [1], "whatever": ["a"]}, ["a!"]),
        ({"path": ["caf\ufffd"], "path_bytes": ["Y2Fm6Q=="]}, ["caf\udce9!"]),
        ({"path": ["a", "b"], "path_bytes": [None, None]}, ["a!", "b!"]),
        ({"path": pa.array(["a", "b", "a"]).dictionary_encode()}, ["a!", "b!"]),
        ({"path": pa.array(["a"], pa.large_string())}, ["a!"]),
        ({"path": pa.array([], pa.string())}, []),
    ],
)
def test_tables_of_names(tmp_path: Path, columns: dict[str, object], expected: list[str]) -> None:
    table = tmp_path / "any name.txt"
    pq.write_table(pa.table(columns), table, row_group_size=1)
    assert names(f"@{table}") == expected


def test_tables_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": ["x"], "b": ["y"], "path": [1]}), table)
    with pytest.raises(OptionError, match=r"t.parquet': it has no column path \(its columns: a, b, path\)"):
        names(f"@{table}")
    table.write_bytes(table.read_bytes()[:50])
    with pytest.raises(OptionError, match=r"can't read the list .*t.parquet': it is damaged"):
        names(f"@{table}")
    sink = io.BytesIO()
    pq.write_table(pa.table({"path": ["a.mp4"]}), sink)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(sink.getvalue())))
    assert names("-") == ["a.mp4!"]


@pytest.mark.parametrize("isolate", [True, False])
@pytest.mark.parametrize("scheme", ["s3", "memory", "file"])
def test_a_video_from_a_storage_is_the_local_one(
    film: Films, store: ObjectStore, bucket: str, scratch: Path, scheme: str, isolate: bool
) -> None:
    file, cut = film("h264.mp4"), film("h264.mp4").read_bytes()[:3000]
    if scheme == "s3":
        folder = store.bucket(bucket, {"a b.mp4": file, "cut.mp4": cut})
    elif scheme == "file":
        folder = f"file://{scratch.parent}"
        (scratch.parent / "a b.mp4").write_bytes(file.read_bytes())
        (scratch.parent / "cut.mp4").write_bytes(cut)
    else:
        import fsspec

        folder = f"memory://{bucket}"
        fsspec.filesystem("memory").pipe({f"/{bucket}/a b.mp4": file.read_bytes(), f"/{bucket}/cut.mp4": cut})
    address = f"{folder}/a b.mp4"
    with Decoder(timeout=60, isolate=isolate) as decoder:
        local, video = (decoder.decode(ClipRequest(path, FOUR)) for path in (file, address))
        with pytest.raises(NotAVideoError) as caught:
            decoder.decode(ClipRequest(f"{folder}/cut.mp4", FOUR))
        with pytest.raises(VideoNotFoundError, match=r"there is no '.*gone.mp4'"):
            decoder.decode(ClipRequest(f"{folder}/gone.mp4", FOUR))
    assert video.info.path == address
    assert (video.plan, video.timestamps, video.warnings) == (local.plan, local.timestamps, local.warnings)
    np.testing.assert_array_equal(video.frames, local.frames)
    assert "videomae-" not in str(caught.value)
    assert list(scratch.iterdir()) == []


def test_what_can_not_be_fetched(store: ObjectStore, bucket: str, film: Films) -> None:
    locked = store.bucket(bucket, {"a.mp4": film("h264.mp4")}) + "/a.mp4"
    store.lock(bucket)
    down = f"s3://bucket/a.mp4?endpoint_override=127.0.0.1:{closed_port()}&scheme=http"
    with Decoder(timeout=60) as decoder:
        for address, message in ((locked, "no permission for"), (down, "can't reach the server of")):
            with pytest.raises(VideoFetchError, match=message):
                decoder.decode(ClipRequest(address, FOUR))


def test_many_are_fetched_ahead_in_order_and_few_lie_on_the_disk(
    film: Films, store: ObjectStore, bucket: str, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = store.bucket(bucket, {f"{number}.mp4": film("h264.mp4") for number in range(12)})
    most = 0
    really = fetching.local_copy

    def watched(address: str, **options: object) -> object:
        nonlocal most
        most = max(most, len(list(scratch.iterdir())))
        return really(address, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(fetching, "local_copy", watched)
    paths = [str(film("h264.mp4")) if number == 5 else f"{folder}/{number}.mp4" for number in range(14)]
    with Decoder(timeout=60, workers=2) as decoder:
        outcomes = list(decoder.decode_all([ClipRequest(path, FOUR) for path in paths], ahead=20))
    assert [request.path for request, _ in outcomes] == paths
    assert [type(outcome) for _, outcome in outcomes] == [DecodedVideo] * 12 + [VideoNotFoundError] * 2
    assert 2 <= most <= 6  # two that are decoded, four on their way
    assert list(scratch.iterdir()) == []


def test_who_stops_half_way_leaves_no_copies(film: Films, store: ObjectStore, bucket: str, scratch: Path) -> None:
    folder = store.bucket(bucket, {f"{number}.mp4": film("h264.mp4") for number in range(8)})
    with Decoder(timeout=60) as decoder:
        going = decoder.decode_all([ClipRequest(f"{folder}/{number}.mp4", FOUR) for number in range(8)], ahead=8)
        next(going)
        going.close()
    until = time.monotonic() + 300
    while list(scratch.iterdir()) and time.monotonic() < until:
        time.sleep(0.05)
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("room", [1, 2])
def test_with_room_for_few_copies_all_are_decoded(
    film: Films, store: ObjectStore, bucket: str, scratch: Path, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = store.bucket(bucket, {f"{number}.mp4": film("h264.mp4") for number in range(6)})
    really = fetching.local_copy

    @contextmanager
    def cramped(address: str, **options: object) -> Iterator[Path]:
        if len(list(scratch.iterdir())) >= room:
            raise MachineError("can't keep a copy: No space left on device")
        with really(address, **options) as copy:  # type: ignore[arg-type]
            yield copy

    monkeypatch.setattr(fetching, "local_copy", cramped)
    with Decoder(timeout=60) as decoder:
        outcomes = list(
            decoder.decode_all([ClipRequest(f"{folder}/{number}.mp4", FOUR) for number in range(6)], ahead=5)
        )
    assert [type(outcome) for _, outcome in outcomes] == [DecodedVideo] * 6
    assert list(scratch.iterdir()) == []


def test_without_room_for_one_copy_the_job_stops(
    film: Films, store: ObjectStore, bucket: str, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = store.bucket(bucket, {f"{number}.mp4": film("h264.mp4") for number in range(3)})

    def full(*arguments: object, **options: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("videomae_cli.storage.objects.scratch_folder", full)
    with Decoder(timeout=60) as decoder, pytest.raises(MachineError, match="TMPDIR names another folder"):
        list(decoder.decode_all([ClipRequest(f"{folder}/{number}.mp4", FOUR) for number in range(3)]))
