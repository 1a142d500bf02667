"""A UDP listener whose workers are killed and reloaded while many clients ask."""

from __future__ import annotations

from signal import SIGHUP

from host.control.client import ask
from host.testing.machine import patience
from storm.hosts import StormHost, soon
from storm.reloading import only_one_generation
from storm.rows import Trial, row
from support.datagrams import Load, status

PEERS, WORKERS, SHARDS = 200, 4, 64
SECONDS = 20.0


@row(
    53,
    "200 workers of a UDP listener killed and 100 reloads (SIGHUP and `reload`), 200 peers asking;"
    " half of the kills while a reload is under way",
    "at most one datagram lost for each kill and none besides; the order of each peer is kept",
)
def datagrams(trial: Trial) -> str:
    host = trial.start("echo", listen=("udp://127.0.0.1:0",), workers=WORKERS)
    kills = reloads = 0
    with Load(host.address, PEERS) as load:
        for number in trial.rounds(range(3), range(100)):
            load.goes_on()
            kill_and_replace(trial, host)
            load.goes_on()
            killing = trial.random.choice(sorted(host.workers))
            reload(host, by_command=number % 2 == 1, killing=killing)
            kills, reloads = kills + 2, reloads + 1
        load.finish()
    trial.must(only_one_generation(host, WORKERS), "older workers are left")
    [told] = status(host)["listeners"]
    trial.must(load.lost <= kills, f"{load.lost} lost, and only {kills} workers were killed")
    trial.must(load.disorder == [], f"out of order: {load.disorder[:3]}")
    trial.must(told["datagrams"]["lost"] == 0, "the kernel has dropped some: nobody read them")
    trial.must(soon(lambda: shards_of(host) == SHARDS, SECONDS), f"{shards_of(host)} shards read")
    return f"{load.answered:,} answered, {load.lost} lost; {kills} kills, {reloads} reloads"


def kill_and_replace(trial: Trial, host: StormHost) -> None:
    """Kill a worker, and wait until there is another one."""
    mark = host.mark()
    slot = trial.random.choice(sorted(host.workers))
    host.kill_worker(slot)
    host.wait_for("worker_ready", slot=slot, since=mark, seconds=SECONDS)


def reload(host: StormHost, *, by_command: bool, killing: int | None = None) -> None:
    """Reload, kill the worker in a slot meanwhile, and wait until the new generation is ready."""
    mark = host.mark()
    if by_command:
        ask(host.name, "reload", {}, patience(SECONDS))
    else:
        host.signal(SIGHUP)
    if killing is not None:
        host.kill_worker(killing)
    host.wait_for("generation_ready", since=mark, seconds=SECONDS)


def shards_of(host: StormHost) -> int:
    """Return how many shards are read."""
    return sum(each["shards"] for each in status(host)["workers"])
