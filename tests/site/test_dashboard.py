"""The dashboard in a real browser: it shows what is so, and goes on whatever happens."""

from __future__ import annotations

import os
import signal
import socket
import threading
from pathlib import Path

import pytest

from host.testing import RunningHost
from host.testing.machine import patience

OVERFLOWING = (Path(__file__).parent / "overflowing.js").read_text(encoding="utf-8")


class Shown:
    """A host with a dashboard, and somebody who uses the host."""

    def __init__(self, folder: Path, *flags: str) -> None:
        given = ["--log-format", "json", "--plugin", "echo", "--workers", "2", *flags]
        given += ["--listen", "tcp://127.0.0.1:0", "--ops", "tcp://127.0.0.1:0"]
        self.host = RunningHost([*given, "--name", f"shown-{os.getpid()}"], cwd=folder)
        self.host.wait_for("host_ready")
        (listening,) = self.host.events("ops_listening")
        self.home = listening["address"].replace("tcp://", "http://") + "/"
        self._stopped = threading.Event()
        self._user = threading.Thread(target=self._use)
        self._user.start()

    def _use(self) -> None:
        host, _, port = self.host.address.removeprefix("tcp://").rpartition(":")
        while not self._stopped.wait(0.01):
            with socket.create_connection((host, int(port)), timeout=10) as client:
                client.sendall(b"x" * 500)
                client.recv(500)

    def helper(self) -> int:
        """The process that serves the dashboard: the one that is no worker."""
        children = Path(f"/proc/{self.host.pid}/task/{self.host.pid}/children").read_text().split()
        workers = {each["pid"] for each in self.host.events("worker_ready")}
        (pid,) = {int(each) for each in children} - workers
        return pid

    def close(self) -> None:
        self._stopped.set()
        self._user.join()
        self.host.stop()
        self.host.clean_up()


@pytest.fixture
def shown(tmp_path):
    made = []

    def begin(*flags):
        made.append(Shown(tmp_path, *flags))
        return made[-1]

    yield begin
    for one in made:
        one.close()


def wait(visitor, words, argument=None):
    visitor.page.wait_for_function(words, arg=argument, timeout=patience(20) * 1000)


ACCEPTED = """() => {
  const cell = document.querySelector("#listeners td:nth-child(4)");
  return Number(cell.textContent.replace(/,/g, ""));
}"""


def accepted(visitor):
    return visitor.page.evaluate(ACCEPTED)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_and_its_numbers_move(shown, look, width, scheme):
    one = shown()
    visitor = look(one.home, width, scheme)
    wait(visitor, "() => document.querySelector('#state').textContent === 'serving, ready'")
    before = accepted(visitor)
    wait(visitor, f"(before) => ({ACCEPTED})() > before", before)
    wait(visitor, "() => Number(document.querySelector('figure strong').textContent) > 0")
    assert visitor.page.evaluate(OVERFLOWING) == []
    assert visitor.faults == []


def test_it_goes_on_over_a_reload_and_the_death_of_its_process(shown, look):
    one = shown()
    visitor = look(one.home)
    wait(visitor, "() => document.querySelectorAll('#workers tbody tr').length === 2")
    one.host.signal(signal.SIGHUP)
    one.host.wait_for("generation_ready")
    wait(visitor, "() => document.querySelector('#facts').textContent.includes('generation 1')")
    assert visitor.faults == []
    os.kill(one.helper(), signal.SIGKILL)
    one.host.wait_for("helper_ended")
    wait(visitor, "() => document.querySelector('#state').textContent === 'serving, ready'")
    before = accepted(visitor)
    wait(visitor, f"(before) => ({ACCEPTED})() > before", before)
    # Chromium notes that the stream was cut; nothing else went wrong.
    assert all("net::ERR" in each for each in visitor.faults)


def test_what_happens_is_told_as_it_happens(shown, look):
    one = shown()
    visitor = look(one.home)
    wait(visitor, "() => document.querySelectorAll('#workers tbody tr').length === 2")
    pid = one.host.kill_worker(0)
    told = "(pid) => document.querySelector('#events').textContent.includes(`(pid ${pid}) died`)"
    wait(visitor, told, pid)


def test_a_connection_is_explained_by_the_keyboard_alone(shown, look):
    one = shown()
    with one.host.connect() as client:
        client.sendall(b"x")
        visitor = look(one.home)
        visitor.page.locator("#list").focus()
        visitor.page.keyboard.press("Enter")
        button = visitor.page.locator("#connections td button").first
        button.focus()
        visitor.page.keyboard.press("Enter")
        wait(visitor, "() => document.querySelector('#why').textContent.includes('round_robin')")


def test_a_token_is_typed(shown, look):
    one = shown("--set", "ops.token=0123456789abcdef")
    visitor = look(one.home)
    visitor.page.locator("#token").fill("not-the-token-at-all")
    visitor.page.keyboard.press("Enter")
    wait(visitor, "() => document.querySelector('#refused').textContent !== ''")
    visitor.page.locator("#token").fill("0123456789abcdef")
    visitor.page.keyboard.press("Enter")
    wait(visitor, "() => document.querySelector('#state').textContent === 'serving, ready'")
    assert all("401" in each for each in visitor.faults)
