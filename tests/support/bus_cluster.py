"""Real hosts with one broker; their workers write down what they see of it (`bus_history.py`)."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from host.testing import RunningHost
from host.testing.machine import Stopwatch
from support.bus_checker import Event, find_silent_deaths, judge, members_of, store, writes_of
from support.bus_history import PREFIX, TOPICS
from support.bus_network import LossyNetwork, Network, become
from support.bus_relay import Relay
from support.hosting import SUPPORT, helper_of
from support.redis_server import RedisServer

PLUGIN = str(SUPPORT / "bus_history.py")
LEASE = 1.0
_PAUSE_SECONDS = 0.02
_PATIENCE_SECONDS = 20.0
_FOR_ALL = ("--bind", "0.0.0.0", "--protected-mode", "no")
"""Has a broker listen for others than its own machine."""
SUBSCRIPTIONS = [(topic, topic) for topic in TOPICS]
SUBSCRIPTIONS += [(f"{PREFIX}*", topic) for topic in TOPICS if topic.startswith(PREFIX)]


def wait_until(condition: Callable[[], object], what: Callable[[], str]) -> None:
    """Look until a condition holds; fail with what it waited for."""
    watch = Stopwatch()
    while not condition():
        assert not watch.has_passed(_PATIENCE_SECONDS), f"{watch.seconds:.1f} s: {what()}"
        time.sleep(_PAUSE_SECONDS)


class Histories:
    """Reads what members write down, as they do.

    Args:
        folder: where their files are.

    Attributes:
        by_member: all events of each member.
        heard: which message each member heard last, and when, by subscription, topic and sender.
        published: the number of the last message of each member on each topic.
        ready: since when each member hears what, by subscription.
        finished: when each member has said its last word.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rest: dict[Path, tuple[int, bytes]] = {}
        self._names: dict[Path, str] = {}
        self.by_member: dict[str, list[Event]] = defaultdict(list)
        self.heard: dict[tuple[str, str, str, str], tuple[int, float]] = {}
        self.published: dict[tuple[str, str], int] = {}
        self.ready: dict[tuple[str, str], float] = {}
        self.finished: dict[str, float] = {}

    def poll(self) -> None:
        """Read what is new."""
        for path in self._folder.glob("*.jsonl"):
            offset, rest = self._rest.get(path, (0, b""))
            with path.open("rb") as file:
                file.seek(offset)
                data = file.read()
            *lines, rest_now = (rest + data).split(b"\n")
            self._rest[path] = offset + len(data), rest_now
            for line in lines:
                self._add(path, json.loads(line))

    def _add(self, path: Path, event: Event) -> None:
        name = self._names.setdefault(path, event[2] if event[0] == "begin" else "")
        self.by_member[name].append(event)
        if event[0] == "hear":
            _, at, heard, topic, sender, number, _ = event
            self.heard[name, heard, topic, sender] = number, at
        elif event[0] == "publish":
            self.published[name, event[2]] = event[3]
        elif event[0] == "finish":
            self.finished[name] = event[1]
        elif event[0] == "ready":
            self.ready[name, event[2]] = event[1]

    def of(self, pid: int) -> str | None:
        """Return the member that is a process."""
        return next((name for name in self.by_member if name.endswith(f":{pid}")), None)


class Verdict(NamedTuple):
    """What has come of a run: how much of all there was, and what was wrong with it."""

    members: int
    published: int
    heard: int
    losses: int
    left: int
    taken: int
    writes: int
    refused: int
    faults: list[str]

    def __str__(self) -> str:
        counts = self._asdict()
        faults = counts.pop("faults")
        return ", ".join(f"{count:,} {name}" for name, count in counts.items()) + (
            f"; {len(faults)} FAULTS" if faults else ""
        )


class Cluster:
    """Hosts and their broker, each connected by a relay, or by a network of links.

    Args:
        start: starts a host: the fixture `start`, or `Trial.start`.
        folder: for the files of all of them.
        network: where they are, with places `broker`, `host0`, `host1` …; None for relays.
        workers: how many workers each host has.
        seed: what workers do by chance goes by it.

    Attributes:
        broker: the broker.
        forgotten: when it was started again with nothing, in seconds of time.monotonic().
        hosts: the hosts.
        links: the relay of each host, without a network.
        histories: what was seen so far.
    """

    def __init__(
        self,
        start: Callable[..., RunningHost],
        folder: Path,
        *,
        network: Network | LossyNetwork | None = None,
        workers: int = 2,
        seed: int = 0,
    ) -> None:
        self._start, self._folder, self._network = start, folder, network
        self._workers, self._seed = workers, seed
        self._files = folder / "histories"
        self._files.mkdir()
        (folder / "broker").mkdir()
        enter, settings = ((), ()) if network is None else (network.enter("broker"), _FOR_ALL)
        self.broker = RedisServer(folder / "broker", *settings, enter=enter)
        self.forgotten: list[float] = []
        self.hosts: list[RunningHost] = []
        self.links: list[Relay] = []
        self.histories = Histories(self._files)

    def add_hosts(self, count: int) -> None:
        """Start hosts, and wait until all of them hear each other."""
        for _ in range(count):
            if self._network is None:
                self.links.append(Relay(self.broker.path))
            self.hosts.append(self._start_host(len(self.hosts)))
        self.flow()

    def start_again(self, number: int) -> None:
        """Start a host in the place of one that has ended."""
        self.hosts[number] = self._start_host(number)

    def start_empty_broker(self) -> None:
        """Start the broker again after it was ended: it has forgotten all."""
        self.forgotten.append(time.monotonic())
        self.broker.start()

    def _start_host(self, number: int) -> RunningHost:
        others: dict[str, Any] = {}
        address = "127.0.0.1"
        if self._network is None:
            address = f"{address}:{self.links[number].port}"
        else:
            address = f"{self._network.addresses['broker']}:{self.broker.port}"
            place = f"host{number}"
            script = self._folder / f"{place}-python"
            others["python"] = become(self._network.enter(place), sys.executable, script)
        settings = {
            "bus.url": f"redis://{address}",
            "bus.node": f"host{number}",
            "bus.lease_seconds": LEASE,
            "options.bus_history.folder": self._files,
            "options.bus_history.seed": self._seed,
        }
        return self._start(plugin=PLUGIN, workers=self._workers, settings=settings, **others)

    def members(self) -> dict[str, int]:
        """Return the members that serve now, with their processes; those to come have no name."""
        found = {}
        for host in self.hosts:
            for pid in host.workers.values():
                if Path(f"/proc/{pid}").exists():
                    found[self.histories.of(pid) or ""] = pid
                else:
                    found[""] = pid
        return found

    def flow(self) -> None:
        """Wait until all members hear what all of them publish from now on."""
        began = time.monotonic()

        def silent() -> list[str]:
            self.histories.poll()
            names, heard = self.members(), self.histories.heard
            return [
                f"{hearer or 'one to come'} does not hear {sender or 'one to come'} on {topic}"
                for hearer in names
                for sender in names
                for name, topic in SUBSCRIPTIONS
                if heard.get((hearer, name, topic, sender), (0, 0.0))[1] <= began
            ]

        wait_until(lambda: not silent(), lambda: self._said(silent()))

    def settle(self) -> None:
        """Have all members say their last word, and wait until all of them have heard all of it."""
        self.flow()
        (self._files / "stop").touch()

        def missing() -> list[str]:
            self.histories.poll()
            names, heard = self.members(), self.histories.heard
            return [
                f"{hearer} has not heard the last of {sender} on {topic} ({name})"
                for hearer in names
                for sender in names
                for name, topic in SUBSCRIPTIONS
                if not {hearer, sender} <= self.histories.finished.keys()
                or (
                    self.histories.ready.get((hearer, name), 0.0) < self.histories.finished[sender]
                    and heard.get((hearer, name, topic, sender), (0, 0.0))[0]
                    != self.histories.published[sender, topic]
                )
            ]

        wait_until(lambda: not missing(), lambda: self._said(missing()))

    def judge(self) -> Verdict:
        """Settle, and return what the checker says of all that was seen."""
        self.settle()
        watch = Stopwatch()
        while True:  # nodes that are gone are missed when their lease is over
            self.histories.poll()
            histories = self.histories.by_member
            members = members_of(histories.values())
            if not any(find_silent_deaths(members)) or watch.has_passed(_PATIENCE_SECONDS):
                break
            time.sleep(10 * _PAUSE_SECONDS)
        kinds: Counter[str] = Counter()
        for events in histories.values():
            kinds.update(event[0] for event in events)
        writes = [store(each) for each in writes_of(members).values()]
        faults = judge(members, forgotten=self.forgotten, lease=LEASE)
        return Verdict(
            members=len(members),
            published=kinds["publish"],
            heard=kinds["hear"],
            losses=kinds["lost"],
            left=kinds["left"],
            taken=kinds["taken"],
            writes=sum(taken for taken, _ in writes),
            refused=sum(refused for _, refused in writes),
            faults=[f"{fault.rule}: {fault.text}" for fault in faults],
        )

    def _said(self, problems: list[str]) -> str:
        said = [line for host in self.hosts for line in host.said().splitlines()[-15:]]
        return "\n".join([*problems[:6], *said])

    def close(self) -> None:
        """End broker and relays; the hosts are ended by who has started them."""
        for link in self.links:
            link.close()
        self.broker.close()


def bridge_of(host: RunningHost) -> int:
    """Return the process that speaks to the broker."""
    return helper_of(host)
