"""The map in a real browser: offline, complete, usable by mouse, keys and fingers, and no name in it is ever markup."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import Browser, find_chromium
from PIL import ImageColor

from videomae_cli.pages import in_script
from videomae_cli.pictures.hues import label_colour
from videomae_cli.search.embedding_table import Row
from videomae_cli.search.page import MAX_GROUPS, Map, folders, write_page
from videomae_cli.video.lists import names_in
from videomae_cli.video.pictures import small_jpeg

needs_browser = pytest.mark.skipif(find_chromium() is None, reason="no chromium: apt-get install chromium")

HOSTILE = [
    "<script>document.title='owned'</script>.mp4",
    "a/<img src=x onerror=\"document.title='owned'\">.mp4",
    "</script><script>document.title='owned'</script>",
    "a/&lt;b&gt;&amp;{{script}}{{data}}.mp4",
    "a/[bold]'\"`${1}.mp4",
    "a/new\nline\u2028\u2029.mp4",
    os.fsdecode(b"a/caf\xe9.mp4"),
    "b/__proto__",
]


def picture(shade: int) -> bytes:
    return small_jpeg(np.full((90, 160, 3), shade, np.uint8), size=80, quality=60)


def write(file: Path, **changes: Any) -> Path:
    """Four points in the corners, two of them with a picture."""
    content: dict[str, Any] = {
        "title": "v.parquet",
        "description": "4 videos, PCA",
        "rows": [Row(f"films/{name}.mp4") for name in ("one", "two", "sub/three", "sub/four")],
        "points": np.array([[-1, 1], [1, 1], [-1, -1], [1, -1]], np.float32),
        "groups": ["near", "near", "far", "near"],
        "group_name": "label",
        "ids": {"far": 3},
        "pictures": [picture(200), None, picture(40), None],
        "neighbours": (np.array([[1, 2], [0, 3], [3, 0], [2, 1]]), np.array([[0.9876, 0.5]] * 4, np.float32)),
    }
    with file.open("wb") as sink:
        write_page(Map(**{**content, **changes}), sink)
    return file


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as running:
        yield running


@dataclass
class Page:
    """The page of `write`, open at 1000 x 700 in light colours."""

    browser: Browser

    def place(self, point: int) -> tuple[float, float]:
        """Where a point is in the window: the map is as wide as its shorter side, less a margin."""
        box = self.browser.run("(({x, y, width, height}) => [x, y, width, height])(map.getBoundingClientRect())")
        x, y = [(-1, 1), (1, 1), (-1, -1), (1, -1)][point]
        reach = min(box[2], box[3]) / 2 - 28
        return box[0] + box[2] / 2 + x * reach, box[1] + box[3] / 2 - y * reach

    def colour(self, point: int) -> list[int]:
        """Red, green, blue and opacity in the middle of a point, as drawn."""
        self.browser.frame()
        x, y = self.place(point)
        found: list[int] = self.browser.run(
            "(b => { const copy = document.createElement('canvas').getContext('2d', {willReadFrequently: true});"
            f"copy.drawImage(map, (b.x - {x}) * devicePixelRatio, (b.y - {y}) * devicePixelRatio);"
            "return [...copy.getImageData(0, 0, 1, 1).data]; })(map.getBoundingClientRect())"
        )
        return found

    def hover(self, point: int) -> None:
        self.browser.mouse("Moved", *self.place(point))
        self.browser.frame()

    def text(self, name: str) -> str:
        found: str = self.browser.run(f"document.getElementById({json.dumps(name)}).textContent")
        return found

    def card(self) -> str | None:
        """The file that the card is of, if there is one to be seen."""
        return None if self.browser.run("card.hidden") else self.text("name")

    def click(self, selector: str, *, count: int = 1) -> None:
        box = self.browser.run(
            f"(b => [b.x + b.width / 2, b.y + b.height / 2])"
            f"(document.querySelector({json.dumps(selector)}).getBoundingClientRect())"
        )
        for number in range(1, count + 1):
            for kind in ("Pressed", "Released"):
                self.browser.mouse(kind, *box, button="left", clickCount=number)
        self.browser.frame()

    def search(self, words: str) -> str:
        self.browser.run(f"search.value = {json.dumps(words)}; search.dispatchEvent(new Event('input'))")
        return self.text("found")

    def legend(self) -> list[tuple[str, str, str]]:
        """(name, count, pressed) of each entry."""
        found = self.browser.run(
            "[...document.querySelectorAll('#groups button')].map(b => [b.querySelector('.label').textContent,"
            " b.querySelector('.count').textContent, b.getAttribute('aria-pressed')])"
        )
        return [tuple(entry) for entry in found]


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    browser.resize(1000, 700)
    browser.scheme("light")
    browser.open(write(tmp_path / "map.html"))
    yield Page(browser)
    assert browser.problems == []
    assert [url for url in browser.requests if not url.startswith("data:")] == [(tmp_path / "map.html").as_uri()]


@needs_browser
class TestInABrowser:
    def test_all_points_are_drawn_in_the_colours_of_the_legend(self, page: Page) -> None:
        assert page.legend() == [("near", "3", "true"), ("far", "1", "true")]
        assert (page.text("legend-title"), page.text("description")) == ("Labels", "4 videos, PCA")
        dots = page.browser.run("[...document.querySelectorAll('#groups .dot')].map(d => getComputedStyle(d).color)")
        wanted = [[int(part) for part in dot[4:-1].split(",")] for dot in dots]
        for point, group in enumerate((0, 0, 1, 0)):
            *drawn, opacity = page.colour(point)
            assert drawn == pytest.approx(wanted[group], abs=3)
            assert opacity > 200

    def test_hover_shows_the_path_and_the_picture(self, page: Page) -> None:
        page.hover(0)
        assert (page.card(), page.text("place"), page.text("more")) == ("one.mp4", "films", "near")
        page.browser.wait("picture.complete && picture.naturalWidth === 80 && !picture.hidden")
        page.hover(3)
        assert (page.card(), page.text("place")) == ("four.mp4", "films/sub")
        assert page.browser.run("picture.hidden")
        page.browser.mouse("Moved", 500, 380)
        page.browser.frame()
        assert page.card() is None

    def test_the_card_stays_in_the_window(self, page: Page) -> None:
        for point in range(4):
            page.hover(point)
            inside = (
                "((c, s) => c.left >= s.left && c.top >= s.top && c.right <= s.right && c.bottom <= s.bottom)"
                "(card.getBoundingClientRect(), stage.getBoundingClientRect())"
            )
            assert page.browser.run(inside)

    def test_a_click_keeps_the_card(self, page: Page) -> None:
        page.browser.click(*page.place(0))
        page.hover(1)
        assert page.card() == "one.mp4"
        assert page.text("said") == "films/one.mp4, near"
        page.browser.key("Escape")
        page.browser.frame()
        assert page.card() is None

    def test_a_finger_shows_a_card(self, page: Page) -> None:
        x, y = page.place(2)
        page.browser.tap(x + 12, y)
        page.browser.frame()
        assert page.card() == "three.mp4"
        page.browser.tap(500, 380)
        page.browser.frame()
        assert page.card() is None

    def test_search_dims_the_rest_and_enter_goes_on(self, page: Page) -> None:
        assert page.search("SUB films") == "2 found"
        assert page.colour(0)[3] < 60 < 200 < page.colour(3)[3]
        page.hover(0)
        assert page.card() is None
        page.browser.run("search.focus()")
        names = []
        for _ in range(3):
            page.browser.key("Enter")
            names.append(page.card())
        assert names == ["three.mp4", "four.mp4", "three.mp4"]
        assert page.search("far") == "1 found"
        assert page.search("no such") == "0 found"
        page.browser.key("Escape")
        page.browser.frame()
        assert (page.text("found"), page.card()) == ("", None)
        assert page.colour(0)[3] > 200

    def test_the_legend_hides_groups(self, page: Page) -> None:
        page.click("#groups li:first-child button")
        assert [pressed for _, _, pressed in page.legend()] == ["false", "true"]
        assert (page.colour(0)[3], page.colour(2)[3] > 200) == (0, True)
        page.hover(0)
        assert page.card() is None
        page.click("#every")
        assert page.colour(0)[3] > 200
        page.click("#groups li:last-child button", count=2)
        assert [pressed for _, _, pressed in page.legend()] == ["false", "true"]

    def test_keys_go_from_point_to_point(self, page: Page) -> None:
        page.browser.run("map.focus()")
        page.browser.click(*page.place(0))
        visited = []
        for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowLeft"):
            page.browser.key(key)
            visited.append(page.card())
        assert visited == ["two.mp4", "four.mp4", "three.mp4", "three.mp4"]
        page.browser.run("document.activeElement.blur()")
        page.browser.key("/")
        assert page.browser.run("document.activeElement.id") == "search"

    def test_the_wheel_zooms_to_the_pointer_and_all_is_shown_again(self, page: Page) -> None:
        x, y = page.place(0)
        page.browser.mouse("Wheel", x, y, deltaX=0, deltaY=-600)
        page.browser.frame()
        assert page.colour(0)[3] > 200  # under the pointer still
        assert page.colour(3)[3] == 0
        page.click("#all")
        assert page.colour(3)[3] > 200

    def test_dragging_moves_the_map(self, page: Page) -> None:
        x, y = page.place(0)
        page.browser.mouse("Pressed", 500, 400, button="left", clickCount=1)
        page.browser.mouse("Moved", 560, 440, button="left", buttons=1)
        page.browser.mouse("Released", 560, 440, button="left", clickCount=1)
        page.browser.mouse("Moved", x + 60, y + 40)
        page.browser.frame()
        assert page.card() == "one.mp4"

    def test_thumbnails_are_there_without_hovering_and_apart(self, browser: Browser, tmp_path: Path) -> None:
        points = np.random.default_rng(0).uniform(-1, 1, (400, 2)).astype(np.float32)
        rows = [Row(f"{number}.mp4") for number in range(400)]
        # Hardly a pixel of them is covered by another or by a point.
        light = (
            "(() => { const d = map.getContext('2d').getImageData(0, 0, map.width, map.height).data; let n = 0;"
            "for (let i = 0; i < d.length; i += 4) n += d[i] === d[i + 1] && Math.abs(d[i] - 200) < 6 && d[i + 3] === 255;"
            "return n / (map.dataset.thumbnails * 88 * 49.5); })()"
        )
        browser.resize(1000, 700)
        for shown, thumbnails in ((400, 0), (60, 15)):
            content = {"rows": rows[:shown], "points": points[:shown], "pictures": [picture(200)] * shown}
            browser.open(write(tmp_path / "map.html", **content, groups=None, neighbours=None))
            browser.frame()
            laid = int(browser.run("map.dataset.thumbnails"))
            assert laid >= thumbnails > 0 or laid == thumbnails
        browser.wait(f"{light} > 0.7")

    def test_more_like_this_lists_the_nearest_and_goes_to_them(self, page: Page) -> None:
        alike = "[...document.querySelectorAll('#alike button')].map(b => b.getAttribute('aria-label'))"
        page.browser.click(*page.place(0))
        page.click("#like-this")
        wanted = ["films/two.mp4, similarity 0.988", "films/sub/three.mp4, similarity 0.500"]
        assert page.browser.run(alike) == wanted
        page.search("one")  # what is not found now is found again when it is asked for
        page.browser.run("document.querySelectorAll('#alike button')[1].scrollIntoView({block: 'center'})")
        page.click("#alike li:last-child button")
        assert (page.card(), page.text("found")) == ("three.mp4", "")
        page.browser.run("map.focus()")
        page.browser.key("Enter")
        assert page.text("like-title") == "Most like three.mp4"
        page.browser.key("Escape")
        assert (page.browser.run("like.hidden"), page.card()) == (True, "three.mp4")

    def test_a_lasso_selects_paths(self, page: Page) -> None:
        x, y = page.place(0)
        page.click("#lasso")
        page.browser.mouse("Pressed", x - 20, y - 20, button="left", clickCount=1)
        for dx, dy in ((20, -20), (20, 20), (-20, 20)):
            page.browser.mouse("Moved", x + dx, y + dy, button="left", buttons=1)
        page.browser.mouse("Released", x - 20, y + 20, button="left", clickCount=1)
        assert page.browser.run("paths.value") == "films/one.mp4"
        assert page.text("said") == "1 path selected"
        page.click("#copy")
        page.browser.wait("copy.textContent === 'Copied'")
        page.click("#unpick")
        assert page.browser.run("picked.hidden")

    def test_keys_select_what_a_lasso_does(self, page: Page) -> None:
        page.browser.run("map.focus()")
        page.browser.click(*page.place(0))
        page.browser.key("ArrowRight", shift=True)
        assert page.browser.run("paths.value") == "films/one.mp4\nfilms/two.mp4"
        page.browser.key(" ")
        assert page.browser.run("paths.value") == "films/one.mp4"
        page.search("far")
        page.browser.run("map.focus()")
        page.browser.key("a")
        assert page.browser.run("paths.value") == "films/one.mp4\nfilms/sub/three.mp4"
        for left in (1, 0):  # the search first, then the selection
            page.browser.key("Escape")
            assert page.browser.run("picked.hidden") == (left == 0)

    def test_a_saved_list_names_the_files_exactly(self, browser: Browser, tmp_path: Path) -> None:
        browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
        for names in (["a b.mp4", "# c.mp4", os.fsdecode(b"caf\xe9.mp4")], HOSTILE):
            points = np.random.default_rng(0).uniform(-1, 1, (len(names), 2)).astype(np.float32)
            content = {"rows": [Row(name) for name in names], "points": points, "pictures": [], "neighbours": None}
            browser.open(write(tmp_path / "map.html", **content, groups=None))
            browser.run("document.getElementById('pick-shown').click(); save.click()")
            saved = tmp_path / "selected.txt"
            browser.poll(saved.is_file)
            assert names_in(saved.read_bytes(), exists=set(names).__contains__) == names
            saved.unlink()
            assert browser.problems == []

    def test_dark_mode_is_dark(self, page: Page) -> None:
        def brightness() -> int:
            colour: str = page.browser.run("getComputedStyle(document.body).backgroundColor")
            return sum(int(part) for part in colour[4:-1].split(","))

        light, before = brightness(), page.colour(0)
        page.browser.scheme("dark")
        assert brightness() < 150 < 600 < light
        assert page.colour(0) != before

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_labels_have_the_colours_that_they_have_in_charts(self, page: Page, scheme: str) -> None:
        page.browser.scheme(scheme)
        wanted = [int(part) for part in ImageColor.getrgb(label_colour(3, dark=scheme == "dark"))]
        dot = page.browser.run("getComputedStyle(document.querySelector('#groups li:nth-child(2) .dot')).color")
        assert dot == f"rgb({', '.join(map(str, wanted))})"
        *drawn, opacity = page.colour(2)
        assert opacity > 200
        assert drawn == pytest.approx(wanted, abs=3)

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_the_hint_of_the_box_reads_like_other_soft_text(self, page: Page, scheme: str) -> None:
        page.browser.scheme(scheme)
        colour = "getComputedStyle(document.querySelector({!r}), {!r}).color"
        hint = page.browser.run(colour.format("#search", "::placeholder"))
        assert hint == page.browser.run(colour.format("#description", ""))

    @pytest.mark.parametrize("width", [390, 1600])
    def test_it_fits_every_window(self, page: Page, width: int) -> None:
        page.browser.resize(width, 844, 2.0)
        page.browser.frame()
        assert page.browser.run("document.documentElement.scrollWidth <= innerWidth")
        assert page.browser.run("document.documentElement.scrollHeight <= innerHeight")
        page.browser.wait("map.width === 2 * map.clientWidth")
        for point in range(4):
            assert page.colour(point)[3] > 200

    def test_names_are_never_markup(self, browser: Browser, tmp_path: Path) -> None:
        count = len(HOSTILE)
        file = write(
            tmp_path / "map.html",
            title="</title><script>document.title='owned'</script>",
            description="<b>x</b>{{policy}}",
            rows=[Row(name) for name in HOSTILE],
            points=np.zeros((count, 2), np.float32),
            groups=[f"<i>{number}</i>" for number in range(count)],
            pictures=[None] * count,
        )
        browser.open(file)
        shown = Page(browser)
        assert browser.run("document.title") == "</title><script>document.title='owned'</script>"
        assert shown.text("description") == "<b>x</b>{{policy}}"
        assert browser.run("document.querySelectorAll('#groups i, #card b, #card i, img[src=x]').length") == 0
        assert {name for name, _, _ in shown.legend()} == {f"<i>{number}</i>" for number in range(count)}
        browser.run("search.focus()")
        names = []
        shown.search("<i>")
        for _ in HOSTILE:
            browser.key("Enter")
            names.append((shown.text("place"), shown.text("name")))
        told = [name.replace("\udce9", "\ufffd") for name in HOSTILE]
        assert sorted(f"{folder}/{name}" if folder else name for folder, name in names) == sorted(told)
        assert browser.run("document.title").startswith("</title>")
        assert browser.problems == []

    def test_more_groups_than_colours_share_the_last(self, browser: Browser, tmp_path: Path) -> None:
        count = 40
        file = write(
            tmp_path / "map.html",
            rows=[Row(f"{number}.mp4") for number in range(count)],
            points=np.random.default_rng(0).uniform(-1, 1, (count, 2)).astype(np.float32),
            groups=[f"group {number % 20:02}" for number in range(count)],
            pictures=[None] * count,
        )
        browser.open(file)
        legend = Page(browser).legend()
        assert len(legend) == MAX_GROUPS
        assert legend[0] == ("group 00", "2", "true")
        assert legend[-1] == ("all others (9)", "18", "true")

    def test_without_groups_there_is_no_legend_and_clips_tell_their_seconds(
        self, browser: Browser, tmp_path: Path
    ) -> None:
        rows = [Row("a.mp4", 0, clip, 30.0 * clip, 30.0 * clip + 2.5) for clip in range(4)]
        browser.resize(1000, 700)
        browser.open(write(tmp_path / "map.html", rows=rows, groups=None))
        shown = Page(browser)
        assert browser.run("legend.hidden")
        shown.hover(3)
        assert (shown.card(), shown.text("more")) == ("a.mp4", "1:30.0 – 1:32.5")
        assert browser.problems == []

    def test_many_points_are_drawn_at_once(self, browser: Browser, tmp_path: Path) -> None:
        count = 50_000
        points = np.random.default_rng(0).uniform(-1, 1, (count, 2)).astype(np.float32)
        rows = [Row(f"archive/{number}.mp4") for number in range(count)]
        browser.open(write(tmp_path / "map.html", rows=rows, points=points, groups=["x"] * count, pictures=()))
        began = browser.run("performance.now()")
        browser.run("search.value = '4999'; search.dispatchEvent(new Event('input'))")
        browser.frame()
        assert Page(browser).text("found") == "15 found"
        assert browser.run("performance.now()") - began < 5000


def test_what_goes_into_a_script_cannot_end_it() -> None:
    text = in_script(HOSTILE)
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == HOSTILE


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["/d/a/1.mp4", "/d/a/2.mp4"], ["a", "a"]),
        (["/d/a/1.mp4", "/d/b/2.mp4", "/d/b/c/3.mp4"], ["a", "b", "b/c"]),
        (["d/1.mp4", "d/a/2.mp4"], ["d", "d/a"]),
        (["1.mp4", "a/2.mp4"], [".", "a"]),
        (["1.mp4"], ["."]),
        (["/d/1.mp4", "d/2.mp4"], ["/d", "d"]),
    ],
)
def test_folders_are_named_without_what_they_share(paths: list[str], names: list[str]) -> None:
    assert folders([Row(path) for path in paths]) == names


def test_the_page_names_nothing_outside(tmp_path: Path) -> None:
    text = write(tmp_path / "map.html").read_text(encoding="utf-8")
    assert "http" not in text.replace("http-equiv", "")
    assert "default-src 'none'" in text
    assert text.count("<script") == 2 + 2  # data and program, and two pictures
