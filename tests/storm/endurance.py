"""Load with kills and reloads for as long as one likes: what grows, leaks."""

from __future__ import annotations

import time
from dataclasses import dataclass

from storm.deaths import NEVER, Death, unowned
from storm.hosts import POLITE, StormHost
from storm.reloading import only_one_generation, reload_once, reloads_exist
from storm.rows import Trial, row
from support.processes import children, descriptors, resident_bytes, threads
from support.resting import at_rest

CLIENTS = 8
"""The clients that connect again and again: more or fewer of them are connected at a time."""
GROWTH = 1.15
"""How much more resident memory is not flat."""


@dataclass(frozen=True, slots=True)
class Census:
    """What there is of a host: descriptors, threads, processes, and memory.

    `sockets` are the workers': a listener, two channels, and the connections of this moment.
    """

    descriptors: int
    sockets: int
    threads: int
    processes: int
    supervisor: int
    workers: int


def census(host: StormHost) -> Census:
    """Count what there is."""
    pids = [host.pid, *(child.pid for child in children(host.pid))]
    of_workers = [text for pid in pids[1:] for text in descriptors(pid)]
    sockets = sum(text.startswith("socket:") for text in of_workers)
    return Census(
        len(descriptors(host.pid)) + len(of_workers) - sockets,
        sockets,
        sum(map(threads, pids)),
        len(pids),
        resident_bytes(host.pid),
        max(resident_bytes(pid) for pid in pids[1:]),
    )


@row(
    30,
    "an hour of load with a kill every 5 s and a reload every 30 s",
    "failures only of killed workers; descriptors, memory, processes flat",
)
def endurance(trial: Trial) -> str:
    reloads_exist()
    host = trial.start(POLITE)
    seconds = trial.seconds(12.0, 3600.0)
    kill_every, reload_every = trial.pick((1.0, 3.0), (5.0, 30.0))
    load = trial.load(host.address, pause=0.005, sessions=100)
    load.under_way()
    deaths: list[Death] = []
    counted: list[Census] = []
    began = time.monotonic()
    reloaded = 0
    while (age := time.monotonic() - began) < seconds and host.alive:
        time.sleep(kill_every)
        if age // reload_every >= reloaded + 1:
            reload_once(host)
            reloaded += 1
            with at_rest(host, host.name):
                counted.append(census(host))
        else:
            deaths += kill_latest(trial, host)
    trial.must(host.alive, "the host has ended")
    trial.must(only_one_generation(host, 4), f"processes left: {children(host.pid)}")
    result = load.end(drain=1.0)
    first, last = counted[len(counted) // 5], counted[-1]
    for name in ("descriptors", "threads", "processes"):
        one, other = getattr(first, name), getattr(last, name)
        trial.must(one == other, f"{name}: {one} → {other}")
    more = last.sockets - first.sockets
    trial.must(more <= CLIENTS, f"sockets of workers: {first.sockets} → {last.sockets}")
    for name in ("supervisor", "workers"):
        growth = getattr(last, name) / getattr(first, name)
        trial.must(growth <= GROWTH, f"memory of {name}: {growth:.2f} × what it was")
    foreign = unowned(result.failures, deaths)
    trial.must(not foreign, f"failures of others: {foreign[:3]}")
    never = {cause: result.counts[cause] for cause in NEVER if result.counts[cause]}
    trial.must(not never, f"failures that no death explains: {never}")
    return (
        f"{seconds / 60:.1f} min, {len(deaths)} kills, {reloaded} reloads,"
        f" {result.served:,} served: {result.failed:,} failed, all owned; descriptors"
        f" {first.descriptors} → {last.descriptors}, supervisor {first.supervisor / 2**20:.1f} →"
        f" {last.supervisor / 2**20:.1f} MiB, worker {first.workers / 2**20:.1f} →"
        f" {last.workers / 2**20:.1f} MiB"
    )


def kill_latest(trial: Trial, host: StormHost) -> list[Death]:
    """Kill a worker; return the death. Rows of the scoreboard are no slots after a reload."""
    alive = {child.pid for child in children(host.pid)}
    slots = [slot for slot, pid in host.workers.items() if pid in alive]
    if not slots:
        return []
    slot = trial.random.choice(slots)
    pid = host.kill_worker(slot)
    return [Death(pid, slot, time.time(), 0)]
