"""The report's file: what is kept of a job that ends early, what is refused, and strips that stay small."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from reportrecords import SEGMENTS, classified, failed, strip, write_five

from videomae_cli.errors import OutputError
from videomae_cli.pictures.hues import label_colour
from videomae_cli.pictures.strip import MOST_BYTES, make_strip
from videomae_cli.report import ReportWriter, is_report
from videomae_cli.report.entries import make_entry

RECORDS = [classified(0, "a.mp4", ("x", 0.5)), failed(1, "b.mp4"), classified(2, "c.mp4", ("y", 0.5))]


def entries(page: Path) -> list[dict[str, object]]:
    text = page.read_text(encoding="utf-8")
    found: list[dict[str, object]] = json.loads(text.split('id="data">')[1].split("</script>")[0])["entries"]
    return found


def pictures(page: Path) -> list[int]:
    """The places that have a strip."""
    return [place for place in range(9) if f'id="p{place}"' in page.read_text(encoding="utf-8")]


def interrupted(folder: Path, count: int) -> Path:
    """What a job keeps that ended after so many of RECORDS."""
    kept = folder / "kept.jsonl"
    with contextlib.suppress(KeyboardInterrupt), ReportWriter(folder / "r.html", title="t", about="a") as report:
        report.begin(kept, [])
        for record in RECORDS[:count]:
            report.add(record, strip())
        raise KeyboardInterrupt
    assert not (folder / "r.html").exists()
    return kept


@pytest.mark.parametrize("damage", ["none", "torn", "garbage"])
@pytest.mark.parametrize(("count", "done"), [(0, 0), (3, 3), (3, 1), (1, 3), (2, 0)])
def test_a_job_goes_on_with_what_belongs_to_its_records(tmp_path: Path, count: int, done: int, damage: str) -> None:
    """More than the journal has is cut; less is told without pictures; and the rest follows."""
    kept = interrupted(tmp_path, count)
    if damage == "torn":
        kept.write_bytes(kept.read_bytes()[:-30])
    elif damage == "garbage":
        kept.write_bytes(kept.read_bytes() + b"\0\xff{}\n[]\n")
    with ReportWriter(tmp_path / "r.html", title="t", about="a") as report:
        report.begin(kept, RECORDS[:done])
        for record in RECORDS[done:]:
            report.add(record, strip())
    assert entries(tmp_path / "r.html") == [make_entry(record, None, None) for record in RECORDS]
    good = max(0, count - 1) if damage == "torn" else count
    assert pictures(tmp_path / "r.html") == [place for place in range(3) if place >= done or place < good]


def test_entries_of_another_job_are_not_taken(tmp_path: Path) -> None:
    kept = interrupted(tmp_path, 3)
    others = [{**record, "fingerprint": "f" * 16} for record in RECORDS]
    with ReportWriter(tmp_path / "r.html", title="t", about="a") as report:
        report.begin(kept, others[:2])
        report.add(others[2], strip())
    assert pictures(tmp_path / "r.html") == [2]


def test_killed_and_gone_on_with_the_page_is_the_same_to_the_byte(tmp_path: Path) -> None:
    kept = interrupted(tmp_path, 2)
    with ReportWriter(tmp_path / "r.html", title="t", about="a") as report:
        report.begin(kept, RECORDS[:2])
        report.add(RECORDS[2], strip())
    with ReportWriter(tmp_path / "whole.html", title="t", about="a") as report:
        for record in RECORDS:
            report.add(record, strip())
    assert (tmp_path / "r.html").read_bytes() == (tmp_path / "whole.html").read_bytes()


def test_nothing_is_left_beside_the_page(tmp_path: Path) -> None:
    write_five(tmp_path / "r.html")
    with contextlib.suppress(ValueError), ReportWriter(tmp_path / "no.html", title="t", about="a") as report:
        report.add(RECORDS[0])
        raise ValueError("stop")
    assert [file.name for file in tmp_path.iterdir()] == ["r.html"]
    assert is_report(tmp_path / "r.html")


def test_what_is_there_is_not_replaced_unasked(tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    page.write_text("mine")
    with pytest.raises(OutputError, match="overwrite=True replaces it"), ReportWriter(page, title="t", about="a"):
        pass
    assert page.read_text() == "mine"
    assert not is_report(page)
    with ReportWriter(page, title="t", about="a", overwrite=True) as report:
        report.add(RECORDS[0])
    assert is_report(page)
    for place in (tmp_path, tmp_path / "no" / "r.html", page / "r.html"):
        with pytest.raises(OutputError), ReportWriter(place, title="t", about="a"):
            pass


def test_colours_are_those_of_charts_whichever_file_a_label_is_in(tmp_path: Path) -> None:
    """Of segments, of predictions, of what an interrupted run kept, and of what knows only a name."""
    kept = interrupted(tmp_path, 1)
    named = [{**segment, "label_id": 40} for segment in SEGMENTS if segment["label"] == "zoom in"]
    with ReportWriter(tmp_path / "r.html", title="t", about="a") as report:
        report.begin(kept, RECORDS[:1])
        report.add(classified(1, "b.mp4", ("__proto__", 0.5), ("y", 0.3)), segments=[*named, *SEGMENTS])
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    colours = dict(json.loads(text.split('id="data">')[1].split("</script>")[0])["colours"])
    assert sorted(colours) == ["__proto__", "pan left", "x", "y", "zoom in"]
    assert colours["zoom in"] == [label_colour(40), label_colour(40, dark=True)]
    assert colours["__proto__"][0] == label_colour(0) != colours["x"][0], "both are the first of a model"
    assert len({light for light, _ in colours.values()}) == 5


def test_entries_say_what_is_known() -> None:
    entry = make_entry(failed(1, "b.mp4"), None, None)
    assert entry == {"index": 1, "path": "b.mp4", "error": ["decode", "no frame can be decoded"]}
    timed = make_entry(classified(0, "a.mp4"), SEGMENTS, 5.0)
    assert (timed["duration"], timed["share"]) == (5.0, 1)
    assert timed["labels"] == [["zoom in", 0.625], ["pan left", 0.25]]
    assert make_entry({**classified(0, "a.mp4"), "segments": SEGMENTS}, None, None)["timeline"] == timed["timeline"]


@pytest.mark.parametrize(
    ("height", "width", "count"), [(224, 224, 16), (240, 320, 3), (64, 64, 8), (2, 900, 8), (1, 1, 1)]
)
def test_strips_are_small_whatever_is_in_them(height: int, width: int, count: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)
    made = make_strip(list(noise))
    assert made is not None
    assert len(made) <= MOST_BYTES
    with Image.open(io.BytesIO(made)) as picture:
        assert picture.format == "WEBP"
    assert make_strip([]) is None


@pytest.mark.parametrize(("side", "tall"), [(32, 96), (16, 96), (40, 80), (64, 64), (224, 96)])
def test_small_frames_are_enlarged_by_a_whole_factor(side: int, tall: int) -> None:
    checks = np.zeros((side, side, 3), np.uint8)
    checks[:, ::2] = 255
    made = make_strip([checks])
    assert made is not None
    with Image.open(io.BytesIO(made)) as picture:
        assert picture.size == (tall, tall)
        levels = np.asarray(picture.convert("L")).astype(int)
    if side < 64:
        middles = levels[:, tall // side // 2 :: tall // side]
        assert middles[:, ::2].min() > 200 > 60 > middles[:, 1::2].max(), "no grey between black and white"


def test_strips_show_the_first_and_the_last_frame_in_order() -> None:
    made = make_strip([np.full((96, 96, 3), 10 * number, np.uint8) for number in range(22)])
    assert made is not None
    with Image.open(io.BytesIO(made)) as picture:
        shades = [np.asarray(picture)[48, 48 + 98 * place].mean() for place in range(8)]
    assert shades == pytest.approx([0, 30, 60, 90, 120, 150, 180, 210], abs=4)
