"""Nobody waits for a scrape but who has asked for it."""

from __future__ import annotations

import asyncio
import gc
from threading import Event
from types import SimpleNamespace

from host.ops import metrics
from host.ops.http import Request
from host.ops.pages import Pages

SECONDS = 10.0


def test_other_pages_are_answered_while_metrics_are_written(monkeypatch):
    enough = Event()

    def read(_host):
        assert enough.wait(SECONDS)
        yield from ()

    async def ask():
        pages = Pages(SimpleNamespace(name="service", feed=None), 60.0)
        scrape = asyncio.ensure_future(pages.answer(Request("GET", "/metrics", {}, {})))
        page = await pages.answer(Request("GET", "/", {}, {}))
        assert page.status == 200
        assert not scrape.done()
        enough.set()
        assert (await scrape).status == 200

    monkeypatch.setattr(metrics, "read", read)
    asyncio.run(ask())
    assert gc.isenabled()
