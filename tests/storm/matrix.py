"""A plugin that misbehaves, in every hook and in every way there is."""

from __future__ import annotations

import json
import os
import signal
import ssl
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path

from storm.cells import DEADLY, LIMITS, Cell, all_cells, some_cells
from storm.hosts import POLITE, StormHost, soon
from storm.load import Load
from storm.rows import Trial, host_has, row
from support import datagrams
from support.address import connect
from support.certificates import Authority
from support.hosting import SUPPORT
from support.misbehaving import START_TLS
from support.processes import children, of_session

MISBEHAVING = str(SUPPORT / "misbehaving.py")
PLUGIN = "misbehaving"
DRAIN_SECONDS = 3.0
SETTINGS = {
    "lifecycle.drain_timeout_seconds": DRAIN_SECONDS,
    "lifecycle.start_timeout_seconds": 3,
    "lifecycle.respawn_backoff_max_seconds": 1,
}


@row(
    4,
    "SIGSEGV, SIGABRT and os._exit in each hook",
    "workers: failures at most those owned, replaced, one record names cause, signal, plugin, hook;"
    " supervisor: nothing is left of the host",
)
def deadly(trial: Trial) -> str:
    chosen = [cell for cell in all_cells() if cell.how in DEADLY]
    return run_cells(trial, trial.rounds(chosen[::5], in_any_order(trial, chosen)))


@row(
    28,
    "a plugin that raises, loops, sleeps, exits, answers nonsense, leaks and closes descriptors,"
    " steals signals, forks, takes all memory, in every hook",
    "others are served, the host goes on (or does not start, and says why), dead workers replaced,"
    " a record names plugin and hook, no orphan, no zombie, SIGTERM works",
)
def misbehaving(trial: Trial) -> str:
    some, all_of_them = (
        [cell for cell in cells if cell.how not in DEADLY] for cells in (some_cells(), all_cells())
    )
    return run_cells(trial, trial.rounds(some, in_any_order(trial, all_of_them)))


def in_any_order(trial: Trial, cells: list[Cell]) -> list[Cell]:
    """Return them mixed: if the time is up early, no hook is left out altogether."""
    return trial.random.sample(cells, len(cells))


def run_cells(trial: Trial, cells: Iterable[Cell]) -> str:
    """Run cells, each on a host of its own; return how many pass."""
    wrong: list[str] = []
    limits: dict[str, int] = {}
    skipped = count = 0
    for cell in cells:
        if cell.kind == "hangs" and not host_has("lifecycle.hang_seconds"):
            skipped += 1
            continue
        count += 1
        problems = run_cell(trial, cell)
        if problems:
            wrong.append(str(cell))
            trial.broken.append(f"{cell} ({cell.kind}): {'; '.join(problems)[:400]}")
        elif cell.kind in LIMITS:
            limits[LIMITS[cell.kind]] = limits.get(LIMITS[cell.kind], 0) + 1
    said = [f"{count - len(wrong)} of {count} cells pass"]
    said += [f"{number} of them documented limits ({text})" for text, number in limits.items()]
    said += [f"{skipped} skipped: no hang detection"] * bool(skipped)
    return ", ".join(said) + (f"; not {', '.join(wrong)}" if wrong else "")


def run_cell(trial: Trial, cell: Cell) -> list[str]:
    """Run one cell; return what does not hold."""
    arming = trial.folder / "cell"
    taken = arming.with_suffix(".taken")
    for path in (arming, taken):
        path.unlink(missing_ok=True)
    starting = cell.hook == "on_host_start" or cell.first
    if starting:
        arm(arming, cell)
    files = Authority(trial.folder).files("storm")
    config = trial.folder / "storm.toml"
    config.write_text(f"[tls.storm]\ncertificates = [{files.toml}]\n")
    host = trial.start(
        MISBEHAVING,
        workers=2,
        listen=("tcp4=misbehaving", "tcp4=polite", "udp://127.0.0.1:0=misbehaving"),
        flags=("--plugin", POLITE, "--config", str(config)),
        settings=SETTINGS | {"options.misbehaving.cell": arming},
        ready=False,
    )
    before = len(trial.broken)
    try:
        if starting:
            at_start(trial, host, cell, taken)
        else:
            while_serving(trial, host, cell, arming)
    except (AssertionError, OSError) as error:
        trial.broken.append(str(error).splitlines()[0])
    host.other_output[:] = []
    trial.broken += host.finish()
    problems = trial.broken[before:]
    del trial.broken[before:]
    return problems


def arm(arming: Path, cell: Cell) -> None:
    """Tell the plugin what to do; it must never read half of it."""
    draft = arming.with_suffix(".draft")
    draft.write_text(f"{cell.hook} {cell.how}")
    draft.rename(arming)


def at_start(trial: Trial, host: StormHost, cell: Cell, taken: Path) -> None:
    """Judge a cell that happens before the host is ready."""
    if cell.kind == "nothing":
        host.wait_for("host_ready")
        trial.must(taken.exists(), "the hook was not called")
        load = begin(trial, host)
        stops_well(trial, host, load, set())
        return
    if cell.kind == "blocks":
        trial.must(soon(taken.exists, 5.0), "the hook was not called")
        trial.must(host.alive, "the host has ended")
        ends_with_supervisor(trial, host)
        return
    code = host.wait(15.0)
    host.codes = {code}
    trial.must(code != 0, "exit code 0")
    if cell.code is not None:
        trial.must(code == cell.code, f"exit code {code}, not {cell.code}")
    trial.must(nothing_left(host), f"left: {of_session(host.pid)}")
    if cell.kind == "refuses":
        said = host.said()
        trial.must(PLUGIN in said and cell.hook in said, "no message names plugin and hook")


def while_serving(trial: Trial, host: StormHost, cell: Cell, arming: Path) -> None:
    """Judge a cell of a host that serves."""
    host.wait_for("host_ready")
    load = begin(trial, host, blocked=cell.kind == "blocks")
    mark = host.mark()
    with ExitStack() as stack:
        provoke(host, cell, arming, stack)
        taken = arming.with_suffix(".taken")
        hit = caught(taken)
        if cell.kind == "blocks":
            open_sessions_go_on(trial, host, load)
            ends_with_supervisor(trial, host)
            return
        if cell.kind == "ends":
            host.codes = {host.wait(5.0)}
            trial.must(host.codes != {0}, "exit code 0")
            trial.must(nothing_left(host), f"left: {of_session(host.pid)}")
            return
        check(trial, host, cell, mark, hit)
        recovered(trial, host)
    ends = host.events("worker_died", since=mark) + host.events("worker_exited", since=mark)
    stops_well(trial, host, load, {hit, *(event["pid"] for event in ends)})


def caught(taken: Path) -> int:
    """Wait until a process misbehaves; return which one."""
    called = soon(lambda: taken.exists() and taken.read_text().isdigit(), 5.0)
    assert called, "the hook was not called"
    return int(taken.read_text())


def begin(trial: Trial, host: StormHost, *, blocked: bool = False) -> Load:
    """Start the others, on the listener of the plugin that behaves."""
    loops = 0 if blocked else 2
    load = trial.load(host.addresses[1], loops=loops, sessions=10, every=0.05, pause=0.01)
    load.under_way()
    return load


def provoke(host: StormHost, cell: Cell, arming: Path, stack: ExitStack) -> None:
    """Do what makes the host call the hook; for a hook that is new here, all of it."""
    connections = []
    for number in range(4):
        sock = stack.enter_context(connect(host.addresses[0], 5.0))
        sock.sendall(b"hello %d\n" % number)
        sock.recv(100)
        connections.append(sock)
    arm(arming, cell)
    hook, late = cell.hook, ("on_drain", "on_worker_stop", "on_child_exit", "on_worker_start")
    if hook == "on_datagram":
        stack.enter_context(datagrams.client(host.addresses[2])).send(b"now\n")
        soon(lambda: not arming.exists(), 5.0)
    if hook == "on_tls":
        with suppress(OSError):  # in which the worker may end
            begin_tls(host.addresses[0])
    if arming.exists() and hook not in late:
        with suppress(OSError), connect(host.addresses[0], 1.0) as sock:
            sock.sendall(b"now\n")
            sock.settimeout(0.2)
            sock.recv(100)
    if arming.exists() and hook not in ("on_child_exit", "on_worker_start"):
        os.kill(host.workers[0], signal.SIGTERM)  # it drains, and is replaced
        if hook != "on_drain":
            for sock in connections:
                sock.close()
        soon(lambda: not arming.exists(), 2.0)
    if arming.exists():
        with suppress(ProcessLookupError):
            host.kill_worker(1, signal.SIGKILL)


def begin_tls(address: str) -> None:
    """Have a connection begin TLS in the middle."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with connect(address, 5.0) as sock:
        sock.sendall(START_TLS + b"\n")
        sock.recv(100)
        context.wrap_socket(sock).close()


def check(trial: Trial, host: StormHost, cell: Cell, mark: int, hit: int) -> None:
    """Judge what is told of the cell."""
    records = host.events(since=mark)
    if cell.kind == "heard":
        trial.must(soon(lambda: bool(naming(host, cell, mark)), 5.0), "no record names it")
        count = len(naming(host, cell, mark))
        trial.must(count <= 1, f"{count} records name it")
    elif cell.kind == "dies":
        trial.must(soon(lambda: bool(ended(host, hit, mark)), 5.0), "the worker did not die")
        deaths = ended(host, hit, mark)
        if deaths and cell.cause:
            text = json.dumps(deaths)
            trial.must(cell.cause in text, f"the cause is not told: {text[:200]}")
            trial.must(PLUGIN in text and cell.hook in text, "the record names no plugin or hook")
    elif cell.kind == "hangs":
        found = soon(lambda: bool(stuck(host, cell, mark)), 12.0)
        trial.must(found, f"not found hanging: {[each['event'] for each in records]}")
        text = json.dumps(stuck(host, cell, mark))
        trial.must("misbehaving" in text, "no stack of the plugin is told")
        trial.must(soon(lambda: bool(ended(host, hit, mark)), 8.0), "the worker was not ended")


def naming(host: StormHost, cell: Cell, mark: int) -> list[dict[str, object]]:
    """Return the records that name plugin and hook."""
    failed = host.events("hook_failed", since=mark, plugin=PLUGIN, hook=cell.hook)
    refused = host.events("worker_start_failed", since=mark)
    return failed + [
        event for event in refused if PLUGIN in event["cause"] and cell.hook in event["cause"]
    ]


def stuck(host: StormHost, cell: Cell, mark: int) -> list[dict[str, object]]:
    """Return the records about a worker that hangs.

    One that starts is killed by its own time-out, one that drains at its deadline; with its stacks.
    """
    found = host.events("worker_hung", since=mark)
    if cell.hook in ("on_worker_start", "on_drain", "on_worker_stop"):
        found += host.events("worker_killed", since=mark)
    return found


def ended(host: StormHost, pid: int, mark: int) -> list[dict[str, object]]:
    """Return the records about the end of a worker; what never got ready has no pid there."""
    return [
        *host.events("worker_died", since=mark, pid=pid),
        *host.events("worker_exited", since=mark, pid=pid),
        *host.events("worker_start_failed", since=mark),
    ]


def recovered(trial: Trial, host: StormHost) -> None:
    """All slots are filled with workers that serve, and there is no zombie."""

    def complete() -> bool:
        alive = {child.pid for child in children(host.pid) if child.state != "Z"}
        return len(alive) == 2 and alive == set(host.workers.values())

    trial.must(host.alive, "the host has ended")
    trial.must(soon(complete, 8.0), f"workers {host.workers}, children {children(host.pid)}")
    trial.must(host.no_zombies(), f"zombies: {host.zombies()}")
    for address in host.addresses[:2]:  # the third one is for datagrams
        with connect(address, 5.0) as sock:
            sock.sendall(b"after\n")
            trial.must(sock.recv(100).endswith(b"after\n"), f"{address} does not answer")


def stops_well(trial: Trial, host: StormHost, load: Load, lost: set[int]) -> None:
    """The others met with nothing but what they lost with a worker, and SIGTERM ends it all."""
    result = load.end(drain=1.0)
    foreign = [
        failure
        for failure in result.failures
        if (failure.owner not in lost if failure.owner else not lost)
    ]
    trial.must(not foreign, f"failures of others: {foreign[:2]}")
    never = [each for each in result.failures if each.cause in ("refused", "timeout", "wrong")]
    trial.must(not never, f"failures of others: {never[:2]}")
    began = time.monotonic()
    host.signal(signal.SIGTERM)
    code = host.wait(DRAIN_SECONDS + 5.0)
    took = time.monotonic() - began
    trial.must(code == 0, f"exit code {code} on SIGTERM")
    trial.in_time(took - DRAIN_SECONDS, trial.pick(2.0, 0.5), "stopped later than the deadline by")
    trial.must(nothing_left(host), f"left: {of_session(host.pid)}")


def open_sessions_go_on(trial: Trial, host: StormHost, load: Load) -> None:
    """For a second, with the supervisor blocked, sessions are answered by workers that live."""
    alive = {child.pid for child in children(host.pid) if child.state != "Z"}
    began = time.monotonic()
    time.sleep(1.0)
    (waits,) = load.waits("sessions", [(began, time.monotonic())])
    result = load.end()
    # One of two workers may have been killed to call the hook, and nobody replaces it.
    trial.must(waits.count >= 40, f"only {waits.count} answers to 10 sessions in a second")
    lost = [failure for failure in result.failures if failure.owner in alive]
    trial.must(not lost, f"sessions failed: {lost[:2]}")


def ends_with_supervisor(trial: Trial, host: StormHost) -> None:
    """Killed, it takes everything along."""
    host.codes = {-signal.SIGKILL}
    host.signal(signal.SIGKILL)
    host.wait(5.0)
    trial.must(nothing_left(host), f"left: {of_session(host.pid)}")


def nothing_left(host: StormHost) -> bool:
    """Tell whether everything of a host that has ended is gone within a second."""
    return soon(lambda: not of_session(host.pid), 1.0)
