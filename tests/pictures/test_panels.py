"""Panels, sheets, letters and heat: the pixels are where they belong."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from videomae_cli.api import attention_scenes
from videomae_cli.attention import AttentionMaps
from videomae_cli.pictures import lettering
from videomae_cli.pictures.heat import Scale, legend, over_frames
from videomae_cli.pictures.lettering import PAPER, drawable, lettered, width_of, wrapped
from videomae_cli.pictures.panels import Panel, comfortable_scale, contact_sheet, enlarged, side_by_side
from videomae_cli.pictures.scenes import sheet_of


def panel(title: str, value: int, count: int = 6, size: tuple[int, int] = (64, 64)) -> Panel:
    frames = np.full((count, *size, 3), value, np.uint8)
    frames[np.arange(count), 0, 0] = 10 * np.arange(count)[:, None]  # each frame's number, in a corner
    return Panel(title, frames)


def found(picture: np.ndarray, value: int) -> np.ndarray:
    return np.argwhere((picture == value).all(axis=-1))


@pytest.mark.parametrize("size", [(224, 224), (224, 160), (160, 224), (63, 65)])
def test_panels_stand_side_by_side_under_their_titles_on_even_sides(size: tuple[int, int]) -> None:
    panels = [panel("first", 50, size=size), panel("second", 100, size=size), panel("third", 150, size=size)]
    film = side_by_side(panels, caption="a line under it all")
    assert film.shape[0] == 6
    assert film.shape[1] % 2 == film.shape[2] % 2 == 0
    lefts = []
    for number, value in enumerate((50, 100, 150)):
        at = found(film[2], value)
        assert len(at) == size[0] * size[1] - 1
        assert (film[2, at[:, 0].min(), at[:, 1].min()] == 20).all(), "frame 2 is frame 2"
        lefts.append(at[:, 1].min())
        above = film[2, : at[:, 0].min(), at[:, 1].min() : at[:, 1].max()]
        assert (above < 128).any(), f"panel {number} has a title"
    assert lefts == sorted(lefts)
    below = film[2, at[:, 0].max() + 1 :]
    assert (below < 160).any(), "the caption"


def test_rows_of_a_grid_and_the_gap_left_in_the_last() -> None:
    film = side_by_side([panel(str(i), 40 + 20 * i) for i in range(5)], columns=3)
    tops = [found(film[0], 40 + 20 * i)[:, 0].min() for i in range(5)]
    assert tops[0] == tops[1] == tops[2] < tops[3] == tops[4]


def test_a_sheet_has_a_row_a_panel_and_the_frames_in_order() -> None:
    sheet = contact_sheet([panel("a", 60), panel("b", 120)], [0.0, 0.1, 0.2, 0.3, 0.4, 0.5], columns=3, caption="note")
    for value in (60, 120):
        at = found(sheet, value)
        assert len(at) == 3 * (64 * 64 - 1)
        row = sheet[at[:, 0].min()]
        corners = [int(row[x, 0]) for x in range(len(row)) if row[x, 0] in (0, 20, 50) and (row[x] == row[x, 0]).all()]
        assert corners == [0, 20, 50], "frames 0, 2 and 5, from left to right"
    assert found(sheet, 60)[:, 0].max() < found(sheet, 120)[:, 0].min()


def test_small_frames_are_enlarged_and_large_ones_left() -> None:
    assert [comfortable_scale(*size) for size in ((64, 64), (224, 224), (32, 48), (448, 448))] == [4, 1, 5, 1]
    pixels = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
    big = enlarged(pixels, 3)
    assert big.shape == (1, 6, 6, 3)
    assert (big[0, :3, 3:] == pixels[0, 0, 1]).all()


def test_text_keeps_inside_its_width() -> None:
    text = "reconstruction with contrast estimated from visible patches"
    image = lettered([text], width=120, size=16)
    assert image.shape == (22, 120, 3)
    assert (image < 100).any()
    assert (image[:, -1] == PAPER).all()
    lines = wrapped(text, width=150, size=14)
    assert " ".join(lines) == text
    assert all(width_of(line, 14) <= 150 for line in lines)


@pytest.mark.parametrize("width", range(60, 400, 20))
def test_numbers_stay_with_their_units(width: int) -> None:
    text = "mae, tube mask, seed 0. Over hidden patches: PSNR 15.6 dB, SSIM 0.14. Clip 1 of 2, from 3.0 s. 16 frames, 12 heads"
    lines = wrapped(text, width=width, size=13)
    assert " ".join(lines) == text
    for whole in ("seed 0", "PSNR 15.6 dB", "SSIM 0.14", "Clip 1 of 2", "3.0 s", "16 frames", "12 heads"):
        assert any(whole in line for line in lines), whole


@pytest.mark.parametrize("side", [8, 32, 64, 224, 448])
def test_titles_and_times_are_whole_at_every_size(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted: list[str] = []

    def fit(text: str, width: int, size: int) -> tuple[str, int]:
        fitted.append(actual(text, width, size)[0])
        return actual(text, width, size)

    actual = lettering._fitted
    monkeypatch.setattr(lettering, "_fitted", fit)
    titles = ("given to the model", "reconstruction", "head 11")
    panels = [replace(panel(title, 90, size=(side, side)), subtitle="16 frames") for title in titles]
    side_by_side(panels, caption="PSNR 15.6 dB")
    contact_sheet(panels, [100.0 + n for n in range(6)])
    assert {"given to the model", "reconstruction", "16 frames", "100.00 s", "PSNR 15.6 dB"} <= set(fitted)


@pytest.mark.parametrize("heads", [1, 3, 6, 12, 16, 24])
def test_heads_fit_on_a_screen(heads: int) -> None:
    """A sheet is no more than a little higher than wide, and every head is on it, with at least two frames."""
    frames = np.full((16, 24, 24, 3), 128, np.uint8)
    maps = AttentionMaps(maps=torch.ones(heads, 8, 3, 3) / 72, method="last", layers=1, heads=tuple(range(heads)))
    sampled: Any = SimpleNamespace(shown=[frames], seconds=[[0.1] * 16], video=SimpleNamespace(timestamps=[[0.1] * 16]))
    found: Any = SimpleNamespace(maps=[maps], sampled=sampled, model="m")
    scene = attention_scenes._scene(found, 0, maps.maps.numpy(), Scale(0.5, 2.0))
    assert [one.title for one in scene.panels] == ["original", *(f"head {n}" for n in range(heads))]
    assert f"{heads} head{'' if heads == 1 else 's'}. " in scene.caption
    big = [replace(one, frames=enlarged(one.frames, 10)) for one in scene.panels]
    sheet = sheet_of(replace(scene, panels=big))
    assert sheet.shape[0] < 1.2 * sheet.shape[1]
    assert sheet.shape[0] < 2200
    shown = (np.abs(sheet.astype(int) - 255).sum(axis=2) > 60).mean()
    assert shown > 0.6, "most of it are pictures"


def test_the_font_knows_what_it_lacks() -> None:
    assert drawable("Straße, 90 %")
    assert not drawable("滑雪")


def test_heat_lies_where_the_map_is_high_and_when() -> None:
    frames = np.full((4, 32, 32, 3), 128, np.uint8)
    heat = np.full((2, 4, 4), 0.5, np.float32)
    heat[1, 0, 3] = 4.0  # the second half of the clip, top right
    scale = Scale.of(heat)
    drawn = over_frames(frames, heat, scale).astype(int)
    assert drawn[3, 2, 29].sum() > drawn[0, 2, 29].sum() + 150
    assert (drawn[0] == drawn[1]).all()
    assert np.abs(drawn[3, 28, 2] - drawn[0, 28, 2]).max() <= 2


def test_a_map_without_differences_makes_no_pattern() -> None:
    heat = 1 + 0.02 * np.random.default_rng(0).standard_normal((2, 4, 4)).astype(np.float32)
    scale = Scale.of(heat)
    assert float(np.ptp(scale.place(heat))) < 0.2


def test_the_legend_marks_the_average_where_it_is() -> None:
    scale = Scale(0.0, 4.0)
    assert float(scale.place(1.0)) == pytest.approx(0.5)
    drawn = legend(420, scale=scale, size=14)
    bar = drawn[2].astype(int)
    assert bar[0].sum() < bar[209].sum() < bar[418].sum()
    assert (drawn[12:] < 150).any(), "numbers under it"
