"""Whose datagrams are taken, how many of one client, and what counts apart."""

import pytest

from host.ipc.client_counts import ClientCounts
from host.ipc.scoreboard import DENIED, RATE
from host.settings import Limits, Listen, Settings
from host.worker.access import AccessRules
from host.worker.client_limits import client_limit
from host.worker.datagram_admission import DatagramAdmission, datagram_rate

UDP, TCP = "udp://127.0.0.1:7000", "tcp://127.0.0.1:7000"
SECOND = 1_000_000_000


class Clients:
    """The counts of one worker; `now` is the time in nanoseconds."""

    def __init__(self, row):
        self.row, self.refused, self.now = row, [], 10 * SECOND

    def admission(self, *, listen=None, **limits):
        return DatagramAdmission(
            AccessRules(Listen(address=UDP, **(listen or {}))),
            datagram_rate(Limits(**limits), self.row),
            self.row,
            self.refused.append,
            clock=lambda: self.now,
        )


@pytest.fixture
def clients():
    counts = ClientCounts()
    yield Clients(counts.row(counts.take_row()))
    counts.close()


def test_who_sends_too_many_is_refused_and_counted_and_others_are_not(clients):
    admission = clients.admission(rate_per_client="2/s")
    found = [admission.admits("192.0.2.1") for _ in range(5)]
    assert found == [True] * 2 + [False] * 3
    assert clients.refused == [RATE] * 3
    assert admission.admits("192.0.2.2")


def test_who_was_refused_is_taken_again_after_a_while(clients):
    admission = clients.admission(rate_per_client="1/s")
    assert [admission.admits("::1") for _ in range(3)] == [True, False, False]
    clients.now += 2 * SECOND
    assert admission.admits("::1")


def test_who_is_not_allowed_uses_up_nothing(clients):
    denied = clients.admission(listen={"deny": ("192.0.2.1",)}, rate_per_client="1/s")
    assert not denied.admits("192.0.2.1")
    assert clients.refused == [DENIED]
    assert clients.admission(rate_per_client="1/s").admits("192.0.2.1")


def test_all_udp_listeners_count_together(clients):
    first, second = (clients.admission(rate_per_client="1/s") for _ in range(2))
    assert first.admits("192.0.2.1")
    assert not second.admits("192.0.2.1")


def test_forged_datagrams_keep_nobody_from_connecting(clients):
    limits = {"rate_per_client": "1/h"}
    admission = clients.admission(**limits)
    assert [admission.admits("192.0.2.1") for _ in range(2)] == [True, False]
    connections = client_limit(Limits(**limits), Listen(address=TCP), clients.row)
    assert connections.refusal(3, "192.0.2.1") is None


@pytest.mark.parametrize(
    ("listen", "limits", "is_open"),
    [
        ({}, {}, True),
        ({}, {"max_per_client": 1}, True),
        ({}, {"rate_per_client": 1.0}, False),
        ({"allow": ("10.0.0.0/8",)}, {}, False),
    ],
)
def test_where_nothing_is_limited_nobody_is_asked(clients, listen, limits, is_open):
    assert clients.admission(listen=listen, **limits).is_open == is_open


@pytest.mark.parametrize(
    ("limits", "has_counts"),
    [({"max_per_client": 1}, False), ({"rate_per_client": 1.0}, True)],
)
def test_only_a_rate_needs_counts_for_datagrams(limits, has_counts):
    settings = Settings(listen=[UDP], limits=limits)
    assert any(map(settings.limits.concern_clients_of, settings.listens)) == has_counts
