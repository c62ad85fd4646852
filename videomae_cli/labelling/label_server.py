"""Serves the labelling page on this machine: to who has the token, from the names of this machine, and nothing but previews.

Starlette routes and uvicorn listens: both are small, have no code of their own to compile, and are what most of Python's web
servers stand on; they come with the extra `label`.
"""

from __future__ import annotations

import contextlib
import contextvars
import json
import os
import secrets
import socket
from collections.abc import Callable, Iterator, Sequence
from http.cookies import CookieError, SimpleCookie
from importlib.resources import files
from threading import Event, Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import numpy as np

from videomae_cli.errors import DependencyError, OptionError, OutputError, VideoMAEError
from videomae_cli.labelling.answers import Clip
from videomae_cli.labelling.clip_previews import KINDS, Previews
from videomae_cli.labelling.labelling_session import UNSURE, Session
from videomae_cli.pages.document import theme
from videomae_cli.pictures.hues import label_colour
from videomae_cli.search.embedding_table import Row, VectorBlock, unit
from videomae_cli.search.layout import lay_out
from videomae_cli.visible import visible

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOME_NAMES = ("127.0.0.1", "localhost", "::1")
_MOST_BODY = 1 << 20
_PAGE = 60  # clips of a grid that are sent at once
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)


def check_server() -> None:
    """Raise DependencyError if what serves the page is not installed."""
    try:
        import starlette
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise DependencyError.about(
            "label",
            "the page needs the packages starlette and uvicorn ({error})",
            error=error,
            remedy="pip install 'videomae-cli[label]'",
        ) from None
    _ = starlette


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
        check_server()
        self._session, self._previews, self._save, self._title = session, previews, save, title
        self._host = host
        self.token = secrets.token_urlsafe(24)
        self._ended = Event()
        self._points: tuple[int, list[list[float]]] = (0, [])
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family)
        try:
            if os.name == "posix":
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((host, port))
            self._socket.listen(128)
        except (OSError, OverflowError) as error:
            self._socket.close()
            reason = getattr(error, "strerror", None) or error
            raise OptionError.about(
                "port", "can't listen on {host}, port {port}: {reason}", host=host, port=port, reason=reason
            ) from None
        self.port: int = self._socket.getsockname()[1]

    @property
    def address(self) -> str:
        """The address of the page, with the token that lets its reader in."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}/?token={self.token}"

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect."""
        return self._host in HOME_NAMES

    def __enter__(self) -> LabelServer:
        import uvicorn

        class Server(uvicorn.Server):
            """Leaves signals to the command."""

            @contextlib.contextmanager
            def capture_signals(self) -> Iterator[None]:
                yield

        names = {*HOME_NAMES, self._host}
        app = _Guard(self._app(), token=self.token, names=names, cookie=f"videomae-{self.port}")
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=2,
        )
        self._server = Server(config)
        context = contextvars.copy_context()  # messages spell settings as those of the caller
        self._thread = Thread(target=context.run, args=(self._run,), name="videomae-label", daemon=True)
        self._thread.start()
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
        from starlette.applications import Starlette
        from starlette.responses import JSONResponse, Response
        from starlette.routing import Route

        def page(request: Request) -> Response:
            # Asked for anew each time: a later version's script must not meet this one's page.
            return Response(_asset("label.html"), media_type="text/html")

        def style(request: Request) -> Response:
            return Response(theme() + _asset("label.css"), media_type="text/css")

        def script(request: Request) -> Response:
            return Response(_asset("label.js"), media_type="text/javascript")

        def looks(answer: Callable[[Request], Any]) -> Callable[[Request], Response]:
            def endpoint(request: Request) -> Response:
                return _told(lambda: answer(request))

            return endpoint

        def does(answer: Callable[[dict[str, Any]], Any]) -> Callable[[Request], Any]:
            async def endpoint(request: Request) -> Response:
                from starlette.concurrency import run_in_threadpool

                try:
                    given = json.loads(await request.body())
                except ValueError:
                    given = None
                if not isinstance(given, dict):
                    return JSONResponse({"error": "this is no request of the page"}, 400)
                return await run_in_threadpool(_told, lambda: answer(given))

            return endpoint

        def preview(request: Request) -> Response:
            kind, number = str(request.path_params["kind"]), int(request.path_params["number"])
            clips = self._session.clips
            if kind not in KINDS or not 0 <= number < len(clips):
                return Response("there is no such clip", 404, media_type="text/plain")
            try:
                made = self._previews.get(clips[number], kind)
            except VideoMAEError as error:
                return Response(str(error), 404, media_type="text/plain")
            return Response(made, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})

        posts = {"answer": self._answer, "skip": self._skip, "undo": self._undo, "withdraw": self._withdraw}
        posts |= {"class": self._class, "save": self._saved}
        gets = {"state": self._state_of, "clips": self._clips, "map": self._map}
        return Starlette(
            routes=[
                Route("/", page),
                Route("/label.css", style),
                Route("/label.js", script),
                Route("/{kind}/{number:int}.jpg", preview),
                *(Route(f"/api/{name}", looks(answer)) for name, answer in gets.items()),
                *(Route(f"/api/{name}", does(answer), methods=["POST"]) for name, answer in posts.items()),
            ]
        )

    # --- what the page asks for ---

    def _state_of(self, request: Request) -> dict[str, Any]:
        number = request.query_params.get("clip", "")
        return self._state(request.query_params.get("page", ""), int(number) if number.isdecimal() else None)

    def _state(self, page: str, clip: int | None = None, **more: Any) -> dict[str, Any]:
        """Return all that the page shows, with the question: `clip`, or else the next one."""
        session = self._session

        def look() -> dict[str, Any]:
            question = clip if clip is not None and clip < len(session.clips) else session.question(page)
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
                "estimate": found
                and {"accuracy": found.accuracy, "low": found.low, "high": found.high, "answers": found.answers},
                "settled": session.settled,
                **more,
            }

        state: dict[str, Any] = session.locked(look)
        return state

    def _classes(self) -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "count": count,
                "light": label_colour(number, dark=False),
                "dark": label_colour(number, dark=True),
            }
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
                    "said": said and {"label": said[0], "probability": round(said[1], 4)},
                }
            )
        return described

    def _clips(self, request: Request) -> dict[str, Any]:
        """Return a part of a grid: the clips with a label, those of which nobody is sure, or the rest."""
        label, of = request.query_params.get("label"), request.query_params.get("of", "")
        first = request.query_params.get("from", "0")
        start = int(first) if first.isdecimal() else 0
        session = self._session

        def look() -> dict[str, Any]:
            listed = session.rest() if of == "rest" else session.members(UNSURE if of == "unsure" else label or "")
            return {"all": len(listed), "from": start, "clips": self._shown(listed[start : start + _PAGE])}

        found: dict[str, Any] = session.locked(look)
        return found

    def _map(self, request: Request) -> dict[str, Any]:
        session = self._session

        def look() -> tuple[list[Clip], Any, list[int]]:
            numbers = range(len(session.clips))
            said = session.predictions(numbers)
            labels = [session.label_of(number) for number in numbers]
            names = {name: place for place, name in enumerate(session.classes)}
            guessed = [names[s[0]] if s else -1 for s in said]
            shown = [
                2 * names[label] + 1 if label is not None else 2 * guess if guess >= 0 else -1
                for label, guess in zip(labels, guessed, strict=True)
            ]
            return list(session.clips), session.features, shown

        clips, features, shown = session.locked(look)
        if len(clips) > 1.1 * self._points[0] or not self._points[1]:
            block = VectorBlock(unit(features), [Row("") for _ in clips])
            points = lay_out(lambda: [block], len(clips), "pca").points
            self._points = len(clips), np.round(points, 4).tolist()
        laid = self._points[1]
        return {"points": laid[: len(shown)], "shown": shown[: len(laid)], "classes": self._classes()}

    def _answer(self, given: dict[str, Any]) -> dict[str, Any]:
        label = given.get("label")
        if label is not None and not isinstance(label, str):
            raise OptionError.about("label", "a label is text")
        numbers = _numbers(given)
        raw = given.get("seen")
        seen = dict(zip(numbers, raw, strict=True)) if isinstance(raw, list) and len(raw) == len(numbers) else None
        others = self._session.answer(numbers, label, seen=seen)
        return self._state(_page(given), others=len(others), kept=len(numbers) - len(others))

    def _skip(self, given: dict[str, Any]) -> dict[str, Any]:
        for number in _numbers(given):
            self._session.skip(number)
        return self._state(_page(given))

    def _undo(self, given: dict[str, Any]) -> dict[str, Any]:
        undone = self._session.undo()
        return self._state(_page(given), undone[0] if undone else None, undone=len(undone))

    def _withdraw(self, given: dict[str, Any]) -> dict[str, Any]:
        self._session.withdraw(_numbers(given))
        return self._state(_page(given))

    def _class(self, given: dict[str, Any]) -> dict[str, Any]:
        name = self._session.add_class(str(given.get("name", "")))
        clip = given.get("clip")
        return self._state(_page(given), clip if isinstance(clip, int) else None, added=name)

    def _saved(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"saved": visible(self._save())}


class _Guard:
    """Lets requests through to `app` that come from the page: the right name of this machine, and the token or its cookie."""

    def __init__(self, app: ASGIApp, *, token: str, names: set[str], cookie: str) -> None:
        self._app, self._token, self._names, self._cookie = app, token, names, cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent = [*message.get("headers", []), *_HEADERS]
                if not any(name == b"cache-control" for name, _ in sent):
                    sent.append((b"cache-control", b"no-store"))
                message = {**message, "headers": sent}
            await send(message)

        if scope["type"] != "http":
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        if not self._is_ours(headers.get(b"host", "")):
            # A page elsewhere may have made its own name lead here (DNS rebinding).
            await _refuse(guarded, 421, "this server answers to localhost only")
        elif scope["path"] == "/" and (token := parse_qs(scope["query_string"].decode("latin-1")).get("token")):
            if secrets.compare_digest(token[0].encode(), self._token.encode()):
                # The token leaves the address bar, and with it the history.
                cookie = f"{self._cookie}={self._token}; HttpOnly; SameSite=Strict; Path=/"
                await _refuse(guarded, 303, "", (b"location", b"/"), (b"set-cookie", cookie.encode()))
            else:
                await _refuse(guarded, 403, _STALE)
        elif not self._is_known(headers.get(b"cookie", "")):
            await _refuse(guarded, 403, _STALE)
        elif scope["method"] == "POST" and not self._is_own(headers):
            await _refuse(guarded, 403, "requests come from the page alone")
        else:
            await self._app(scope, receive, guarded)

    def _is_ours(self, host: str) -> bool:
        try:
            return urlsplit(f"//{host}").hostname in self._names
        except ValueError:
            return False

    def _is_known(self, cookies: str) -> bool:
        try:
            morsel = SimpleCookie(cookies).get(self._cookie)
        except CookieError:
            return False
        return morsel is not None and secrets.compare_digest(morsel.value.encode(), self._token.encode())

    @staticmethod
    def _is_own(headers: dict[bytes, str]) -> bool:
        origin, length = headers.get(b"origin"), headers.get(b"content-length", "")
        return (
            headers.get(b"content-type", "").partition(";")[0] == "application/json"
            and (origin is None or origin.partition("://")[2] == headers.get(b"host"))
            and length.isdecimal()
            and int(length) <= _MOST_BODY
        )


_STALE = "open the address that videomae label printed: this one is of an earlier start, or incomplete"


async def _refuse(send: Send, status: int, words: str, *headers: tuple[bytes, bytes]) -> None:
    kind = (b"content-type", b"text/plain; charset=utf-8")
    await send({"type": "http.response.start", "status": status, "headers": [kind, *headers]})
    await send({"type": "http.response.body", "body": words.encode()})


def _told(answer: Callable[[], Any]) -> Response:
    """Answer with JSON, or with the words of the error."""
    from starlette.responses import JSONResponse

    try:
        return JSONResponse(answer())
    except VideoMAEError as error:
        status = 400 if isinstance(error, OptionError) else 507 if isinstance(error, OutputError) else 500
        return JSONResponse({"error": str(error)}, status)


def _numbers(given: dict[str, Any]) -> list[int]:
    numbers = given.get("clips")
    if not isinstance(numbers, list) or not all(type(number) is int for number in numbers):
        raise OptionError.about("clips", "clips are numbers")
    return numbers


def _page(given: dict[str, Any]) -> str:
    return str(given.get("page", ""))[:40]


def _asset(name: str) -> str:
    return (files("videomae_cli.labelling") / "assets" / name).read_text(encoding="utf-8")
