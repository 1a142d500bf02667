"""What plugins log for a connection has the trace that they have given it."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import tracing
from support.address import connect

pytestmark = pytest.mark.process

TRACES = [f"00-{number:032x}-{number:016x}-01" for number in (7, 8)]


def test_what_is_logged_and_printed_for_a_connection_has_its_trace(start):
    host = start(plugin=f"{Path(tracing.__file__)}:Tracing", workers=1)
    with (
        connect(host.address) as one,
        connect(host.address) as other,
        connect(host.address) as bare,
    ):
        clients = ((one, TRACES[0]), (other, TRACES[1]), (bare, None), (one, None), (other, None))
        for client, trace in clients:
            client.sendall(f"{trace or 'say'}\n".encode())
            assert client.recv(100) == b"done\n"
    expected = [TRACES[0], TRACES[1], None, TRACES[0], TRACES[1]]
    host.wait_for("plugin_logged", count=len(expected))
    ids = [(None, None) if each is None else tuple(each.split("-")[1:3]) for each in expected]
    for name in ("plugin_logged", "plugin_printed"):
        told = [each for each in host.events(name) if "thread" not in each["text"]]
        assert [(each.get("trace_id"), each.get("span_id")) for each in told] == ids
    in_threads = [each for each in host.events("plugin_printed") if "thread" in each["text"]]
    assert len(in_threads) == len(expected)
    assert not any("trace_id" in each for each in in_threads)
