"""Workers that die take only their own connections along, and nobody outlives the supervisor."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from host.testing import RunningHost
from host.testing.machine import Stopwatch, patience
from storm.rows import SkippedError
from storm.tracing import failing
from support.address import connect
from support.asking import fresh_name
from support.hosting import (
    BLOCKING,
    CHANGING_USER,
    DEADLINE_SECONDS,
    FAULTY,
    Load,
    Start,
    eventually,
    freeze,
    spread,
)
from support.processes import Watch, at_rest, children
from support.session import poison
from support.targets import parse

pytestmark = [pytest.mark.process, pytest.mark.warm]


def test_a_killed_worker_takes_only_its_own_connections_along(start: Start, load: Load) -> None:
    host = start(workers=4)
    before = load.burst(host.address, 100)
    assert before["failures"] == {}
    victim = host.workers[2]
    owned = sum(pid == victim for _, pid, _ in before["answers"])
    mark = host.mark()
    os.kill(victim, signal.SIGKILL)
    died = host.wait_for("worker_died", since=mark)
    assert (died["slot"], died["pid"], died["cause"]) == (2, victim, "killed by SIGKILL")
    replacement = host.wait_for("worker_ready", since=mark)
    assert replacement["slot"] == 2
    assert replacement["pid"] != victim
    after = load.exchange()
    assert sum(after["failures"].values()) == owned == 25
    assert len(after["answers"]) == 75
    assert victim not in {pid for _, pid, _ in after["answers"]}
    fresh = load.burst(host.address, 100, group="fresh")
    counts, difference = spread(fresh["answers"], 4)
    assert difference <= 1, counts
    assert host.workers[2] in {pid for _, pid, _ in fresh["answers"]}


@pytest.mark.parametrize("family", ["tcp4", "tcp6", "unix"])
def test_a_kill_during_a_burst_costs_only_what_the_worker_had_accepted(
    start: Start, load: Load, family: str
) -> None:
    host = start(listen=(family,), workers=4)
    failed = 0
    for turn in range(12):
        slot = turn % 4
        victim = host.workers[slot]
        accepted, refused = host.board.accepted, host.board.refused
        mark = host.mark()
        load.open(host.address, 200)
        os.kill(victim, signal.SIGKILL)
        result = load.exchange()
        host.wait_for("worker_died", slot=slot, pid=victim, since=mark)
        host.wait_for("worker_ready", slot=slot, since=mark)
        failures = sum(result["failures"].values())
        answered, _ = spread(result["answers"], 4)
        taken = [now - then for now, then in zip(host.board.accepted, accepted, strict=True)]
        # Killed between accept() and counting it: the supervisor wrote that one off as refused.
        unsure = host.board.refused[slot] - refused[slot]
        owned = taken[slot] - answered[slot]
        assert owned <= failures <= owned + unsure, (result["failures"], taken, answered)
        assert "timeout" not in result["failures"]
        assert len(result["answers"]) + failures == 200
        for other in {0, 1, 2, 3} - {slot}:
            assert taken[other] == answered[other]
        failed += failures
        load.close()
    print(f"{failed} of {12 * 200} connections were the killed workers' own")


@pytest.mark.parametrize(
    ("number", "cause"), [(signal.SIGSEGV, "SIGSEGV"), (signal.SIGABRT, "SIGABRT")]
)
def test_the_signal_that_a_worker_died_of_is_named(
    start: Start, load: Load, number: signal.Signals, cause: str
) -> None:
    host = start(workers=2)
    mark = host.mark()
    os.kill(host.workers[0], number)
    assert host.wait_for("worker_died", since=mark)["cause"] == f"killed by {cause}"
    host.wait_for("worker_ready", slot=0, since=mark)
    assert load.burst(host.address, 20)["failures"] == {}


def test_a_worker_that_exits_in_a_hook_is_replaced(start: Start, load: Load) -> None:
    host = start(
        plugin=FAULTY,
        settings={"options.faulty.hook": "on_readable", "options.faulty.how": "os_exit"},
    )
    mark = host.mark()
    with connect(host.address) as poisoner:
        slot, pid = poison(poisoner)
        with suppress(ConnectionResetError):
            assert poisoner.recv(100) == b""
    died = host.wait_for("worker_died", since=mark)
    assert (died["slot"], died["pid"], died["cause"]) == (slot, pid, "exit code 3")
    host.wait_for("worker_ready", slot=slot, since=mark)
    assert load.burst(host.address, 20)["failures"] == {}


def test_a_worker_tells_of_an_error_that_nobody_expected_and_is_replaced(
    host_server: Callable[..., RunningHost],
) -> None:
    host = host_server("echo", flags=("--name", fresh_name()))
    pid = host.workers[0]
    try:
        with (
            host.connect() as client,
            failing([pid], "epoll_wait", "EBADF", "9..9"),
            suppress(ConnectionError),
        ):
            while client.send(b"x") and client.recv(1):
                pass  # each turn waits once
    except SkippedError as skipped:
        pytest.skip(str(skipped))
    bug = host.wait_for("host_bug", pid=pid)
    assert bug["error"] == "OSError: [Errno 9] Bad file descriptor"
    assert "run_once" in bug["traceback"]
    assert host.wait_for("worker_died", pid=pid)["cause"].startswith("exit code 1")
    host.wait_for("worker_ready", slot=0, count=2)
    assert host.stop() == 0
    assert host.other_output == []


def test_workers_killed_at_once_are_all_replaced(start: Start, load: Load) -> None:
    host = start(workers=4)
    for _ in range(5):
        mark = host.mark()
        for pid in host.workers.values():
            os.kill(pid, signal.SIGKILL)
        load.open(host.address, 50)
        host.wait_for("worker_ready", count=4, since=mark)
        result = load.exchange()
        # All of them may have been accepted by a worker just before it was killed, or none.
        assert "timeout" not in result["failures"]
        load.close()
        assert load.burst(host.address, 50, group="after")["failures"] == {}
        load.close(group="after")


def test_a_worker_that_dies_while_another_one_is_reaped_is_replaced_too(
    start: Start, tmp_path: Path
) -> None:
    """The supervisor gets one batch of events: SIGCHLD, and then the end of a second channel.

    While it handles the signal it buries both workers, and the replacements' channels get the
    numbers of descriptors that the batch still has an event for. They have nothing to read then.
    """
    pipe, lock = tmp_path / "pipe", tmp_path / "lock"
    os.mkfifo(pipe)
    lock.touch()
    settings = {"options.blocking.pipe": pipe, "options.blocking.lock": lock}
    host = start("--plugin", BLOCKING, "--log-level", "debug", settings=settings, workers=2)
    first, second = host.workers.values()
    # Else it may block while it handles the last "ready", and that channel would come first.
    eventually(lambda: at_rest(host.pid), "the supervisor waits for events")
    mark = host.mark()
    with (
        watching([first, second]) as (one, other),
        connect(host.address),
        lock.open() as held,
    ):
        fcntl.flock(held, fcntl.LOCK_EX)
        with pipe.open("wb"):  # returns when the supervisor waits on the other side
            os.kill(first, signal.SIGKILL)
            assert one.ended(patience(5))
            eventually(lambda: at_rest(host.pid), "the supervisor has noted the signal")
            os.kill(second, signal.SIGKILL)
            assert other.ended(patience(5))
            eventually(lambda: at_rest(host.pid), "the supervisor has noted the signal")
            pipe.unlink()  # from here on the scheduler raises, and round-robin takes over
        host.wait_for("worker_started", count=2, since=mark)
        eventually(lambda: at_rest(host.pid), "the supervisor is through with the batch")
        fcntl.flock(held, fcntl.LOCK_UN)
        for slot in (0, 1):
            host.wait_for("worker_ready", slot=slot, since=mark)


def test_without_respawn_the_others_go_on_and_the_host_ends_with_the_last(
    start: Start, load: Load
) -> None:
    host = start("--no-respawn", workers=3)
    pids = host.workers
    for slot in (1, 0):
        mark = host.mark()
        os.kill(pids[slot], signal.SIGKILL)
        died = host.wait_for("worker_died", slot=slot, since=mark)
        assert died["next"] == "it is not replaced"
        result = load.burst(host.address, 60, group=str(slot))
        assert result["failures"] == {}
        assert pids[slot] not in {pid for _, pid, _ in result["answers"]}
    assert [child.pid for child in children(host.pid)] == [pids[2]]
    os.kill(pids[2], signal.SIGKILL)
    assert host.wait() == 8
    assert len(host.events("worker_ready")) == 3


@contextmanager
def watching(pids: list[int]) -> Iterator[list[Watch]]:
    watches = [Watch(pid) for pid in pids]
    try:
        yield watches
    finally:
        for watch in watches:
            watch.close()


@pytest.mark.parametrize(
    ("family", "state"),
    [
        ("tcp4", "idle"),
        ("tcp4", "frozen"),
        ("tcp4", "hung"),
        ("tcp6", "busy"),
        ("unix", "busy"),
        ("unix", "frozen"),
        ("unix", "hung"),
    ],
)
def test_no_worker_outlives_the_supervisor(
    start: Start, load: Load, family: str, state: str
) -> None:
    host = start(
        plugin=FAULTY,
        settings={"options.faulty.hook": "on_readable", "options.faulty.how": "hang"},
        listen=(family,),
        workers=3,
    )
    pids = host.workers
    family_number, target = parse(host.address)
    with watching(list(pids.values())) as watches, connect(host.address) as client:
        if state == "busy":
            load.burst(host.address, 100)
        elif state == "frozen":
            freeze(pids[1])
        elif state == "hung":
            poison(client)
        host.signal(signal.SIGKILL)
        stopwatch = Stopwatch()
        for watch in watches:
            assert watch.ended(patience(DEADLINE_SECONDS)), f"{watch.pid} lives on"
        lasted = stopwatch.seconds
        print(f"all gone after {lasted * 1000:.0f} ms")
        assert lasted <= stopwatch.scaled(1.0)
    assert host.wait() == -signal.SIGKILL
    with socket.socket(family_number, socket.SOCK_STREAM) as probe:
        assert probe.connect_ex(target) == errno.ECONNREFUSED
    # The address is free again; what a killed process cannot remove is replaced.
    again = start(listen=(host.address,))
    assert load.burst(again.address, 10, group="again")["failures"] == {}


def test_zombies_are_reaped_at_once(start: Start) -> None:
    host = start(workers=4)
    mark = host.mark()
    for pid in host.workers.values():
        os.kill(pid, signal.SIGKILL)
    host.wait_for("worker_ready", count=4, since=mark)
    eventually(
        lambda: sorted(child.pid for child in children(host.pid)) == sorted(host.workers.values()),
        "only living workers are children",
    )


@pytest.mark.parametrize("hang_seconds", [4.0, 0.0])
@pytest.mark.parametrize("when", ["at the start", "later"])
def test_a_worker_that_has_changed_its_user_dies_with_its_supervisor(
    start: Start, when: str, hang_seconds: float
) -> None:
    settings = {"lifecycle.hang_seconds": hang_seconds}
    host = start(plugin=CHANGING_USER, workers=1, settings=settings)
    with connect(host.address) as client:

        def signal_of_death(word: bytes) -> int:
            client.sendall(word)
            return int(client.recv(100))

        if when == "later":
            assert signal_of_death(b"change") == 0
        eventually(lambda: signal_of_death(b"ask") == signal.SIGKILL, "it dies with its parent")
        with watching(list(host.workers.values())) as watches:
            signal_of_death(b"hang")  # so it does not read that the supervisor is gone
            host.signal(signal.SIGKILL)
            assert all(watch.ended(patience(1.0)) for watch in watches)
    assert host.wait() == -signal.SIGKILL
