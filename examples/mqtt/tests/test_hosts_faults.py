"""What connects hosts is killed and held up under load: no confirmed message with QoS 1 is lost."""

import os
import signal
import time
from pathlib import Path

import pytest
from load import Load, wait_until

LEASE_SECONDS = 3.0


def bridge_of(host):
    """Return the child of a host that is no worker."""
    children = Path(f"/proc/{host.pid}/task/{host.pid}/children").read_text().split()
    (bridge,) = set(map(int, children)) - set(host.workers.values())
    return bridge


def kill_bridge(host, _redis, load):
    """The process of a host that speaks to Redis is killed, again and again."""
    for _ in range(3):
        os.kill(bridge_of(host), signal.SIGKILL)
        load.goes_on()


def stop_bridge(host, _redis, load):
    """It hangs until the host kills it; meanwhile everybody has taken the host for dead."""
    pid = bridge_of(host)
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), lambda: "it is still there")
    load.goes_on()


def kill_redis(_host, redis, load):
    """Redis is killed, and started again with what it has confirmed."""
    for _ in range(2):
        redis.kill()
        redis.start()
        load.goes_on()


def stop_redis(_host, redis, load):
    """It is held up for longer than the lease."""
    redis.signal(signal.SIGSTOP)
    time.sleep(1.5 * LEASE_SECONDS)
    redis.signal(signal.SIGCONT)
    load.goes_on()


def kill_workers(host, _redis, load):
    """The workers of a host are killed."""
    for slot in range(2):
        host.kill_worker(slot)
        load.goes_on()


def slow(*words):
    """Return a case that a run of all tests leaves out: `tox -e faults` has it."""
    return pytest.param(*words, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("fault", "where"),
    [
        (kill_bridge, "speaking"),
        slow(kill_bridge, "hearing"),
        slow(stop_bridge, "speaking"),
        slow(stop_bridge, "hearing"),
        slow(kill_workers, "speaking"),
        slow(kill_workers, "hearing"),
        (kill_redis, "both"),
        slow(stop_redis, "both"),
    ],
)
def test_nothing_that_was_confirmed_is_lost(make_hosts, redis, fault, where):
    hearing, speaking = hosts = make_hosts(LEASE_SECONDS)
    load = Load(hearing.port, speaking.port)
    load.goes_on()
    fault(hosts[where == "speaking"], redis, load)
    load.judge()


def test_a_host_that_is_killed(make_hosts, redis):
    """Its client goes on at the other host, with all that has been published meanwhile."""
    hearing, speaking = make_hosts(LEASE_SECONDS)
    load = Load(hearing.port, speaking.port)
    load.goes_on()
    hearing.signal(signal.SIGKILL)
    load.goes_on()
    load.hearer.finish()
    load.come_back(speaking.port)
    load.goes_on()
    load.judge()
