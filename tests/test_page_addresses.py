"""The address of a film as a page beside it names it: whatever the name holds, the browser asks for that file."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

import pytest

from videomae_cli.pages import relative_address

NAMES = [
    "a.mp4",
    "a #1? 50%25.mp4",
    "javascript:x.mp4",
    "..mp4",
    "a\\b.mp4",
    "\u00fc\n.mp4",
    os.fsdecode(b"\xe9.mp4"),
    "</script>\"'",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("page", "folder"), [("r.html", ""), ("r.html", "f"), ("p q/r.html", ""), ("p/r.html", "f/#g")]
)
def test_it_leads_from_the_page_to_the_file(
    name: str, page: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    film = f"{folder}/{name}" if folder else name
    address = relative_address(film, Path(page))
    assert address is not None
    parts = urlsplit(address)
    assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("", "", "", "")
    assert address.startswith(".")
    assert not set(address) & set("<>\"' \n\\")
    led = os.path.normpath(f"{Path(page).parent}/{os.fsdecode(unquote_to_bytes(parts.path))}")
    assert led == os.path.normpath(film)


@pytest.mark.parametrize("path", ["s3://bucket/a.mp4", "gs://bucket/a.mp4"])
def test_an_address_has_none(path: str) -> None:
    assert relative_address(path, Path("r.html")) is None


def test_a_file_on_another_drive_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, start: str) -> str:
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(os.path, "relpath", refuse)
    assert relative_address("D:\\a.mp4", Path("r.html")) is None
