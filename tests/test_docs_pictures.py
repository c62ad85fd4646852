"""The pictures of the README and the pages are what the commands make today, and small."""

from __future__ import annotations

import html
import re
from pathlib import Path

import numpy as np
import pytest
from chromium import find_chromium
from PIL import Image, ImageSequence

from docs.pictures import make

PICTURES = make.HERE
MOST_BYTES = 1_000_000


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "tour.mp4").write_bytes(make.demo_clip().read_bytes())
    return folder


@pytest.fixture(autouse=True)
def _quickly(quick_python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make, "PYTHON", quick_python)


def words_of(svg: Path) -> str:
    """The text of a terminal's picture, without the time that it took."""
    shown = " ".join(re.findall(r"<text[^>]*>(.*?)</text>", svg.read_text(encoding="utf-8")))
    return re.sub(r", \d+\.\d s\b", "", " ".join(html.unescape(shown).replace("\xa0", " ").split()))


def frames_of(file: Path) -> np.ndarray:
    """(N, h, w, 3): every frame, small enough that fonts and encoders of other machines hardly show."""
    with Image.open(file) as picture:
        size = picture.width // 8, picture.height // 8
        return np.stack(
            [np.asarray(f.convert("RGB").resize(size, Image.Resampling.BOX)) for f in ImageSequence.Iterator(picture)]
        ).astype(float)


def assert_alike(made: Path, kept: Path) -> None:
    ours, theirs = frames_of(made), frames_of(kept)
    assert ours.shape == theirs.shape
    assert abs(ours - theirs).mean() < 4, f"{kept.name} is another picture today: python -m docs.pictures.make"


def test_they_are_small() -> None:
    sizes = {file.name: file.stat().st_size for file in PICTURES.iterdir() if file.suffix in (".gif", ".png", ".svg")}
    assert len(sizes) == 10
    assert max(sizes.values()) < MOST_BYTES


def test_the_terminal_shows_what_classify_prints(work: Path) -> None:
    make.terminal_pictures(work, work)
    for name in make.THEMES:
        (made, scores), (kept, earlier) = (
            (re.sub(r"[\d.]+%", "%", text), [float(score) for score in re.findall(r"([\d.]+)%", text)])
            for text in (words_of(folder / f"classify-{name}.svg") for folder in (work, PICTURES))
        )
        assert made == kept
        assert scores == pytest.approx(earlier, abs=0.5)
        assert "url(http" not in (work / f"classify-{name}.svg").read_text(encoding="utf-8")


def test_the_timeline_and_the_reconstruction_are_todays(work: Path) -> None:
    (work / "made").mkdir()
    make.timeline_picture(work / "made", work)
    assert_alike(work / "made" / "timeline.png", PICTURES / "timeline.png")
    make.run(make.RECONSTRUCT, work)
    assert_alike(work / "reconstruction.gif", PICTURES / "reconstruction.gif")


@pytest.mark.skipif(find_chromium() is None, reason="no chromium: apt-get install chromium")
def test_the_pages_are_todays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # In all their colours: picking 256, as for the timeline's picture, takes as long as the pages do.
    monkeypatch.setattr(make, "save_png", lambda picture, file: picture.save(file))
    (tmp_path / "made").mkdir()
    make.pages(tmp_path / "made", tmp_path)
    for file in sorted((tmp_path / "made").iterdir()):
        assert_alike(file, PICTURES / file.name)
