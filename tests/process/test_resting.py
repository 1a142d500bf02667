"""What tests count is counted when nothing is under way: not too early, whatever waits."""

from __future__ import annotations

import os
import signal

import pytest

from support.address import connect
from support.asking import fresh_name
from support.hosting import Start, freeze, thaw
from support.resting import all_have_left, at_rest

pytestmark = pytest.mark.process


@pytest.mark.parametrize("listen", [("tcp4",), ("unix",)])
def test_clients_who_have_hung_up_have_left_only_when_all_were_accepted(
    start: Start, listen: tuple[str, ...]
) -> None:
    host = start(listen=listen, workers=1)
    freeze(host.workers[0])
    for _ in range(100):
        connect(host.address).close()
    assert (host.board.active, host.board.accepted) == ([0], [0])
    thaw(host.workers[0])
    all_have_left(host)
    assert host.board.accepted == [101]


def test_a_host_rests_when_the_reload_has_ended_that_a_signal_has_asked_for(start: Start) -> None:
    name = fresh_name()
    host = start("--name", name, workers=2)
    for _ in range(10):  # the last of them may come while the first is carried out
        host.signal(signal.SIGHUP)
    with at_rest(host, name) as status:
        begun = len(host.events("host_reloading"))
        assert status["generation"] == len(host.events("generation_ready")) >= 1
    host.signal(signal.SIGTERM)
    assert host.wait() == 0
    assert len(host.events("host_reloading")) == begun


def test_a_host_rests_when_workers_have_been_replaced(start: Start) -> None:
    name = fresh_name()
    host = start("--name", name, workers=2)
    for pid in host.workers.values():
        os.kill(pid, signal.SIGKILL)
    host.signal(signal.SIGTTIN)
    with at_rest(host, name) as status:
        assert status["workers_wanted"] == 3
        assert len(host.events("worker_ready")) == 5
