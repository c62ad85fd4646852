"""The colours of labels: one for each, the same everywhere, seen on the backgrounds of charts and of both themes."""

import colorsys
import re

import pytest
from PIL import ImageColor

from videomae_cli.pages.document import _asset
from videomae_cli.pictures.hues import label_colour, label_colours, relative_luminance

LABELS = 710  # of Kinetics-700 and more


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, 1 to 21, as WCAG counts it."""
    low, high = sorted(relative_luminance([part / 255 for part in ImageColor.getrgb(c)[:3]]) for c in (one, other))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_what_wcag_says() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("dark", [False, True])
def test_labels_have_colours_of_their_own(dark: bool) -> None:
    colours = [label_colour(number, dark=dark) for number in range(LABELS)]
    assert len(set(colours)) == LABELS
    assert label_colour(None, dark=dark) not in colours


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_colour_is_seen_on_the_page_and_on_its_panels(theme: str) -> None:
    variables = dict(re.findall(r"--(\w+): (#\w{6});", _asset("videomae_cli.pages", f"{theme}.css")))
    assert not [name for name in variables if re.fullmatch(r"g\d+", name)], "labels have their colours from one place"
    backgrounds = [variables["back"], variables["panel"], *(["#ffffff"] if theme == "light" else [])]
    for number in (*range(LABELS), None):
        colour = label_colour(number, dark=theme == "dark")
        for background in backgrounds:
            assert contrast(colour, background) >= 3, (number, colour, background)


def test_a_label_has_the_same_hue_in_both_themes() -> None:
    def hue(colour: str) -> float:
        red, green, blue = ImageColor.getrgb(colour)[:3]
        return float(colorsys.rgb_to_hsv(red, green, blue)[0])

    apart = [abs(hue(label_colour(n)) - hue(label_colour(n, dark=True))) for n in range(LABELS)]
    assert max(min(each, 1 - each) for each in apart) < 0.06


def test_colours_on_a_page_are_those_of_charts() -> None:
    ids = {"pan": 3, "zoom": 0, "tilt": 400}
    found = label_colours(["tilt", "zoom", "pan", "pan"], ids)
    assert found == {name: (label_colour(n), label_colour(n, dark=True)) for name, n in ids.items()}
    assert label_colours(["pan"], ids)["pan"] == found["pan"], "whatever else is on the page"


def test_names_without_a_number_have_a_colour_of_their_own_that_stays() -> None:
    names = [f"folder {number}" for number in range(60)]
    together = label_colours(names, {})
    assert len(set(together.values())) == 60
    alone = [label_colours([name], {})[name] for name in names]
    assert label_colours(reversed(names), {}) == together
    assert len(set(alone)) > 20
    beside = label_colours([names[0], "pan"], {"pan": 3})
    assert beside["pan"][0] == label_colour(3) != beside[names[0]][0]


@pytest.mark.parametrize("number", [-1, True, 1.5, "3", None, 10**400, [1]])
def test_a_number_that_is_none_does_no_harm(number: object) -> None:
    assert label_colours(["a"], {"a": number}) == label_colours(["a"], {})


def test_two_labels_with_one_number_are_told_apart() -> None:
    """Such as those of two models on one page."""
    found = label_colours(["a", "b"], {"a": 5, "b": 5})
    assert found["a"][0] == label_colour(5) != found["b"][0]
