"""The settings for OpenTelemetry's collector, with a real one that scrapes a real host.

It needs a collector with the receivers `prometheus` and `otlp` and the exporter `file`, on the path
as `otelcol`. No registry has one: `tox -e prometheus` runs this where somebody has installed it.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from host.testing.machine import patience
from prometheus.server import CONTRIB
from support.hosting import eventually, reload
from support.redis_server import free_port

pytestmark = pytest.mark.skipif(
    shutil.which("otelcol") is None, reason="it needs OpenTelemetry's collector as otelcol"
)

TOKEN = "0123456789abcdef0123456789abcdef"
SINK = """
receivers: {otlp: {protocols: {grpc: {endpoint: "127.0.0.1:PORT"}}}}
exporters: {file: {path: "PATH"}}
service:
  pipelines: {metrics: {receivers: [otlp], exporters: [file]}}
"""
QUIET = "yaml:service::telemetry::metrics::level: none"
"""A collector shows its own metrics at a fixed port, if it is not told otherwise."""
ACCEPTED = "prefork_connections_accepted_total"
Collect = Callable[[str], subprocess.Popen[bytes]]


@pytest.fixture
def collect(tmp_path: Path) -> Iterator[Collect]:
    """Start a collector with some settings."""
    started: list[subprocess.Popen[bytes]] = []

    def start(settings: str) -> subprocess.Popen[bytes]:
        file = tmp_path / f"collector{len(started)}.yaml"
        file.write_text(settings, encoding="utf-8")
        with file.with_suffix(".log").open("wb") as log:
            command = ["otelcol", "--config", str(file), "--config", QUIET]
            started.append(subprocess.Popen(command, stdout=log, stderr=log))
        return started[-1]

    yield start
    for each in started:
        each.terminate()
    for each in started:
        try:
            each.wait(patience(30))
        except subprocess.TimeoutExpired:
            each.kill()
            each.wait()


def is_listening(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def batches(path: Path) -> list[dict[str, dict[str, Any]]]:
    """Return what has come so far: for each batch its metrics by their names."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    lines = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return [
        {
            metric["name"]: metric
            for resource in json.loads(line)["resourceMetrics"]
            for scope in resource["scopeMetrics"]
            for metric in scope["metrics"]
        }
        for line in lines
    ]


def accepted(path: Path) -> list[float]:
    """Return how many connections were accepted by then, for each batch."""
    return [
        sum(point["asDouble"] for point in each[ACCEPTED]["sum"]["dataPoints"])
        for each in batches(path)
        if ACCEPTED in each
    ]


def test_the_collector_sends_on_what_it_scrapes_over_a_reload(serve, collect, tmp_path):
    token, got, port = tmp_path / "token", tmp_path / "got.jsonl", free_port()
    token.write_text(TOKEN)
    token.chmod(0o600)
    host, shown = serve(**{"ops.token_file": str(token)})
    settings = (CONTRIB / "otel-collector.yaml").read_text(encoding="utf-8")
    for theirs, ours in (
        ("127.0.0.1:9180", shown),
        ("127.0.0.1:4317", f"127.0.0.1:{port}"),
        ("scrape_interval: 15s", "scrape_interval: 1s"),
        ("#authorization: {credentials_file: /etc/otelcol/prefork-token}",
         f"authorization: {{credentials_file: {token}}}"),
    ):  # fmt: skip
        assert settings.count(theirs) == 1
        settings = settings.replace(theirs, ours)
    both = [collect(SINK.replace("PORT", str(port)).replace("PATH", str(got)))]
    eventually(partial(is_listening, port), "the one that is sent to listens")
    both.append(collect(settings))
    for count in (20, 40):
        for _ in range(20):
            with host.connect(host.addresses[0]) as client:
                client.sendall(b"x")
                assert client.recv(1) == b"x"
        eventually(lambda count=count: count in accepted(got), f"{count} were accepted")
        reload(host)
    seen = accepted(got)
    assert seen == sorted(seen)
    last = batches(got)[-1]
    assert last["up"]["gauge"]["dataPoints"][0]["asDouble"] == 1
    assert last["prefork_worker_turn_seconds"]["histogram"]["dataPoints"]
    assert [each.poll() for each in both] == [None, None]
    for log in tmp_path.glob("*.log"):
        assert "error" not in log.read_text(encoding="utf-8").lower()
