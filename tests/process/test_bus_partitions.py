"""Hosts that are cut off from their broker: what their members have seen is judged by a checker."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.bus_cluster import LEASE, Cluster
from support.bus_network import LossyNetwork, Network
from support.bus_relay import BOTH, TO_BROKER, TO_HOST
from support.hosting import Start

pytestmark = pytest.mark.process

DIRECTIONS = {"both": BOTH, "to the broker": (TO_BROKER,), "to the host": (TO_HOST,)}
LEASES = [0.5, 3.0]
Cut = Callable[[Cluster, float], None]


@pytest.fixture
def cluster(start: Start, tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(start, tmp_path)
    yield made
    made.close()


@pytest.fixture
def network() -> Iterator[Network]:
    if os.geteuid():
        pytest.skip("network namespaces take root")
    made = Network("broker", "host0", "host1")
    yield made
    made.close()


@pytest.fixture
def lossy_network() -> Iterator[LossyNetwork]:
    if os.geteuid():
        pytest.skip("network namespaces take root")
    made = LossyNetwork(loss=0.02, delay_ms=5.0)
    yield made
    made.close()


@pytest.fixture
def distant(network: Network, start: Start, tmp_path: Path) -> Iterator[tuple[Cluster, Network]]:
    made = Cluster(start, tmp_path, network=network)
    yield made, network
    made.close()


def judged(cluster: Cluster, leases: float, *, taken_for_dead: bool = True) -> None:
    """Wait until all is well again, and see that the partition cost what it may cost.

    Args:
        cluster: the hosts.
        leases: how long it was.
        taken_for_dead: whether one that is longer than a lease has a host be taken for dead: not
            if the broker hears nobody.
    """
    cluster.flow()
    verdict = cluster.judge()
    print(verdict)
    assert not verdict.faults, verdict.faults[:9]
    assert not verdict.losses, verdict  # the broker keeps far more than was said meanwhile
    assert verdict.writes, verdict
    if leases > 1 and taken_for_dead:
        assert verdict.left, verdict


@pytest.mark.parametrize("leases", LEASES)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_relay_that_holds(cluster: Cluster, direction: str, leases: float) -> None:
    cluster.add_hosts(2)
    cluster.links[0].hold(*DIRECTIONS[direction])
    time.sleep(leases * LEASE)
    cluster.links[0].release()
    judged(cluster, leases)


def test_a_relay_that_cuts_again_and_again(cluster: Cluster) -> None:
    cluster.add_hosts(2)
    for _ in range(10):
        for link in cluster.links:
            link.cut()
        time.sleep(0.1)
    judged(cluster, leases=0.0)


def test_a_relay_that_delays(cluster: Cluster) -> None:
    cluster.add_hosts(2)
    for number in range(10):
        cluster.links[number % 2].delay(0.02 * number)
        time.sleep(0.1)
    for link in cluster.links:
        link.delay(0.0)
    judged(cluster, leases=0.0)


@pytest.mark.parametrize("leases", LEASES)
def test_a_link_that_is_down(distant: tuple[Cluster, Network], leases: float) -> None:
    cluster, network = distant
    cluster.add_hosts(2)
    network.down("host0")
    time.sleep(leases * LEASE)
    network.up("host0")
    judged(cluster, leases)


@pytest.mark.parametrize("leases", LEASES)
@pytest.mark.parametrize("ends", [("host0", "broker"), ("broker", "host0")])
def test_a_link_that_lets_nothing_through_in_one_direction(
    distant: tuple[Cluster, Network], ends: tuple[str, str], leases: float
) -> None:
    cluster, network = distant
    cluster.add_hosts(2)
    network.block(*ends)
    time.sleep(leases * LEASE)
    network.unblock(*ends)
    judged(cluster, leases)


@pytest.mark.parametrize("leases", LEASES)
def test_the_links_of_two_hosts_and_of_the_broker(
    distant: tuple[Cluster, Network], leases: float
) -> None:
    cluster, network = distant
    cluster.add_hosts(2)
    for place in ("host0", "broker", "host1"):
        network.down(place)
    time.sleep(leases * LEASE)
    for place in ("host1", "broker", "host0"):
        network.up(place)
    judged(cluster, leases, taken_for_dead=False)


def test_packets_that_vanish(lossy_network: LossyNetwork, start: Start, tmp_path: Path) -> None:
    cluster = Cluster(start, tmp_path, network=lossy_network)
    try:
        cluster.add_hosts(2)
        verdict = cluster.judge()
        print(verdict)
        assert not verdict.faults, verdict.faults[:9]
        assert not verdict.losses, verdict
    finally:
        cluster.close()
