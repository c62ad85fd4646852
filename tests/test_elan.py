"""Where an ELAN document says its video is: read as ELAN reads it, without decoding, from the document's own folder."""

from __future__ import annotations

import os
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from videomae_cli.results import path_fields
from videomae_cli.writers.elan import eaf, media_url, relative_url


def media_of(path: str, folder: Path | None) -> dict[str, str]:
    record: dict[str, Any] = {**path_fields(path), "multi_label": False, "segments": []}
    descriptor = ET.fromstring(eaf(record, folder)).find("HEADER/MEDIA_DESCRIPTOR")
    assert descriptor is not None
    return dict(descriptor.attrib)


@pytest.mark.parametrize(
    "labels",
    [
        ["a", "a"],
        ["a scores", "a"],
        ["a", "a scores"],
        ["a (2)", "a", "a"],
        ["a (1)", "a", "a (1) scores", "a"],
        ["\0", "-"],
    ],
)
def test_every_tier_has_a_name_of_its_own(labels: list[str]) -> None:
    segments = [
        {"start": 0.0, "end": 1.0, "label": label, "label_id": number, "score": 0.5}
        for number, label in enumerate(labels)
    ]
    root = ET.fromstring(eaf({"path": "a.mp4", "multi_label": True, "segments": segments}))
    names = [tier.get("TIER_ID") for tier in root.iter("TIER")]
    assert len(set(names)) == len(names) == 2 * len(labels)


@pytest.mark.parametrize(
    "name", ["a.mp4", "two words.mp4", "take #3 50%20 100%.mp4", "größe 滑雪.mp4", "a&b <c> 'd'.mp4"]
)
@pytest.mark.parametrize("place", [".", "ann", "ann/deep", "films", "films/ann"])
def test_a_document_finds_its_video_wherever_it_lies(tmp_path: Path, name: str, place: str) -> None:
    film, folder = tmp_path / "films" / name, tmp_path / place
    film.parent.mkdir()
    folder.mkdir(parents=True, exist_ok=True)
    film.write_bytes(b"x")
    media = media_of(str(film), folder)
    assert media["RELATIVE_MEDIA_URL"].startswith(("./", "../"))
    assert (folder / media["RELATIVE_MEDIA_URL"]).samefile(film)
    assert Path(media["MEDIA_URL"].removeprefix("file://")).samefile(film)


def test_names_typed_relatively(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clips").mkdir()
    monkeypatch.chdir(tmp_path)
    assert media_of("clips/a.mp4", Path("ann"))["RELATIVE_MEDIA_URL"] == "../clips/a.mp4"
    assert media_of("clips/../a.mp4", Path())["RELATIVE_MEDIA_URL"] == "./a.mp4"
    # Nobody knows where what goes to standard output is kept.
    assert "RELATIVE_MEDIA_URL" not in media_of("clips/a.mp4", None)


def test_a_linked_folder_is_left_the_way_the_system_does(tmp_path: Path) -> None:
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "ann").symlink_to(tmp_path / "far" / "away")
    (tmp_path / "real.mp4").write_bytes(b"x")
    (tmp_path / "a.mp4").symlink_to("real.mp4")
    relative = media_of(str(tmp_path / "a.mp4"), tmp_path / "ann")["RELATIVE_MEDIA_URL"]
    assert relative == "../../a.mp4"
    assert (tmp_path / "ann" / relative).samefile(tmp_path / "real.mp4")


@pytest.mark.parametrize(
    ("path", "folder", "relative"),
    [
        (PureWindowsPath(r"C:\clips\a b.mp4"), PureWindowsPath(r"C:\ann"), "../clips/a b.mp4"),
        (PureWindowsPath(r"c:\clips\a.mp4"), PureWindowsPath(r"C:\clips"), "./a.mp4"),
        (PureWindowsPath(r"C:\clips\a.mp4"), PureWindowsPath(r"D:\ann"), None),
        (PureWindowsPath(r"\\nas\films\a.mp4"), PureWindowsPath(r"D:\ann"), None),
        (PureWindowsPath(r"\\nas\films\a.mp4"), PureWindowsPath(r"\\nas\films\ann"), "../a.mp4"),
        (PurePosixPath("/clips/a.mp4"), PurePosixPath("/mnt/ann"), "../../clips/a.mp4"),
        (PurePosixPath("/a.mp4"), PurePosixPath("/"), "./a.mp4"),
    ],
)
def test_ways_from_folder_to_file(path: PurePath, folder: PurePath, relative: str | None) -> None:
    assert relative_url(path, folder) == relative


def test_absolute_names_on_other_systems() -> None:
    assert media_url(PureWindowsPath(r"C:\my clips\a.mp4")) == "file:///C:/my clips/a.mp4"
    assert media_url(PureWindowsPath(r"\\nas\films\a.mp4")) == "file://nas/films/a.mp4"
    assert media_url(PurePosixPath("/clips/a.mp4")) == "file:///clips/a.mp4"


@pytest.mark.parametrize("address", ["https://example.org/a%20b.mp4?x=1&y=2", "rtsp://camera/1", "s3://bucket/a b.mov"])
def test_an_address_is_its_own_url(address: str, tmp_path: Path) -> None:
    media = media_of(address, tmp_path)
    assert media["MEDIA_URL"] == address
    assert "RELATIVE_MEDIA_URL" not in media


@pytest.mark.parametrize("raw", [b"a\xff.mp4", b"a\x01.mp4", b"a\nb.mp4"])
def test_a_name_that_xml_cannot_hold(raw: bytes, tmp_path: Path) -> None:
    media = media_of(str(tmp_path / os.fsdecode(raw)), tmp_path)
    assert media["MEDIA_URL"] == (tmp_path / os.fsdecode(raw)).as_uri()
    assert "RELATIVE_MEDIA_URL" not in media
