"""Processes of hosts, and the broker, that end or stop: a checker judges what members have seen."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.bus_cluster import LEASE, Cluster, Verdict, bridge_of
from support.hosting import Start, freeze, reload, thaw

pytestmark = pytest.mark.process

LEASES = [0.5, 3.0]


@pytest.fixture
def cluster(start: Start, tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(start, tmp_path)
    yield made
    made.close()


def judged(cluster: Cluster) -> Verdict:
    """Wait until all is well again, and return what the checker says if it finds no fault."""
    cluster.flow()
    verdict = cluster.judge()
    print(verdict)
    assert not verdict.faults, verdict.faults[:9]
    assert verdict.writes, verdict
    return verdict


def worker_of(cluster: Cluster) -> int:
    return cluster.hosts[0].workers[0]


def supervisor_of(cluster: Cluster) -> int:
    return cluster.hosts[0].pid


PROCESSES: dict[str, Callable[[Cluster], int]] = {
    "bridge": lambda cluster: bridge_of(cluster.hosts[0]),
    "supervisor": supervisor_of,
    "worker": worker_of,
    "broker": lambda cluster: cluster.broker.pid,
}


@pytest.mark.parametrize("leases", LEASES)
@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_that_is_stopped(cluster: Cluster, process: str, leases: float) -> None:
    cluster.add_hosts(2)
    pid = PROCESSES[process](cluster)
    freeze(pid)
    time.sleep(leases * LEASE)
    thaw(pid)
    verdict = judged(cluster)
    assert not verdict.losses, verdict


def test_a_bridge_that_is_killed_again_and_again(cluster: Cluster) -> None:
    cluster.add_hosts(2)
    for _ in range(3):
        os.kill(bridge_of(cluster.hosts[0]), signal.SIGKILL)
        cluster.flow()
    verdict = judged(cluster)
    assert not verdict.losses, verdict


def test_a_worker_that_is_killed(cluster: Cluster) -> None:
    cluster.add_hosts(2)
    cluster.hosts[0].kill_worker(0)
    verdict = judged(cluster)
    assert verdict.left, verdict
    assert not verdict.losses, verdict


def test_a_worker_that_is_killed_while_its_host_is_taken_for_dead(cluster: Cluster) -> None:
    cluster.add_hosts(2)
    cluster.links[0].hold()
    time.sleep(2 * LEASE)
    cluster.hosts[0].kill_worker(0)
    time.sleep(LEASE)
    cluster.links[0].release()
    verdict = judged(cluster)
    assert verdict.left, verdict
    assert not verdict.losses, verdict


def test_a_supervisor_that_is_killed(cluster: Cluster) -> None:
    cluster.add_hosts(2)
    cluster.hosts[0].signal(signal.SIGKILL)
    cluster.hosts[0].wait()
    cluster.start_again(0)
    verdict = judged(cluster)
    assert verdict.left, verdict
    assert not verdict.losses, verdict


def test_a_broker_that_is_killed_and_starts_with_nothing(cluster: Cluster) -> None:
    cluster.add_hosts(2)
    cluster.broker.end()
    cluster.start_empty_broker()
    verdict = judged(cluster)
    assert verdict.losses, verdict  # all are told


def test_a_reload_under_load(cluster: Cluster) -> None:
    cluster.add_hosts(2)
    for host in cluster.hosts:
        reload(host)
        cluster.flow()
    verdict = judged(cluster)
    assert verdict.left, verdict
    assert not verdict.losses, verdict


def test_three_hosts_of_which_two_are_in_trouble(cluster: Cluster) -> None:
    cluster.add_hosts(3)
    cluster.links[0].hold()
    bridge = bridge_of(cluster.hosts[1])
    freeze(bridge)
    time.sleep(2 * LEASE)
    cluster.hosts[2].kill_worker(1)
    thaw(bridge)
    cluster.links[0].release()
    verdict = judged(cluster)
    assert verdict.left, verdict
    assert not verdict.losses, verdict
