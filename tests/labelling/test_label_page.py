"""The page of `videomae label`: who may see it, and the whole way in a real browser, through a kill."""

from __future__ import annotations

import hashlib
import http.client
import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
import pytest
from chromium import Browser, find_chromium
from motions import write_motions

from videomae_cli import load_classifier
from videomae_cli.errors import OptionError
from videomae_cli.labelling.answers import AnswerTable, Clip
from videomae_cli.labelling.clip_previews import Previews
from videomae_cli.labelling.label_server import LabelServer
from videomae_cli.labelling.labelling_session import Session

HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
KINDS = ("pan left", "zoom in", "static")


def write_film(path: Path, kind: str, seed: int) -> Path:
    """A clip of one motion of the camera, each over a texture of its own."""
    return write_motions(path, [(kind, 1.3)], seed=seed, texture=256)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelServer]:
    folder = tmp_path_factory.mktemp("served")
    film = write_film(folder / f"{HOSTILE}.mp4", "static", 0)
    secret = folder / "secret.mp4"
    secret.write_bytes(film.read_bytes())
    with AnswerTable(folder / "l.csv") as answers, AnswerTable(folder / "u.csv") as unsure, Previews() as previews:
        session = Session(answers, unsure, classes=["a", HOSTILE])
        features = np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)
        session.add([Clip(str(film), number, number + 0.5) for number in range(40)], features)
        session.add([Clip(str(folder / "gone.mp4"))], features[:1])
        with LabelServer(session, previews, save=lambda: "labels.model") as server:
            yield server
        session.close()


def request(
    server: LabelServer | Page, method: str, path: str, body: object = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    sent = {"Cookie": f"videomae-{server.port}={server.token}", "Content-Type": "application/json"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body if body is None or isinstance(body, bytes) else json.dumps(body), sent)
    answer = connection.getresponse()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def test_the_token_becomes_a_cookie_and_leaves_the_address(served: LabelServer) -> None:
    status, headers, _ = request(served, "GET", f"/?token={served.token}", Cookie="")
    assert (status, headers["location"]) == (303, "/")
    name, *flags = headers["set-cookie"].split("; ")
    assert name == f"videomae-{served.port}={served.token}"
    assert {flag.lower() for flag in flags} == {"httponly", "samesite=strict", "path=/"}
    status, headers, page = request(served, "GET", "/")
    assert (status, b"<script src" in page) == (200, True)
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"
    assert served.token.encode() not in page


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/", {"Cookie": ""}, 403),
        ("/", {"Cookie": "videomae-1=x; a=b"}, 403),
        ("/?token=wrong", {}, 403),
        ("/label.js", {"Cookie": ""}, 403),
        ("/film/0.jpg", {"Cookie": ""}, 403),
        ("/", {"Host": "evil.example"}, 421),
        ("/", {"Host": "evil.example:80@127.0.0.1"}, 200),  # the name is what stands after the @
        ("/", {"Host": "127.0.0.1.evil.example"}, 421),
        ("/", {"Host": "localhost:9999"}, 200),  # through a tunnel
        ("/film/41.jpg", {}, 404),
        ("/film/-1.jpg", {}, 404),
        ("/film/40.jpg", {}, 404),  # it is gone
        ("/other/0.jpg", {}, 404),
        ("/../secret.mp4", {}, 404),
        ("/film/..%2fsecret.mp4", {}, 404),
        ("/api/answer", {}, 405),
        ("/film/" + "9" * 5000 + ".jpg", {}, 404),
        ("/film/%C2%B2.jpg", {}, 404),
        ("/", {"Host": "[::1"}, 421),
        ("/", {"Host": ""}, 421),
        ("/", {"Host": "192.168.1.5:80"}, 200),  # with --host 0.0.0.0: a number can't be made to lead elsewhere
        ("/", {"Host": f"{socket.gethostname().upper()}:80"}, 200),
        ("/", {"Host": "127.0.0.1 "}, 200),
        ("/", {"Host": "2130706433"}, 421),
        ("/", {"Host": "[::1]:80"}, 200),
        ("/?token=", {}, 403),
        ("/?token=%ff%00", {}, 403),
    ],
)
def test_only_the_page_is_served_and_only_to_who_has_the_token(
    served: LabelServer, path: str, headers: dict[str, str], status: int
) -> None:
    assert request(served, "GET", path, **headers)[0] == status


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        ({"clips": [0], "label": "a"}, {"Origin": "http://evil.example"}, 403),
        ({"clips": [0], "label": "a"}, {"Content_Type": "text/plain"}, 403),
        ({"clips": [0], "label": "a"}, {"Cookie": ""}, 403),
        ({"clips": [0], "label": "a|b"}, {}, 400),
        ({"clips": [99], "label": "a"}, {}, 400),
        ({"clips": ["0"], "label": "a"}, {}, 400),
        ({"clips": [0], "label": 5}, {}, 400),
        ([], {}, 400),
        (b"{", {}, 400),
        (b"[" * 100_000, {}, 400),  # nested too deeply for Python's parser
        (b"\xff{}", {}, 400),
        (b'{"clips": [1' + b"0" * 5000 + b"]}", {}, 400),  # a number with more digits than Python takes
        (b'{"clips": []}' + b" " * (1 << 20), {}, 403),
        (b"0\r\n\r\n", {"Transfer_Encoding": "chunked"}, 403),  # nobody knows how much will come
    ],
)
def test_answers_come_from_the_page_alone(
    served: LabelServer, body: object, headers: dict[str, str], status: int
) -> None:
    assert request(served, "POST", "/api/answer", body, **headers)[0] == status
    assert json.loads(request(served, "GET", "/api/state?page=x")[2])["answered"] == 0


def test_a_clip_is_shown_by_frames_alone(served: LabelServer) -> None:
    status, headers, content = request(served, "GET", "/film/0.jpg")
    assert (status, headers["content-type"], content[:2]) == (200, "image/jpeg", b"\xff\xd8")


def test_numbers_that_are_none_show_the_next_question(served: LabelServer) -> None:
    for clip in ("-1", "41", "9" * 5000, "x", "%C2%B2"):
        status, _, content = request(served, "GET", f"/api/state?page=x&clip={clip}")
        assert (status, json.loads(content)["question"]["id"] in range(41)) == (200, True)
    status, _, content = request(served, "GET", f"/api/clips?of=rest&from={'9' * 5000}")
    assert (status, json.loads(content)["all"]) == (200, 41)
    status, _, content = request(served, "POST", "/api/class", {"name": "b", "clip": -1})
    assert (status, json.loads(content)["question"]["id"] in range(41)) == (200, True)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[LabelServer]:
    """A server with forty clips, which a test may answer for."""
    with AnswerTable(tmp_path / "l.csv") as answers, AnswerTable(tmp_path / "u.csv") as unsure, Previews() as previews:
        session = Session(answers, unsure, classes=["a", "b"])
        features = np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)
        session.add([Clip(f"{number}.mp4") for number in range(40)], features)
        with LabelServer(session, previews, save=lambda: "") as server:
            yield server
        session.close()


def test_two_windows_and_a_clip_of_which_one_was_not_sure(own: LabelServer) -> None:
    def answer(label: str | None, state: int) -> tuple[int, int]:
        body = {"page": "x", "clips": [5], "label": label, "seen": [state]}
        content = json.loads(request(own, "POST", "/api/answer", body)[2])
        return content["kept"], content["others"]

    def state() -> int:
        found: int = json.loads(request(own, "GET", "/api/state?page=y&clip=5")[2])["question"]["state"]
        return found

    before = state()
    assert answer("a", before) == (1, 0)
    assert answer("b", before) == (0, 1)  # the other window had not seen that
    assert answer(None, state()) == (1, 0)
    assert answer("b", before) == (0, 1)
    assert answer("b", state()) == (1, 0)  # this one knew that somebody was not sure


def test_who_goes_away_half_way_costs_nothing(own: LabelServer, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_connection(("127.0.0.1", own.port)) as connection:
        head = f"POST /api/answer HTTP/1.1\r\nHost: localhost\r\nCookie: videomae-{own.port}={own.token}\r\n"
        connection.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 500\r\n\r\n{{".encode())
    assert request(own, "GET", "/api/state?page=x")[0] == 200
    own.__exit__(None, None, None)  # which waits for what it does for that request
    assert caplog.records == []


def test_a_port_that_is_taken_is_said(served: LabelServer) -> None:
    session: Any = None
    previews: Any = None
    with pytest.raises(OptionError, match=rf"can't listen on 127.0.0.1, port {served.port}: "):
        LabelServer(session, previews, save=lambda: "", port=served.port)


def start(python: str, folder: Path, *more: str) -> subprocess.Popen[str]:
    """Start `videomae label` in a process of its own."""
    words = ["label", "clips", "-o", "labels.csv", "--classes", "pan left,zoom in", "--model", "camera-motion"]
    command = [python, "-m", "videomae_cli", *words, "--no-browser", *more]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def address_of(process: subprocess.Popen[str]) -> str:
    """The address of the page, which comes first."""
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    assert address.startswith("http://127.0.0.1:"), process.communicate()
    return address


class Page(NamedTuple):
    """The page of a process, as `request` asks for it."""

    port: int
    token: str


def test_an_interrupt_does_not_wait_for_a_film_and_the_model_is_written(quick_python: str, tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    for kind in KINDS[:2]:
        write_film(tmp_path / "clips" / f"{kind}.mp4", kind, 1)
    # Files come in the order of their hashes: the film last.
    names = (f"clips/film-{number}.mp4" for number in range(100))
    film = max(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    write_motions(tmp_path / film, [("static", 16.0)])
    process = start(quick_python, tmp_path, "--window", "16f", "--hop", "1f")
    try:
        address = urlsplit(address_of(process))
        page = Page(address.port or 0, address.query.partition("=")[2])
        while (state := json.loads(request(page, "GET", "/api/state?page=x")[2]))["files"] < 2:
            assert state["stopped"] == ""
        first = state["clips"]
        while (state := json.loads(request(page, "GET", "/api/state?page=x")[2]))["clips"] == first:
            assert state["files"] == 2
        assert state["files"] == 2  # the film can be asked about before it is through
        for number, label in ((0, "one"), (first, "other")):
            assert request(page, "POST", "/api/answer", {"clips": [number], "label": label})[0] == 200
    finally:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "wrote labels.model" in out + err
    assert "Traceback" not in err
    assert set(load_classifier(tmp_path / "labels.model").labels) == {"one", "other"}
    assert (tmp_path / "labels.vectors.parquet.partial").is_dir()  # the film is not done
    assert not (tmp_path / "labels.vectors.parquet").exists()


# --- the whole way ---

needs_browser = pytest.mark.skipif(find_chromium() is None, reason="no chromium: apt-get install chromium")


class Labelled:
    """`videomae label` in a process of its own, with its page in a browser."""

    def __init__(self, browser: Browser, python: str, folder: Path, *more: str) -> None:
        self.process = start(python, folder, *more)
        self.address = address_of(self.process)
        self.browser = browser
        browser.problems.clear()
        browser.requests.clear()
        browser.call("Page.navigate", url=self.address)
        browser.wait("document.documentElement.dataset.ready === 'yes' && state.question && !busy")

    def press(self, key: str, *, shift: bool = False) -> None:
        """A key, and what comes of it."""
        before = int(self.browser.run("document.documentElement.dataset.answers || 0"))
        code = f"Digit{key}" if key.isdecimal() else f"Key{key.upper()}"
        for kind in ("keyDown", "keyUp"):
            self.browser.call("Input.dispatchKeyEvent", type=kind, key=key, code=code, modifiers=8 if shift else 0)
        self.browser.wait(f"+(document.documentElement.dataset.answers || 0) > {before} && !busy")

    def kind(self) -> str:
        name: str = self.browser.run("state.question.name")
        return name.rpartition("-")[0]

    def answer(self, count: int) -> None:
        """Answer questions by key, as the names of the files say, until so many clips have labels."""
        while self.browser.run("state.answered") < count:
            self.press(str(1 + KINDS.index(self.kind())))

    def text(self, name: str) -> str:
        found: str = self.browser.run(f"document.getElementById('{name}').textContent")
        return found


@needs_browser
def test_thirty_clips_a_kill_and_a_classifier(quick_python: str, tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    for number in range(36):
        write_film(clips / f"{KINDS[number % 3]}-{number:02}.mp4", KINDS[number % 3], number)
    (clips / "broken.mp4").write_bytes(b"no film")
    with Browser(tmp_path / "profile") as browser:
        first = Labelled(browser, quick_python, tmp_path)
        try:
            # a class by typing
            browser.run("typed.value = 'static'; typed.form.requestSubmit()")
            browser.wait("state.classes.length === 3 && !busy")
            first.answer(12)
            shown = int(browser.run("state.answered"))
            first.press("n")
            first.press("s")
            number, before = browser.run("state.question.id"), browser.run("state.answered")
            first.press(str(1 + KINDS.index(first.kind())))
            first.press("z")
            assert (browser.run("state.question.id"), browser.run("state.answered")) == (number, before)
        finally:
            first.process.send_signal(signal.SIGKILL)
            first.process.communicate()
        with AnswerTable(tmp_path / "labels.csv") as table:
            assert len(table.answers) == shown
        second = Labelled(browser, quick_python, tmp_path)
        try:
            browser.wait("state.files === 37 && state.clips === 36 && state.failed === 1")
            assert int(browser.run("state.answered")) == shown
            assert browser.run("state.unsure") == 1
            # undo reaches back over the kill: the last thing the first run did was to be not sure
            second.press("z")
            assert (browser.run("state.answered"), browser.run("state.unsure")) == (shown, 0)
            second.press("z")
            assert int(browser.run("state.answered")) == shown - 1
            second.press(str(1 + KINDS.index(second.kind())))
            # its neighbours too: those of its kind
            kind = second.kind()
            wrong = f"one.title.startsWith('{kind}-') !== (one.getAttribute('aria-pressed') === 'true')"
            browser.run(f"for (const one of nearest.children) if ({wrong}) one.click()")
            chosen = int(browser.run("withThese().length"))
            second.press(str(1 + KINDS.index(kind)), shift=True)
            assert int(browser.run("state.answered")) == shown + 1 + chosen
            second.answer(30)
            browser.wait("state.estimate !== null && state.estimate.answers >= 30")
            assert "Right about" in second.text("estimate")
            browser.run("go('check')")
            browser.wait("members.children.length > 5")
            browser.run("members.children[0].click()")
            count = int(browser.run("state.answered"))
            second.press("x")
            assert int(browser.run("state.answered")) == count - 1
            second.press("z")
            browser.wait("members.children.length > 0 && +members.dataset.all === state.classes[0].count")
            assert int(browser.run("state.answered")) == count
            browser.run("go('map')")
            browser.wait("+plane.dataset.points === 36")
            browser.run("go('rest')")
            browser.wait("others.children.length > 0")
            for width in (390, 1280):
                browser.resize(width, 844)
                assert browser.run("document.documentElement.scrollWidth <= innerWidth")
            asked = {urlsplit(url).netloc for url in browser.requests if url.startswith("http")}
            assert asked <= {urlsplit(one.address).netloc for one in (first, second)}
            # the first page, when its server was killed
            assert [problem for problem in browser.problems if "net::ERR" not in problem] == []
        finally:
            second.process.send_signal(signal.SIGINT)
            out, err = second.process.communicate(timeout=300)
        assert second.process.returncode == 0, err
        assert "labels.model" in out + err
        assert "Traceback" not in err
    new = [write_film(tmp_path / f"new-{kind}.mp4", kind, 100 + place) for place, kind in enumerate(KINDS)]
    done = subprocess.run(
        [
            quick_python,
            "-m",
            "videomae_cli",
            "classify",
            *map(str, new),
            "--model",
            "labels.model",
            "--format",
            "jsonl",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    said = [json.loads(line)["predictions"][0]["label"] for line in done.stdout.splitlines()]
    assert said == list(KINDS)
