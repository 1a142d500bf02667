"""What is served under which path."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any

from host.control.client import LostError, RefusedError, SilentError, ask
from host.errors import RemoteError
from host.ipc.assignment import OpsAssignment
from host.ops import exposition, metrics
from host.ops.feed import Feed
from host.ops.http import Request, Response, text
from host.ops.questions import Answer, Question
from host.ops.readiness import Readiness

STATUS_SECONDS = 1.0
"""How often they are sent the state of the host."""
_HUNG_SECONDS = 1.0
"""How long the supervisor may take before it counts as hung."""
_SCRAPES_SHARE = 0.02
"""How much of a CPU the writing of metrics may take, however many ask for them."""
_LIST_SECONDS = 5.0
"""How long it may take for a list that it asks workers for."""
_MOST = 1_000
"""How many connections /connections.json lists: those that are open for longest."""
MOST_ASKING = 64
"""How many clients may wait for answers that take a while. They keep their places, as those of
streams do: so there are some for probes, whoever else asks."""
_STATIC = {
    "/": ("index.html", "text/html; charset=utf-8"),
    **{
        f"/{name}.js": (f"{name}.js", "text/javascript; charset=utf-8")
        for name in ("dashboard", "figures", "log", "page", "words")
    },
    "/dashboard.css": ("dashboard.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
OPEN_PATHS = frozenset(_STATIC)
PROBES = frozenset({"/healthz", "/readyz"})
_NOT_COUNTED = PROBES | {"/events"}
"""What does not count as asking: streams have a limit of their own."""
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""What each answer has, too: no other page may show it, and it may load nothing from elsewhere."""


class Pages:
    """All pages of a host.

    Args:
        host: the host.
        longest_exec: seconds after which a supervisor that executes itself counts as hung.
        has_token: whether requests must bear a token: the page asks for it, then.
    """

    def __init__(self, host: OpsAssignment, longest_exec: float, *, has_token: bool) -> None:
        self._host = host
        self._threads = threads = ThreadPoolExecutor(4, "question")

        def question(
            command: str, args: dict[str, Any], seconds: float
        ) -> Question[dict[str, Any]]:
            return Question(_in_one_of(threads, self._ask, command, args, seconds))

        # A thread of its own: probes do not wait behind lists that a hung supervisor owes.
        probes = ThreadPoolExecutor(1, "probe")
        ready = {"ready": True}
        probe = Question(_in_one_of(probes, ask, host.name, "status", ready, _HUNG_SECONDS))
        self._readiness = Readiness(host, probe, longest_exec)
        scrapes = ThreadPoolExecutor(1, "scrape")
        # In a thread, so that a host with very many series is not taken for one that hangs.
        self._metrics_as = {
            kind: Question(_in_one_of(scrapes, self._written, kind), _SCRAPES_SHARE)
            for kind in (exposition.TEXT, exposition.OPENMETRICS)
        }
        self._status = question("status", {}, _HUNG_SECONDS)
        self._generations = question("generations", {}, _HUNG_SECONDS)
        listed = {"limit": _MOST, "sort": "age"}
        self._connections = question("connections", listed, _LIST_SECONDS)
        self._recent = question("recent", {}, _HUNG_SECONDS)
        self._asking = 0
        self._unanswered: set[asyncio.Future[dict[str, Any]]] = set()
        self._ending, self._feed = False, Feed(host.feed)
        folder = Path(__file__).parent / "static"
        self._files = {
            path: ((folder / file).read_bytes(), kind) for path, (file, kind) in _STATIC.items()
        }
        if has_token:
            page, kind = self._files["/"]
            self._files["/"] = page.replace(b"<html ", b"<html data-token ", 1), kind
        self._pages: dict[str, Callable[[Request], Awaitable[Response]]] = {
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/metrics": self._metrics,
            "/status.json": lambda _: self._json(self._status.answer()),
            "/generations.json": lambda _: self._json(self._generations.answer()),
            "/connections.json": lambda _: self._json(self._connections.answer()),
            "/recent.json": lambda _: self._json(self._recent.answer()),
            "/why.json": self._why,
            "/events": self._events,
        }

    def _ask(self, command: str, args: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Ask the supervisor, in a thread; one that executes itself is waited for."""
        while True:
            try:
                return ask(self._host.name, command, args, seconds)
            except (LostError, SilentError):  # any other would come again at once
                if not self._readiness.is_executing():
                    raise

    @property
    def paths(self) -> list[str]:
        """All paths that are served."""
        return [*self._files, *self._pages]

    def begin(self) -> None:
        """Hear of events from now on."""
        self._feed.begin()

    def end(self) -> None:
        """End the streams of events: their clients connect anew, to the next process.

        A supervisor that ends waits for this process and answers nobody: so who has asked it
        something is told that at once.
        """
        self._ending = True
        self._feed.end()
        if self._host.counts.is_ending:
            for each in list(self._unanswered):
                each.cancel()

    async def answer(self, request: Request) -> Response:
        """Answer a request that was let in."""
        if request.path in self._files:
            body, kind = self._files[request.path]
            return Response(body, kind=kind)
        if request.path not in self._pages:
            return text(HTTPStatus.NOT_FOUND, f"there is: {', '.join(self.paths)}")
        if request.path in _NOT_COUNTED:
            return await self._asked(request)
        if self._asking >= MOST_ASKING:
            words = f"{MOST_ASKING} clients wait for answers already, which is the most"
            return text(HTTPStatus.SERVICE_UNAVAILABLE, words, {"Retry-After": "1"})
        self._asking += 1
        try:
            return await self._asked(request)
        finally:
            self._asking -= 1

    async def _asked(self, request: Request) -> Response:
        """Answer a request for a page that takes a while."""
        try:
            return await self._pages[request.path](request)
        except RefusedError as error:  # such as an id that no connection has
            return text(HTTPStatus.NOT_FOUND, str(error))
        except RemoteError as error:
            return text(HTTPStatus.SERVICE_UNAVAILABLE, str(error))

    async def _healthz(self, _: Request) -> Response:
        await self._readiness.reason_against()
        return text(HTTPStatus.OK, "ok")

    async def _readyz(self, _: Request) -> Response:
        if reason := await self._readiness.reason_against():
            return text(HTTPStatus.SERVICE_UNAVAILABLE, reason)
        return text(HTTPStatus.OK, "ready")

    async def _metrics(self, request: Request) -> Response:
        kind = exposition.media_type(request.headers.get("accept", ""))
        return Response(await self._metrics_as[kind].answer(), kind=kind)

    def _written(self, kind: str) -> bytes:
        """Return the text of all metrics; one thread does so, and one text at a time."""
        gc.disable()  # no cycle is made, and it would look again and again at what is kept
        try:
            return exposition.write(metrics.read(self._host), kind)
        finally:
            gc.enable()

    async def _why(self, request: Request) -> Response:
        """Tell why the connection `id` is with its worker; the supervisor checks the id."""
        args = {"id": request.query.get("id", "")}
        answer = _in_one_of(self._threads, self._ask, "why", args, _LIST_SECONDS)
        return await self._json(answer())

    async def _json(self, answer: Awaitable[dict[str, Any]]) -> Response:
        """Return what the supervisor answers, or that it does not any more."""
        asked = asyncio.ensure_future(answer)
        self._unanswered.add(asked)
        try:
            if self._ending and self._host.counts.is_ending:
                asked.cancel()
            return Response(json.dumps(await asked).encode(), kind="application/json")
        except asyncio.CancelledError:
            if not self._ending:  # the client is gone
                raise
            return text(HTTPStatus.SERVICE_UNAVAILABLE, "the host is stopping")
        finally:
            self._unanswered.discard(asked)

    async def _events(self, _: Request) -> Response:
        return Response(self._stream(), kind="text/event-stream")

    async def _stream(self) -> AsyncGenerator[bytes]:
        """Yield the state of the host again and again, and events of its log as they come."""
        with self._feed.listening() as listener:
            while not self._ending:
                for kind, question in (
                    ("status", self._status),
                    ("generations", self._generations),
                ):
                    yield _event(kind, json.dumps(await _answer(question)))
                until = asyncio.get_running_loop().time() + STATUS_SECONDS
                while not self._ending and await _came(listener.news, until):
                    for event in _logged(*listener.take()):
                        yield event


def _in_one_of(
    threads: Executor, call: Callable[..., Answer], *args: object
) -> Callable[[], Awaitable[Answer]]:
    """Return what makes a call in a thread, and waits for what it returns."""
    return lambda: asyncio.get_running_loop().run_in_executor(threads, call, *args)


async def _answer(question: Question[dict[str, Any]]) -> dict[str, Any]:
    """Return the answer, or as `error` why there is none."""
    try:
        return await question.answer()
    except RemoteError as error:
        return {"error": str(error)}


async def _came(news: asyncio.Event, until: float) -> bool:
    """Wait for news, until that time of the loop; tell whether there are any."""
    with suppress(TimeoutError):
        async with asyncio.timeout_at(until):
            return await news.wait()
    return False


def _logged(events: Iterable[str], dropped: int) -> Iterator[bytes]:
    """Yield events of the log; before them how many there were that nobody has heard of."""
    if dropped:
        yield _event("dropped", json.dumps({"count": dropped}))
    for event in events:
        yield _event("log", event)


def _event(kind: str, value: str) -> bytes:
    """Return an event of the format text/event-stream, as the HTML standard has it (9.2)."""
    return f"event: {kind}\ndata: {value}\n\n".encode()
