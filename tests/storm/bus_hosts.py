"""Hosts and their broker in all kinds of trouble at once; a checker judges the histories."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import NamedTuple

from storm.hosts import StormHost
from storm.rows import Trial, row
from support.bus_cluster import LEASE, Cluster, Verdict
from support.bus_relay import BOTH, TO_BROKER, TO_HOST
from support.hosting import thaw
from support.processes import children

_AT_ONCE = 3
"""How many troubles there are at the same time."""
_LEASES = (0.1, 0.5, 0.9, 1.5, 3.0)
"""How long each takes."""
_ROUND_SECONDS = 30.0
_QUICK_SECONDS = 6.0

Undo = Callable[[], object]


def _nothing() -> None:
    """Undo what needs no undoing."""


class Trouble(NamedTuple):
    """Something that goes on until it is undone, and to what it is done."""

    target: str
    due: float
    undo: Undo


class _Round:
    """Makes trouble for one cluster, as chance has it.

    Args:
        cluster: whose hosts all hear each other.
        random: what decides.

    Attributes:
        made: how often each kind was made.
    """

    def __init__(self, cluster: Cluster, random: Random) -> None:
        self._cluster, self._random = cluster, random
        self._troubles: list[Trouble] = []
        self.made: Counter[str] = Counter()
        self._kinds: dict[str, Callable[[int], Undo]] = {
            "hold": lambda number: self._hold(number, BOTH),
            "hold to broker": lambda number: self._hold(number, (TO_BROKER,)),
            "hold to host": lambda number: self._hold(number, (TO_HOST,)),
            "cut": self._cut,
            "delay": self._delay,
            "kill worker": lambda number: self._kill(self._worker(number)),
            "stop worker": lambda number: self._stop(self._worker(number)),
            "kill bridge": lambda number: self._kill(self._helper(number)),
            "stop bridge": lambda number: self._stop(self._helper(number)),
            "stop supervisor": lambda number: self._stop(self._host(number).pid),
            "kill supervisor": self._kill_host,
            "reload": self._reload,
            "stop broker": lambda _: self._stop(cluster.broker.pid),
            "empty broker": lambda _: self._empty_broker(),
        }

    def run(self, seconds: float) -> None:
        """Make trouble for so long, and undo all of it."""
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            for trouble in [each for each in self._troubles if each.due <= now]:
                self._troubles.remove(trouble)
                trouble.undo()
            if len(self._troubles) < _AT_ONCE:
                self._make()
            time.sleep(self._random.uniform(0.05, 0.5))
        while self._troubles:
            self._troubles.pop().undo()

    def _make(self) -> None:
        kind = self._random.choice(tuple(self._kinds))
        number = self._random.randrange(len(self._cluster.hosts))
        target = "broker" if "broker" in kind.split()[1:2] else f"{number}"
        if "hold" in kind or kind in ("cut", "delay"):
            target = f"link {number}"
        if any(each.target == target for each in self._troubles):
            return
        undo = self._kinds[kind](number)
        self.made[kind] += 1
        due = time.monotonic() + LEASE * self._random.choice(_LEASES)
        self._troubles.append(Trouble(target, due, undo))

    def _host(self, number: int) -> StormHost:
        host = self._cluster.hosts[number]
        assert isinstance(host, StormHost)
        return host

    def _worker(self, number: int) -> int:
        return self._random.choice(tuple(self._host(number).workers.values()))

    def _helper(self, number: int) -> int:
        """Return the bridge, or what else there is beside workers, as while a reload is tried."""
        host = self._host(number)
        workers = set(host.workers.values())
        found = [one.pid for one in children(host.pid) if one.pid not in workers]
        return self._random.choice(found or [0])

    def _hold(self, number: int, directions: tuple[int, ...]) -> Undo:
        link = self._cluster.links[number]
        link.hold(*directions)
        return link.release

    def _cut(self, number: int) -> Undo:
        self._cluster.links[number].cut()
        return _nothing

    def _delay(self, number: int) -> Undo:
        link = self._cluster.links[number]
        link.delay(self._random.choice((0.005, 0.05, 0.2)))
        return lambda: link.delay(0.0)

    def _kill(self, pid: int) -> Undo:
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return _nothing

    def _stop(self, pid: int) -> Undo:
        if not pid:
            return _nothing
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
        return lambda: thaw(pid)

    def _kill_host(self, number: int) -> Undo:
        host = self._host(number)
        host.codes = {-signal.SIGKILL}
        host.signal(signal.SIGKILL)
        host.wait()
        return lambda: self._cluster.start_again(number)

    def _reload(self, number: int) -> Undo:
        self._host(number).signal(signal.SIGHUP)
        return _nothing

    def _empty_broker(self) -> Undo:
        self._cluster.broker.end()
        return self._cluster.start_empty_broker


@row(
    60,
    "2 or 3 hosts with one broker: links that hold, delay, break, in one direction or both;"
    " bridges, supervisors, workers and the broker killed and stopped; reloads; up to 3 at once",
    "one order of each topic; no loss but told; nothing twice; one owner of a key at once, by its"
    " fence; nothing of a member after the word that it has left",
)
def storm_of_hosts(trial: Trial) -> str:
    total: Counter[str] = Counter()
    made: Counter[str] = Counter()
    rounds = trial.rounds(range(1), range(40))
    for number in rounds:
        verdict, troubles = _play(trial, number)
        counts = verdict._asdict()
        del counts["faults"]
        total.update(counts)
        made += troubles
    counted = ", ".join(f"{count:,} {name}" for name, count in total.items())
    return f"{number + 1} rounds, {sum(made.values())} troubles: {counted}"


def _play(trial: Trial, number: int) -> tuple[Verdict, Counter[str]]:
    """Play one round; note what does not hold, and keep the histories if that is anything."""
    folder = trial.folder / f"round-{number}"
    folder.mkdir()
    cluster = Cluster(trial.start, folder, seed=trial.random.randrange(1_000_000))
    try:
        cluster.add_hosts(trial.random.choice((2, 3)))
        game = _Round(cluster, trial.random)
        try:
            game.run(trial.pick(_QUICK_SECONDS, _ROUND_SECONDS))
            verdict = cluster.judge()
        except AssertionError as error:
            raise AssertionError(f"round {number}, {_keep(folder)}: {error}") from error
        if verdict.faults:
            what = "; ".join(verdict.faults[:5])
            trial.must(False, f"round {number}, {dict(game.made)}, {_keep(folder)}: {what}")
    finally:
        for host in cluster.hosts:
            assert isinstance(host, StormHost)
            trial.broken += host.finish()
        cluster.close()
    return verdict, game.made


def _keep(folder: Path) -> str:
    kept = tempfile.mkdtemp(prefix="histories-")
    shutil.copytree(folder / "histories", kept, dirs_exist_ok=True)
    return f"histories in {kept}"
