"""Serves the labelling page on this machine: to who has the token, from the names of this machine, and nothing but previews.

Starlette routes and uvicorn listens: both are small, have no code of their own to compile, and are what most of Python's web
servers stand on; they come with the extra `label`.
"""

from __future__ import annotations

import contextvars
import secrets
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from importlib.resources import files
from ipaddress import ip_address
from threading import Event, Thread
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from videomae_cli.errors import OptionError, OutputError, VideoError, VideoMAEError
from videomae_cli.labelling.clip_previews import KINDS, Previews
from videomae_cli.labelling.labelling_session import Session
from videomae_cli.pages.document import theme
from videomae_cli.pictures.hues import label_colour
from videomae_cli.search.embedding_table import Row, VectorBlock, unit
from videomae_cli.search.layout import lay_out
from videomae_cli.visible import visible

_EVERYWHERE = ("0.0.0.0", "::")
_MOST_BODY = 1 << 20
_PAGE = 60  # clips of a grid that are sent at once
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    # The page is asked for anew each time: a later version's script must not meet this one's page.
    "cache-control": "no-store",
}
_STALE = "open the address that videomae label printed: this one is of an earlier start, or incomplete"

Given = Mapping[str, Any]
"""What the page sends: the query of a GET as texts, or the JSON of a POST."""


class LabelServer:
    """The page of a session. save: writes the model so far, and returns where; host, port: where to listen, 0 for any free
    port. A context manager that serves in a thread of its own. Raises OptionError if nothing can listen there.
    """

    def __init__(
        self,
        session: Session,
        previews: Previews,
        *,
        save: Callable[[], str],
        title: str = "videomae label",
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self._session, self._previews, self._save, self._title = session, previews, save, title
        self._host = host
        self.token = secrets.token_urlsafe(24)
        self._ended = Event()
        self._points: list[list[float]] = []
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._socket = socket.create_server((host, port), family=family, backlog=128)
        except (OSError, OverflowError) as error:
            # Python's words, without the place that it adds to the system's.
            reason = str(getattr(error, "strerror", None) or error).partition(" (while")[0]
            raise OptionError.about(
                "port", "can't listen on {host}, port {port}: {reason}", host=host, port=port, reason=reason
            ) from None
        self.port: int = self._socket.getsockname()[1]

    @property
    def address(self) -> str:
        """The address of the page, with the token that lets its reader in."""
        name = socket.gethostname() if self._host in _EVERYWHERE else self._host
        host = f"[{name}]" if ":" in name else name
        return f"http://{host}:{self.port}/?token={self.token}"

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect."""
        return self._host in ("127.0.0.1", "localhost", "::1")

    def __enter__(self) -> LabelServer:
        config = uvicorn.Config(
            self._app(),
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=2,
        )
        self._server = uvicorn.Server(config)
        context = contextvars.copy_context()  # messages spell settings as those of the caller
        Thread(target=context.run, args=(self._run,), name="videomae-label", daemon=True).start()
        return self

    def _run(self) -> None:
        try:
            self._server.run([self._socket])
        finally:
            self._ended.set()

    def __exit__(self, *exc: object) -> None:
        self._server.should_exit = True
        self._ended.wait(10)
        self._socket.close()

    def wait(self) -> None:
        """Wait until the server ends, which it does by itself only if something goes wrong with it."""
        # Not the thread itself: a Ctrl-C while it is joined makes Python 3.11 take it for ended. And not without end, which
        # Windows can't interrupt.
        while not self._ended.wait(0.5):
            pass

    def _app(self) -> Starlette:
        looks = {"state": self._state_of, "clips": self._clips, "map": self._map}
        acts = {"answer": self._answer, "skip": self._skip, "undo": self._undo, "withdraw": self._withdraw}
        acts |= {"class": self._class, "save": self._saved}
        return Starlette(
            routes=[
                Route("/", Response(_asset("label.html"), media_type="text/html")),
                Route("/label.css", Response(theme() + _asset("label.css"), media_type="text/css")),
                Route("/label.js", Response(_asset("label.js"), media_type="text/javascript")),
                Route("/{kind}/{number}.jpg", self._preview),
                *(Route(f"/api/{name}", partial(_look, look)) for name, look in looks.items()),
                *(Route(f"/api/{name}", partial(_act, act), methods=["POST"]) for name, act in acts.items()),
            ],
            middleware=[Middleware(BaseHTTPMiddleware, dispatch=self._guard)],
            # A window that is closed within a request is nothing to report.
            exception_handlers={VideoMAEError: _told, ClientDisconnect: _told},
        )

    # --- who may ask ---

    async def _guard(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = self._refusal(request) or await call_next(request)
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    def _refusal(self, request: Request) -> Response | None:
        """Return what to answer instead, unless a request comes from the page: with the right name of this machine, and the
        token or its cookie."""
        cookie = f"videomae-{self.port}"
        token = request.query_params.get("token") if request.scope["path"] == "/" else None
        if not self._is_ours(request.headers.get("host", "")):
            return PlainTextResponse("this server answers to its own names only", 421)
        if not self._is_token(request.cookies.get(cookie, "") if token is None else token):
            return PlainTextResponse(_STALE, 403)
        if token is not None:
            # The token leaves the address bar, and with it the history.
            response = RedirectResponse("/", 303)
            response.set_cookie(cookie, self.token, httponly=True, samesite="strict")
            return response
        if request.method == "POST" and not _is_of_the_page(request):
            return PlainTextResponse("requests come from the page alone", 403)
        return None

    def _is_ours(self, host: str) -> bool:
        """Return whether a Host header names this machine, and not a page elsewhere whose name was made to lead here (DNS
        rebinding), which can't be done with the number of an address."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
            return name in {"localhost", self._host.lower(), socket.gethostname().lower()} or bool(ip_address(name))
        except ValueError:
            return False

    def _is_token(self, text: str) -> bool:
        return secrets.compare_digest(text.encode(), self.token.encode())

    # --- what the page asks for ---

    def _preview(self, request: Request) -> Response:
        kind, number = request.path_params["kind"], _whole(request.path_params["number"])
        clips = self._session.clips
        if kind not in KINDS or number is None or number >= len(clips):
            return PlainTextResponse("there is no such clip", 404)
        made = self._previews.get(clips[number], kind)
        return Response(made, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})

    def _state_of(self, given: Given) -> dict[str, Any]:
        return self._state(given, _whole(given.get("clip", "")))

    def _state(self, given: Given, clip: int | None = None, **more: Any) -> dict[str, Any]:
        """Return all that the page shows, with the question: `clip`, or else the next one."""
        session = self._session
        with session.lock:
            is_there = clip is not None and 0 <= clip < len(session.clips)
            question = clip if is_there else session.question(str(given.get("page", ""))[:40])
            found = session.estimate
            return {
                "title": self._title,
                "classes": self._classes(),
                "question": None if question is None else self._shown([question])[0],
                "nearest": [] if question is None else self._shown(session.nearest(question)),
                "answered": session.count,
                "unsure": session.unsure_count,
                "clips": len(session.clips),
                "files": session.done,
                "total": session.total,
                "failed": len(session.failed),
                "stopped": session.stopped,
                "estimate": found and asdict(found),
                "settled": session.settled,
                **more,
            }

    def _classes(self) -> list[dict[str, Any]]:
        return [
            {"name": name, "count": count, "light": label_colour(number), "dark": label_colour(number, dark=True)}
            for number, (name, count) in enumerate(self._session.counts().items())
        ]

    def _shown(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        """Describe clips for the page."""
        session = self._session
        described = []
        for number, said in zip(numbers, session.predictions(numbers), strict=True):
            clip = session.clips[number]
            folder, _, name = clip.path.rpartition("/")
            described.append(
                {
                    "id": number,
                    "name": visible(name),
                    "folder": visible(folder),
                    "start": clip.start,
                    "end": clip.end,
                    "label": session.label_of(number),
                    "state": session.state_of(number),
                    "said": said and {"label": said[0], "probability": round(said[1], 4)},
                }
            )
        return described

    def _clips(self, given: Given) -> dict[str, Any]:
        """Return a part of a grid: the rest, the clips with a label, or without one those of which nobody was sure."""
        session, start = self._session, _whole(given.get("from", "")) or 0
        with session.lock:
            listed = session.rest() if given.get("of") == "rest" else session.members(given.get("label"))
            return {"all": len(listed), "clips": self._shown(listed[start : start + _PAGE])}

    def _map(self, given: Given) -> dict[str, Any]:
        """Return a point for each clip, and twice the number of the class that the model says, one more for an answer."""
        session = self._session
        with session.lock:
            features, numbers = session.features, range(len(session.clips))
            place = {name: 2 * number for number, name in enumerate(session.classes)}
            said = [one[0] if one else None for one in session.predictions(numbers)]
            labels = [session.label_of(number) for number in numbers]
        shown = [
            place[answer] + 1 if answer is not None else -1 if guess is None else place[guess]
            for answer, guess in zip(labels, said, strict=True)
        ]
        if len(shown) > 1.1 * len(self._points):
            block = VectorBlock(unit(features), [Row("") for _ in shown])
            self._points = np.round(lay_out(lambda: [block], len(shown), "pca").points, 4).tolist()
        laid = self._points
        return {"points": laid[: len(shown)], "shown": shown[: len(laid)], "classes": self._classes()}

    # --- what the page does ---

    def _answer(self, given: Given) -> dict[str, Any]:
        label = given.get("label")
        if label is not None and not isinstance(label, str):
            raise OptionError.about("label", "a label is text")
        numbers, raw = _numbers(given), given.get("seen")
        seen = dict(zip(numbers, raw, strict=True)) if isinstance(raw, list) and len(raw) == len(numbers) else None
        others = self._session.answer(numbers, label, seen=seen)
        return self._state(given, others=len(others), kept=len(numbers) - len(others))

    def _skip(self, given: Given) -> dict[str, Any]:
        for number in _numbers(given):
            self._session.skip(number)
        return self._state(given)

    def _undo(self, given: Given) -> dict[str, Any]:
        undone = self._session.undo()
        return self._state(given, undone[0] if undone else None, undone=len(undone))

    def _withdraw(self, given: Given) -> dict[str, Any]:
        self._session.withdraw(_numbers(given))
        return self._state(given)

    def _class(self, given: Given) -> dict[str, Any]:
        name = self._session.add_class(str(given.get("name", "")))
        clip = given.get("clip")
        return self._state(given, clip if isinstance(clip, int) else None, added=name)

    def _saved(self, given: Given) -> dict[str, Any]:
        return {"saved": visible(self._save())}


def _look(look: Callable[[Given], dict[str, Any]], request: Request) -> Response:
    return JSONResponse(look(request.query_params))


async def _act(act: Callable[[Given], dict[str, Any]], request: Request) -> Response:
    try:
        given = await request.json()
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise OptionError.about("request", "this is no request of the page")
    return JSONResponse(await run_in_threadpool(act, given))


def _told(request: Request, error: Exception) -> Response:
    """Answer with the words of an error."""
    statuses = {OptionError: 400, VideoError: 404, OutputError: 507}
    status = next((status for kind, status in statuses.items() if isinstance(error, kind)), 500)
    return JSONResponse({"error": str(error)}, status)


def _is_of_the_page(request: Request) -> bool:
    headers = request.headers
    size = _whole(headers.get("content-length", ""))
    return (
        headers.get("content-type", "").partition(";")[0] == "application/json"
        and headers.get("origin", f"http://{headers['host']}").partition("://")[2] == headers["host"]
        and size is not None
        and size <= _MOST_BODY
    )


def _whole(text: Any) -> int | None:
    """Return the number that a text holds, None for any other text, or a number that is larger than any here."""
    return int(text) if isinstance(text, str) and text.isdecimal() and len(text) < 10 else None


def _numbers(given: Given) -> list[int]:
    numbers = given.get("clips")
    if not isinstance(numbers, list) or not all(type(number) is int for number in numbers):
        raise OptionError.about("clips", "clips are numbers")
    return numbers


def _asset(name: str) -> str:
    return (files("videomae_cli.labelling") / "assets" / name).read_text(encoding="utf-8")
