"""Makes the pictures of docs/monitoring.md, of a real host under load: it takes two minutes.

PYTHONPATH=tests python tests/site/pictures.py docs/monitoring
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from playwright import sync_api

from host.testing import RunningHost
from host.testing.machine import patience
from support import datagrams

SETTINGS = """
workers = 4
plugins = ["line", "echo"]

[[listen]]
address = "tcp://127.0.0.1:0"
plugin = "line"

[[listen]]
address = "udp://127.0.0.1:0"
plugin = "echo"

[ops]
listen = ["tcp://127.0.0.1:0"]
"""
TABS = {
    "dashboard": (1280, "light"),
    "dashboard-dark": (1280, "dark"),
    "dashboard-phone": (390, "light"),
    "dashboard-phone-dark": (390, "dark"),
}
PHONE_HEIGHT = 1600
BEFORE_SECONDS, BETWEEN_SECONDS, AFTER_SECONDS = 80, 20, 3
"""How long it runs before a worker is killed, before it reloads, and before it is looked at."""


class Users:
    """Those who use a host: some stay for a while, so that a reload has something to drain."""

    def __init__(self, host: RunningHost) -> None:
        self._host, self._stopped = host, threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=(work, seconds))
            for work, seconds in ((self._visit, 0.01), (self._send, 0.02))
        ]
        self._staying: list[socket.socket] = []
        for thread in self._threads:
            thread.start()

    def _repeat(self, work: Callable[[], object], seconds: float) -> None:
        while not self._stopped.wait(seconds * random.uniform(0.5, 1.5)):
            with suppress(OSError):
                work()

    def _visit(self) -> None:
        client = self._host.connect(self._host.addresses[0])
        client.sendall(random.choice((b"PING\n", b"HELP\n", b"ECHO " + b"x" * 900 + b"\n")))
        client.recv(4096)
        self._staying.append(client)
        if len(self._staying) > 60:
            self._staying.pop(random.randrange(60)).close()

    def _send(self) -> None:
        with datagrams.client(self._host.addresses[1]) as sock:
            datagrams.ask(sock, b"x" * random.randrange(100, 900))

    def leave(self) -> None:
        """End them."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        for client in self._staying:
            client.close()


def take(browser: sync_api.Browser, host: RunningHost, folder: Path) -> None:
    """Look at a host with all kinds of screens, kill a worker, reload, and take the pictures."""
    (listening,) = host.events("ops_listening")
    pages = {}
    for name, (width, scheme) in TABS.items():
        screen = {"width": width, "height": PHONE_HEIGHT}
        pages[name] = browser.new_page(viewport=screen, color_scheme=scheme)
        pages[name].goto(listening["address"].replace("tcp://", "http://"))
    (page, *_) = pages.values()

    def go_on(seconds: float) -> None:
        age = page.evaluate("() => before?.uptime_seconds ?? 0")
        words, limit = "(until) => before?.uptime_seconds > until", patience(seconds + 20) * 1000
        page.wait_for_function(words, arg=age + seconds, timeout=limit)

    go_on(BEFORE_SECONDS)
    host.kill_worker(2)
    go_on(BETWEEN_SECONDS)
    host.signal(signal.SIGHUP)
    host.wait_for("generation_ready")
    reloaded = "() => document.querySelector('#facts').textContent.includes('generation 1')"
    for each in pages.values():
        each.wait_for_function(reloaded, timeout=patience(30) * 1000)
    go_on(AFTER_SECONDS)
    for name, each in pages.items():
        each.screenshot(path=folder / f"{name}.png", full_page=TABS[name][0] > 390)


def main(folder: Path) -> None:
    """Make all pictures, in a folder."""
    with tempfile.TemporaryDirectory() as place, sync_api.sync_playwright() as playwright:
        settings = Path(place) / "settings.toml"
        settings.write_text(SETTINGS, encoding="utf-8")
        flags = ["--config", str(settings), "--log-format", "json", "--name", "example"]
        with RunningHost(flags, cwd=place) as host:
            host.wait_for("host_ready")
            users = Users(host)
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"),
                args=["--no-sandbox"] if os.geteuid() == 0 else [],
            )
            try:
                take(browser, host, folder)
            finally:
                browser.close()
                users.leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
