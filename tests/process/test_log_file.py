"""A log file that has been rotated gets no line once the host has said that it is opened anew."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.address import connect
from support.hosting import Host, Refuse, Start, eventually, freeze, thaw
from support.session import ask

pytestmark = [pytest.mark.process, pytest.mark.warm]

WORKERS = 3


def events(path: Path, name: str = "") -> list[dict[str, Any]]:
    """Return the events in a log file, in order: all of them, or those of one name."""
    whole = path.read_text().rpartition("\n")[0]
    told = [json.loads(line) for line in whole.splitlines()]
    return [each for each in told if name in ("", each["event"])]


def wait_for(path: Path, name: str, count: int = 1) -> list[dict[str, Any]]:
    """Wait until so many events of a name are in a log file; return them."""
    eventually(
        lambda: path.exists() and len(events(path, name)) >= count, f"{count} of {name} in {path}"
    )
    return events(path, name)


class Site:
    """A host with a log file, which is rotated by renaming it."""

    def __init__(self, host: Host, folder: Path) -> None:
        self.host, self.path = host, folder / "host.log"
        self.old = folder / "host.log.1"
        wait_for(self.path, "host_ready")
        self.address = f"unix:{folder}/0-0.sock"

    def rotate(self, cause: signal.Signals) -> None:
        self.path.rename(self.old)
        self.host.signal(cause)

    def serve(self) -> set[int]:
        """Have each worker serve connections, which end; return the workers' pids."""
        served: set[int] = set()
        before = len(events(self.path, "connection_closed"))
        for _ in range(2 * WORKERS):
            with connect(self.address) as sock:
                served.add(ask(sock)[1])
        wait_for(self.path, "connection_closed", before + 2 * WORKERS)
        return served


@pytest.fixture
def site(start: Start, tmp_path: Path) -> Callable[..., Site]:
    def site(*flags: str) -> Site:
        given = ("--set", "log.file=host.log", "--set", "log.access=true", *flags)
        return Site(start(*given, listen=("unix",), workers=WORKERS, ready=False), tmp_path)

    return site


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    freeze(pid)
    try:
        yield
    finally:
        thaw(pid)


def test_all_lines_are_in_the_file_and_none_on_standard_error(site: Callable[..., Site]) -> None:
    here = site()
    assert len(here.serve()) == WORKERS
    assert here.host.stop() == 0
    assert here.host.said().count("{") == 0
    assert {each["pid"] for each in events(here.path)} > {here.host.pid}
    assert events(here.path)[-1]["event"] == "host_stopped"


def test_after_sigusr1_the_old_file_gets_no_line_of_any_process(site: Callable[..., Site]) -> None:
    here = site()
    here.serve()
    for cause in range(3):
        here.rotate(signal.SIGUSR1)
        [told] = wait_for(here.path, "log_reopened")
        assert (told["file"], told["cause"]) == (str(here.path), "SIGUSR1")
        size = here.old.stat().st_size
        assert len(here.serve()) == WORKERS, cause
        assert here.old.stat().st_size == size


def test_a_reload_opens_it_anew_also_in_the_workers_that_drain(site: Callable[..., Site]) -> None:
    here = site()
    with connect(here.address) as session:
        _, old_worker, _ = ask(session)
        here.rotate(signal.SIGHUP)
        wait_for(here.path, "generation_ready")
        wait_for(here.path, "log_reopened")
        size = here.old.stat().st_size
    wait_for(here.path, "connection_closed")
    assert old_worker in {each["pid"] for each in events(here.path, "connection_closed")}
    here.serve()
    assert here.old.stat().st_size == size


def test_a_path_that_cannot_be_opened_keeps_the_old_file_and_says_so(
    site: Callable[..., Site],
) -> None:
    here = site()
    here.path.rename(here.old)
    here.path.mkdir()
    here.host.signal(signal.SIGUSR1)
    [told] = wait_for(here.old, "log_not_reopened")
    assert (told["process"], told["cause"]) == ("the supervisor", "Is a directory")
    here.host.signal(signal.SIGHUP)  # the rehearsal finds it out
    [told] = wait_for(here.old, "reload_failed")
    assert "log.file" in told["reason"] + told["details"]
    here.path.rmdir()
    here.host.signal(signal.SIGUSR1)
    wait_for(here.path, "log_reopened")
    assert len(here.serve()) == WORKERS


def test_a_worker_that_does_not_get_on_is_told_of_and_follows(site: Callable[..., Site]) -> None:
    here = site("--set", "lifecycle.hang_seconds=0")
    pid = events(here.path, "worker_ready")[0]["pid"]
    with frozen(pid):
        here.rotate(signal.SIGUSR1)
        [told] = wait_for(here.path, "log_not_reopened")
        assert (str(pid) in told["process"], told["cause"]) == (True, "it has not answered yet")
        assert not events(here.path, "log_reopened")
    wait_for(here.path, "log_reopened")
    size = here.old.stat().st_size
    assert len(here.serve()) == WORKERS
    assert here.old.stat().st_size == size


def test_a_host_whose_log_file_cannot_be_made_does_not_start(refuse: Refuse) -> None:
    refusal = refuse("--plugin", "echo", "--set", "log.file=none/host.log")
    assert refusal.code == 3
    assert "log.file" in refusal.message
    assert "cannot be written to: No such file or directory" in refusal.message


def test_without_a_log_file_sigusr1_changes_nothing(start: Start) -> None:
    host = start()
    host.signal(signal.SIGUSR1)
    with connect(host.address) as sock:
        ask(sock)
    assert not host.events("log_not_reopened")
