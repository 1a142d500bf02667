"""The site, built and served on the loopback, and a browser that notes what goes wrong in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from host.testing.machine import patience

if TYPE_CHECKING:
    from playwright import sync_api

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the site, built as for readers."""
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", folder]
    subprocess.run(build, cwd=ROOT, check=True, timeout=patience(100))
    return folder


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing of each request."""


@pytest.fixture(scope="session")
def address(site: Path) -> Iterator[str]:
    """Where the site is served."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=site)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join(patience(10))


@pytest.fixture(scope="session")
def browser() -> Iterator[sync_api.Browser]:
    """The Chromium of the system, or the one that playwright has installed."""
    # As root it starts without its sandbox only.
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    api = pytest.importorskip("playwright.sync_api", reason="it is in the dependency group site")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=flags, timeout=patience(30) * 1000
        )
        yield chromium
        chromium.close()


class Visit:
    """A visitor with a screen of some width, who likes it light or dark.

    Attributes:
        page: the tab.
        faults: what went wrong so far: errors, and requests to elsewhere.
    """

    def __init__(self, browser: sync_api.Browser, home: str, width: int, scheme: str) -> None:
        self.faults: list[str] = []
        self._home = home
        self._context = browser.new_context(
            viewport={"width": width, "height": 844}, color_scheme=scheme
        )
        self._context.set_default_timeout(patience(20) * 1000)
        self.page = self._context.new_page()
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", self._requested)
        self.page.on("requestfailed", self._failed)
        self.page.on("response", self._answered)

    def open(self, page: str) -> None:
        """Open a page of the site, and wait until all that it asks for at once is there."""
        self.page.goto(self._home + page)

    def close(self) -> None:
        """Close the tab."""
        self._context.close()

    def allow(self, *permissions: str) -> None:
        """Let pages of the site do what browsers ask their users for."""
        self._context.grant_permissions(permissions)

    def _said(self, message: sync_api.ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"{message.type}: {message.text}")

    def _requested(self, request: sync_api.Request) -> None:
        if not request.url.startswith((self._home, "data:", "blob:")):
            self.faults.append(f"elsewhere: {request.url}")

    def _failed(self, request: sync_api.Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # that is one of a page that was left meanwhile
            self.faults.append(f"{request.failure}: {request.url}")

    def _answered(self, response: sync_api.Response) -> None:
        if response.status >= 400:
            self.faults.append(f"{response.status}: {response.url}")


@pytest.fixture
def visit(browser: sync_api.Browser, address: str, site: Path) -> Iterator[object]:
    """Make a visit; `from_disk` opens the files themselves, without a server."""
    made: list[Visit] = []

    def begin(width: int = 1280, scheme: str = "light", from_disk: bool = False) -> Visit:
        home = f"{site.as_uri()}/" if from_disk else address
        made.append(Visit(browser, home, width, scheme))
        return made[-1]

    yield begin
    for one in made:
        one.close()


@pytest.fixture
def look(browser: sync_api.Browser) -> Iterator[object]:
    """Open another page than those of the site, by its address."""
    made: list[Visit] = []

    def begin(home: str, width: int = 1280, scheme: str = "light") -> Visit:
        made.append(Visit(browser, home, width, scheme))
        made[-1].open("")
        return made[-1]

    yield begin
    for one in made:
        one.close()
