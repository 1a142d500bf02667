"""What a start imports: its time goes to that, and no busy machine changes what it is."""

from __future__ import annotations

import json
import signal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from support.address import connect
from support.asking import fresh_name
from support.certificates import Authority
from support.hosting import SUPPORT, Host, Start

pytestmark = pytest.mark.process

IMPORTING = str(SUPPORT / "importing.py")

OF_OTHERS = {
    "asyncio",
    "concurrent.futures.thread",
    "configparser",
    "host.asyncio",
    "dotenv",
    "pydantic_settings",
    "rich",
    "ssl",
    "statistics",
}
OF_COMMANDS = {
    "host.cli.doctor",
    "host.cli.check",
    "host.cli.completion",
    "host.cli.effective",
    "host.cli.frame",
    "host.cli.history",
    "host.cli.new_plugin",
    "host.cli.clients",
    "host.cli.operate",
    "host.cli.operation",
    "host.cli.plugins",
    "host.cli.screen",
    "host.cli.plot",
    "host.cli.simulate",
    "host.cli.terminal",
    "host.cli.top",
    "host.cli.watch",
    "host.control.client",
    "host.doctor.diagnosis",
    "host.plugin.catalog",
    "host.simulation.arrivals",
    "host.simulation.model",
    "host.settings.environment",
    "host.tls.tables",
}
OF_POOLS = {
    "host.offload.busy_poll",
    "host.offload.child",
    "host.offload.pool",
    "host.offload.pools",
    "host.offload.printing",
    "host.offload.process",
    "host.offload.processes",
    "host.offload.tasks",
    "host.offload.threads",
}
OF_DATAGRAMS = {
    "host.worker.datagram_admission",
    "host.worker.datagram_counting",
    "host.worker.datagram_setup",
    "host.worker.datagrams",
}
OF_ADMISSION = {
    "host.net.proxy_protocol",
    "host.worker.admission",
    "host.worker.pending",
    "host.worker.refusals",
}
OF_BROKERS = {"host.bridge.process", "host.bus.broker"}
UNUSED = OF_OTHERS | OF_COMMANDS | OF_POOLS | OF_DATAGRAMS | OF_ADMISSION | OF_BROKERS
"""What a host without variables PREFORK_… can do without."""


def begin(start: Start, notes: Path) -> Host:
    return start(plugin=IMPORTING, settings={"options.importing.notes": notes})


def answer(host: Host) -> dict[str, Any]:
    with connect(host.address) as client, client.makefile("rb") as lines:
        client.sendall(b"?")
        found: dict[str, Any] = json.loads(lines.readline())
        return found


def test_what_is_not_imported_is_there() -> None:
    assert [name for name in sorted(UNUSED - OF_OTHERS) if find_spec(name) is None] == []


def test_a_host_imports_nothing_that_it_does_not_use(start: Start, tmp_path: Path) -> None:
    imported = set(answer(begin(start, tmp_path / "notes"))["imported"])
    assert {"host.supervisor.process", "host.worker.process"} <= imported
    assert imported & UNUSED == set()


def test_the_collector_works_when_plugins_are_imported_and_passes_over_what_was(
    start: Start, tmp_path: Path
) -> None:
    assert answer(begin(start, tmp_path / "notes"))["frozen"] > 10_000


def test_nothing_is_imported_after_the_start_not_even_for_a_reload(
    start: Start, tmp_path: Path
) -> None:
    # By then it could be new code, which does not fit the old that runs.
    host = begin(start, notes := tmp_path / "notes")
    answer(host)
    host.signal(signal.SIGTTIN)
    host.wait_for("worker_ready", slot=2)
    host.signal(signal.SIGHUP)
    host.wait_for("generation_ready")
    answer(host)
    assert host.stop() == 0
    assert notes.read_text().splitlines() == []


WITH_EVERYTHING = """
plugins = ["{importing}", "{asyncio}", "echo"]
workers = 2
[options.importing]
notes = "{notes}"
[[listen]]
address = "tcp://127.0.0.1:0"
plugin = "importing"
[[listen]]
address = "tcp://127.0.0.1:0"
plugin = "echo"
tls = "public"
max_per_client = 5
[[listen]]
address = "udp://127.0.0.1:0"
plugin = "echo"
[tls.public]
certificates = [{files}]
[pools.default]
kind = "threads"
"""
ASKS_FOR_ASYNCIO = """
import asyncio

from host import hookimpl


@hookimpl
def on_worker_start(worker):
    worker.asyncio.create_task(asyncio.sleep(0))
"""


def test_neither_is_what_only_some_hosts_use(start: Start, tmp_path: Path) -> None:
    plugin, config = tmp_path / "asks.py", tmp_path / "host.toml"
    plugin.write_text(ASKS_FOR_ASYNCIO)
    config.write_text(
        WITH_EVERYTHING.format(
            importing=IMPORTING,
            asyncio=plugin,
            notes=(notes := tmp_path / "notes"),
            files=Authority(tmp_path).files("a", "a.example").toml,
        )
    )
    flags = ["--config", str(config), "--name", fresh_name()]
    host = start(*flags, plugin=None, listen=(), workers=None)
    host.signal(signal.SIGTTIN)
    host.wait_for("worker_ready", slot=2)
    assert host.stop() == 0
    assert notes.read_text().splitlines() == []


def test_pools_are_imported_where_there_are_any(start: Start, tmp_path: Path) -> None:
    host = start(
        plugin=IMPORTING,
        settings={"options.importing.notes": tmp_path / "notes", "pools.default.size": 1},
    )
    assert set(answer(host)["imported"]) >= OF_POOLS
