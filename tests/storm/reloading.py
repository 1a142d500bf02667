"""Reloads in place: under load, to settings that are broken, and amid a hail of signals."""

from __future__ import annotations

import shutil
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress

from storm.breakages import BREAKAGES, PLUGIN_FILE, SETTINGS_FILE, Place
from storm.hosts import POLITE, StormHost, soon
from storm.rows import SkippedError, Trial, host_has, row
from support.processes import children
from support.resting import at_rest

NUMBERS = ("host_ready", "generation_starting", "workers_scaled")
"""Events that tell how many workers there should be."""
LOOPS, SESSIONS = 8, 20
DRAIN_SECONDS = 5


def reloads_exist() -> None:
    """Skip the row if this host stops on SIGHUP."""
    if not host_has("admin.enabled"):
        raise SkippedError("this host cannot reload")


def reload_once(host: StormHost, seconds: float = 20.0) -> float:
    """Reload, and wait until the new generation is ready; return how long that took."""
    mark, began = host.mark(), time.monotonic()
    host.signal(signal.SIGHUP)
    host.wait_for("generation_ready", since=mark, seconds=seconds)
    return time.monotonic() - began


def only_one_generation(host: StormHost, workers: int, seconds: float = 20.0) -> bool:
    """Wait until there are as many workers as there should be, none of them older."""
    return soon(lambda: len(children(host.pid)) == workers and not host.zombies(), seconds)


@row(
    22,
    "200 reloads under load, short and long connections",
    "0 failed, 0 cut before the drain deadline",
)
def reloads(trial: Trial) -> str:
    reloads_exist()
    said = []
    for family, part in trial.pick([("tcp4", 1.0)], [("tcp4", 0.5), ("unix", 1.0)]):
        host = trial.start(POLITE, listen=(family,))
        load = trial.load(host.address)
        load.under_way()
        took = []
        for _ in trial.rounds(range(4), range(100), part):
            took.append(reload_once(host))
            time.sleep(trial.random.uniform(0.0, 0.3))
        trial.must(only_one_generation(host, 4), f"processes left: {children(host.pid)}")
        result = load.end(drain=1.0)
        trial.must(not result.failed, f"failures: {result.causes()}")
        trial.must(not host.events("connections_cut"), "connections were cut")
        trial.must(not host.events("worker_died"), "a worker died")
        took.sort()
        said.append(
            f"{family}: {len(took)} reloads, {result.served:,} served, {result.farewells:,}"
            f" sessions moved on, {result.failed} failed;"
            f" a reload takes {took[len(took) // 2]:.2f} s (median)"
        )
        trial.broken += host.finish()
    return "; ".join(said)


@row(
    23,
    f"reload to {len(BREAKAGES)} kinds of broken settings or plugins",
    "nothing changes; reason returned",
)
def broken_reloads(trial: Trial) -> str:
    reloads_exist()
    plugin, settings = trial.folder / PLUGIN_FILE, trial.folder / SETTINGS_FILE
    shutil.copy(POLITE, plugin)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = Place(trial.folder, plugin, settings, taken.getsockname()[1])
        place.mend()
        host = trial.start(str(plugin), workers=2, flags=("--config", SETTINGS_FILE))
        host.codes = {0, 9}  # a worker of a generation that has failed may still hang in its start
        load = trial.load(host.address, sessions=SESSIONS, every=0.05, pause=0.005)
        load.under_way()
        chosen = list(BREAKAGES.items())[:: trial.pick(3, 1)]
        wrong = []
        for name, (breaking, phrase) in chosen:
            if problem := refused(host, place, breaking, phrase):
                wrong.append(name)
                trial.broken.append(f"{name}: {problem}")
            if not host.alive:
                break
        place.mend()
        if host.alive:
            reload_once(host)
        result = load.end(drain=1.0)
        trial.must(not result.failed, f"failures: {result.causes()}")
    return (
        f"{len(chosen) - len(wrong)} of {len(chosen)} refused with a reason; {result.served:,}"
        f" served, {result.failed} failed" + f"; not {', '.join(wrong)}" * bool(wrong)
    )


def refused(host: StormHost, place: Place, breaking: Callable[[Place], object], phrase: str) -> str:
    """Reload to something broken; return what is wrong about what happens."""
    before = sorted(host.workers.values())  # others may be starts of the one that failed before
    place.mend()
    breaking(place)
    mark = host.mark()
    host.signal(signal.SIGHUP)

    def reasons() -> list[str]:
        failed = host.events("reload_failed", since=mark)
        failed += host.events("generation_failed", since=mark)
        return [f"{event['reason']} {event.get('details', '')}" for event in failed]

    if not soon(lambda: bool(reasons()) or not host.alive, 25.0):
        return f"no reason: {[event['event'] for event in host.events(since=mark)]}"
    if not host.alive:
        return "the host has ended"
    if phrase not in reasons()[0]:
        return f"{phrase!r} is not in the reason {reasons()[0][:200]!r}"
    if not soon(lambda: sorted(child.pid for child in children(host.pid)) == before, 10.0):
        return f"workers {before} have become {sorted(child.pid for child in children(host.pid))}"
    return ""


@row(
    24,
    "1,000 SIGHUP in a second; HUP, TTIN, TTOU, CHLD, and at last TERM, mixed at random",
    "no stuck state, exact final count, 0 zombies, descriptors flat",
)
def signals(trial: Trial) -> str:
    reloads_exist()
    host = trial.start(
        POLITE, workers=2, settings={"lifecycle.drain_timeout_seconds": DRAIN_SECONDS}
    )
    load = trial.load(host.address, sessions=SESSIONS, every=0.05, pause=0.005)
    load.under_way()
    reload_once(host)
    with at_rest(host, host.name, connections=SESSIONS):
        before = host.inventory()
    began = time.monotonic()
    for number in range(1000):
        time.sleep(max(0.0, began + number / 1000 - time.monotonic()))
        host.signal(signal.SIGHUP)
    with at_rest(host, host.name, connections=SESSIONS, seconds=60.0):
        number_is(trial, host, 2)
        after = host.inventory()
    flat(trial, before, after)
    generations = len(host.events("generation_ready"))
    hail(trial, host)
    with at_rest(host, host.name, seconds=60.0) as status:
        wanted = status["workers_wanted"]
        number_is(trial, host, wanted)
    told = soon(lambda: last_number(host) == wanted, 10.0)
    trial.must(told, f"{wanted} workers, and the last event says {last_number(host)}")
    result = load.end(drain=1.0)
    trial.must(not result.failed, f"failures: {result.causes()}")
    stop_amid(trial, host)
    return (
        f"1,000 SIGHUP: {generations} generations; mixed: {len(host.events('workers_scaled'))}"
        f" changes of the number, {wanted} workers in the end; {result.served:,} served,"
        f" {result.failed} failed"
    )


def flat(trial: Trial, before: dict[str, int], after: dict[str, int]) -> None:
    """The supervisor has as many descriptors as before, workers but for what the loops have."""
    for name in ("supervisor", "children"):
        trial.must(after[name] == before[name], f"{name}: {before[name]} → {after[name]}")
    more = sum(after.values()) - sum(before.values())
    trial.must(abs(more) <= LOOPS, f"descriptors of workers: {more} more")


def last_number(host: StormHost) -> int:
    """Return how many workers there should be by what the host has told last."""
    told = host.events()
    numbers = [event["workers"] for event in told if event["event"] in NUMBERS]
    return int(numbers[-1])


def hail(trial: Trial, host: StormHost) -> None:
    """Send signals at random."""
    mixed = (signal.SIGHUP, signal.SIGTTIN, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCHLD)
    until = time.monotonic() + trial.pick(2.0, 60.0)
    while time.monotonic() < until:
        host.signal(trial.random.choice(mixed))
        time.sleep(trial.random.uniform(0.0, 0.02))


def number_is(trial: Trial, host: StormHost, workers: int) -> None:
    """There are as many workers as there should be, and no zombies."""
    alive = [child for child in children(host.pid) if child.state != "Z"]
    trial.must(len(alive) == workers, f"{len(alive)} workers instead of {workers}")
    trial.must(host.no_zombies(), f"zombies: {host.zombies()}")


def stop_amid(trial: Trial, host: StormHost) -> None:
    """SIGTERM ends it also when other signals come before and after."""
    for number in (signal.SIGHUP, signal.SIGTTIN, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        with suppress(ProcessLookupError):
            host.signal(number)
    began = time.monotonic()
    code = host.wait(15.0)
    trial.must(code == 0, f"exit code {code}")
    trial.in_time(time.monotonic() - began - DRAIN_SECONDS, 0.5, "later than the deadline by")
