"""What plugins count is exact over all workers, deaths and reloads; their hooks are measured."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import pytest

from support.address import connect
from support.asking import RefusedError, fresh_name, query
from support.hosting import Start, eventually
from support.scraping import scrape, total

pytestmark = [pytest.mark.process, pytest.mark.warm]

COUNTING = """
from host import hookimpl


class Counting:
    @hookimpl
    def on_host_start(self, host):
        metrics = host.metrics
        metrics.gauge("limit", "Set before there is a worker.").set(7)
        self.messages = metrics.counter("messages", "Messages.", {"kind": ("ok", "bad")})
        self.sizes = metrics.histogram("size_bytes", "Sizes.", start=4, count=3)
        self.open = metrics.gauge("open", "Open connections.")

    @hookimpl
    def on_accept(self, connection):
        self.open.add(1)

    @hookimpl
    def on_readable(self, connection):
        data = connection.read()
        if not data:
            return
        if data.startswith(b"fail"):
            raise RuntimeError("asked for")
        self.messages.add(1, "ok")
        self.sizes.observe(len(data))
        connection.write(data)
"""


def test_counts_are_exact_over_deaths_and_reloads(start: Start, tmp_path: Path) -> None:
    (tmp_path / "counting.py").write_text(COUNTING)
    host = start(
        "--ops",
        "tcp://127.0.0.1:0",
        plugin=f"{tmp_path}/counting.py:Counting",
        settings={"metrics.sample": 1},
    )
    (listening,) = host.events("ops_listening")
    address = listening["address"]
    name = "prefork_counting_counting_"
    assert total(scrape(address), f"{name}limit", slot="supervisor") == 7
    sent = 0

    def exchange(count: int) -> None:
        nonlocal sent
        with connect(host.address) as client:
            for _ in range(count):
                client.sendall(b"hello")
                assert client.recv(100) == b"hello"
                sent += 1

    for round_ in range(3):
        for _ in range(4):
            exchange(25)
        with connect(host.address) as client:
            client.sendall(b"fail")
            assert client.recv(100) == b""
        pid = host.workers[0]
        os.kill(pid, signal.SIGKILL)
        host.wait_for("worker_died", pid=pid)
        exchange(5)
        host.signal(signal.SIGHUP)
        host.wait_for("generation_ready", count=round_ + 1)
        exchange(5)

    def is_exact() -> bool:
        found = scrape(address)
        return (
            total(found, f"{name}messages_total", kind="ok") == sent
            and total(found, f"{name}size_bytes_sum") == 5 * sent
            and total(found, f"{name}size_bytes_bucket", le="8.0") == sent
            and total(found, f"{name}size_bytes_bucket", le="4.0") == 0
        )

    eventually(is_exact, "all messages are counted")
    found = scrape(address)
    failed = total(found, "prefork_hook_failures_total", hook="on_readable")
    assert failed == 3
    assert total(found, "prefork_hook_failures_total", listener=host.address) == 3
    assert total(found, "prefork_hook_seconds_count", hook="on_readable") >= sent
    assert total(found, f"{name}messages_total", kind="bad") == 0


MANY = """
import os

from host import hookimpl


class Many:
    @hookimpl
    def on_host_start(self, host):
        values = [str(number) for number in range(512 if os.path.exists("many") else 1)]
        host.metrics.counter("lines", "Lines.", {"kind": values})

    @hookimpl
    def on_worker_start(self, worker):
        pass
"""


def test_a_reload_that_has_no_memory_for_counts_is_refused(start: Start, tmp_path: Path) -> None:
    flags = []
    for number in range(12):
        (tmp_path / f"many{number}.py").write_text(MANY)
        flags += ["--plugin", f"./many{number}.py"]
    host = start(*flags, plugin="echo")
    (size,) = [
        int(line.split()[1]) * 1024
        for line in Path(f"/proc/{host.pid}/status").read_text().splitlines()
        if line.startswith("VmSize:")
    ]
    most = size + 100 * 2**20  # twelve times 512 words for each row that there may be are 200 MB
    resource.prlimit(host.pid, resource.RLIMIT_AS, (most, most))
    (tmp_path / "many").touch()
    host.signal(signal.SIGHUP)
    refused = host.wait_for("generation_failed")
    assert "there is no memory for what plugins count" in refused["reason"]
    with connect(host.address) as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"


PICKY = """
from host import hookimpl


class Picky:
    @hookimpl
    def on_host_start(self, host):
        self.choices = host.metrics.counter("choices", "Choices.", {"kind": ("first", "other")})
        host.metrics.gauge("candidates", "What it is told.").set(host.workers)

    @hookimpl
    def choose_worker(self, workers):
        self.choices.add(1, "first")
        return workers[0]
"""
REFUSING = """
from host import hookimpl


class Refusing:
    @hookimpl
    def on_host_start(self, host):
        raise RuntimeError("not today")

    @hookimpl
    def choose_worker(self, workers):
        return workers[0]
"""


def test_a_scheduler_that_is_swapped_in_counts_at_once_and_over_swaps_and_reloads(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "picky.py").write_text(PICKY)
    (tmp_path / "refusing.py").write_text(REFUSING)
    picky, name = "./picky.py:Picky", fresh_name()
    host = start("--name", name, "--ops", "tcp://127.0.0.1:0", plugin="echo")
    (listening,) = host.events("ops_listening")
    address, chosen = listening["address"], 0

    def exchange(count: int) -> None:
        for _ in range(count):
            with connect(host.address) as client:
                client.sendall(b"hello")
                assert client.recv(100) == b"hello"

    def counted() -> float:
        return total(scrape(address), "prefork_picky_picky_choices_total", kind="first")

    def is_exact() -> bool:
        return counted() == chosen

    for other in ("least_loaded", "round_robin"):
        assert query(name, "scheduler", name=picky)["scheduler"] == picky
        with pytest.raises(RefusedError, match="not today"):
            query(name, "scheduler", name="./refusing.py:Refusing")
        exchange(5)
        chosen += 5
        eventually(is_exact, "all choices are counted")
        found = scrape(address)
        assert total(found, "prefork_picky_picky_candidates", slot="supervisor") == 2
        os.kill(host.workers[0], signal.SIGKILL)  # its successor has nothing of that memory
        host.wait_for("worker_died", count=1 if other == "least_loaded" else 2)
        query(name, "scheduler", name=other)
        exchange(5)
        assert counted() == chosen
    query(name, "scheduler", name=picky)
    exchange(3)
    chosen += 3
    with connect(host.address) as client:  # holds the generation that has the memory
        chosen += 1
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"
        host.signal(signal.SIGHUP)
        host.wait_for("generation_ready")
        eventually(is_exact, "a reload begins nothing anew")
    assert not host.events("helper_ended")
