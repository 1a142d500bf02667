"""Nobody waits for a scrape but who has asked for it."""

from __future__ import annotations

import asyncio
import gc
import time
from http import HTTPStatus
from threading import Event
from types import SimpleNamespace

from host.control.client import LostError, NoHostError, SilentError
from host.ops import metrics
from host.ops.http import Request
from host.ops.http_server import MAX_CONNECTIONS, MAX_STREAMS
from host.ops.pages import MOST_ASKING, Pages

SECONDS = 10.0


def test_other_pages_are_answered_while_metrics_are_written(monkeypatch):
    enough = Event()

    def read(_host):
        assert enough.wait(SECONDS)
        yield from ()

    async def ask():
        pages = Pages(SimpleNamespace(name="service", feed=None), 60.0, has_token=False)
        scrape = asyncio.ensure_future(pages.answer(Request("GET", "/metrics", {}, {})))
        page = await pages.answer(Request("GET", "/", {}, {}))
        assert page.status == 200
        assert not scrape.done()
        enough.set()
        assert (await scrape).status == 200

    monkeypatch.setattr(metrics, "read", read)
    asyncio.run(ask())
    assert gc.isenabled()


def test_many_who_wait_for_answers_leave_places_for_probes(monkeypatch):
    assert MOST_ASKING + MAX_STREAMS < MAX_CONNECTIONS
    enough = Event()

    def answer_later(_name, _command, args, _seconds):
        assert "ready" in args or enough.wait(SECONDS)
        return {"ready": True}

    async def ask():
        counts = SimpleNamespace(executing_since=0.0, is_ending=False)
        host = SimpleNamespace(name="service", feed=None, counts=counts)
        pages = Pages(host, 60.0, has_token=False)

        async def status(path):
            return (await pages.answer(Request("GET", path, {}, {}))).status

        asking = [asyncio.ensure_future(status("/status.json")) for _ in range(MOST_ASKING)]
        await asyncio.sleep(0)
        for path in ("/status.json", "/metrics"):
            assert await status(path) == HTTPStatus.SERVICE_UNAVAILABLE
        for path in ("/healthz", "/readyz", "/events", "/"):
            assert await status(path) == HTTPStatus.OK
        enough.set()
        assert set(await asyncio.gather(*asking)) == {HTTPStatus.OK}
        assert await status("/status.json") == HTTPStatus.OK

    monkeypatch.setattr("host.ops.pages.ask", answer_later)
    asyncio.run(ask())


def test_who_asks_a_supervisor_that_ends_is_told_so_at_once(monkeypatch):
    enough, asked = Event(), Event()

    def answer_later(_name, _command, _args, _seconds):
        asked.set()
        assert enough.wait(SECONDS)
        return {}

    async def ask():
        counts = SimpleNamespace(executing_since=0.0, is_ending=False)
        pages = Pages(
            SimpleNamespace(name="service", feed=None, counts=counts), 60.0, has_token=False
        )
        before = asyncio.ensure_future(pages.answer(Request("GET", "/status.json", {}, {})))
        await asyncio.to_thread(asked.wait, SECONDS)
        counts.is_ending = True
        pages.end()
        after = await pages.answer(Request("GET", "/why.json", {"id": "1-1"}, {}))
        for answer in (await before, after):
            assert (answer.status, answer.body) == (503, b"the host is stopping\n")
        enough.set()

    monkeypatch.setattr("host.ops.pages.ask", answer_later)
    asyncio.run(ask())


def test_one_that_is_replaced_waits_for_the_answer_of_the_next_supervisor(monkeypatch):
    enough, asked = Event(), Event()

    def answer_later(_name, _command, _args, _seconds):
        asked.set()
        assert enough.wait(SECONDS)
        return {"pid": 7}

    async def ask():
        counts = SimpleNamespace(executing_since=0.0, is_ending=False)
        pages = Pages(
            SimpleNamespace(name="service", feed=None, counts=counts), 60.0, has_token=False
        )
        answer = asyncio.ensure_future(pages.answer(Request("GET", "/status.json", {}, {})))
        await asyncio.to_thread(asked.wait, SECONDS)
        pages.end()
        enough.set()
        assert (await answer).body == b'{"pid": 7}'

    monkeypatch.setattr("host.ops.pages.ask", answer_later)
    asyncio.run(ask())


class Supervisor:
    """A supervisor that executes itself, and answers a question after some errors."""

    def __init__(self, monkeypatch, *errors):
        self.errors, self.asked = list(errors), 0
        monkeypatch.setattr("host.ops.pages.ask", self.ask)

    def ask(self, _name, _command, _args, _seconds):
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)
        return {"pid": 7}

    def page(self, path):
        counts = SimpleNamespace(executing_since=time.monotonic(), is_ending=False)
        pages = Pages(
            SimpleNamespace(name="service", feed=None, counts=counts), 60.0, has_token=False
        )
        return asyncio.run(pages.answer(Request("GET", path, {}, {})))


def test_a_supervisor_that_executes_itself_is_waited_for(monkeypatch):
    supervisor = Supervisor(monkeypatch, LostError("service"), SilentError("service", 1.0))
    assert supervisor.page("/status.json").body == b'{"pid": 7}'
    assert supervisor.asked == 3


def test_one_whose_name_is_gone_is_not_asked_again_and_again(monkeypatch):
    supervisor = Supervisor(monkeypatch, NoHostError("service"))
    assert supervisor.page("/status.json").status == HTTPStatus.SERVICE_UNAVAILABLE
    assert supervisor.asked == 1
