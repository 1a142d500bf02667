"""Pools in a running host: tasks, processes that end, reloads and stops with running tasks."""

from __future__ import annotations

import math
import os
import re
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from host.runtime.scheduling import groups_by_session
from support.address import connect
from support.asking import fresh_name, query
from support.hosting import SUPPORT, Host, Start, eventually, freeze, reload
from support.ordinary import NOBODY, Ordinary
from support.processes import children, status
from support.scenes import Scene
from support.sessions import niceness_of_session

pytestmark = [pytest.mark.process, pytest.mark.warm]

OFFLOADING = str(SUPPORT / "offloading.py")
SIZE = 2


def begin(start: Start, *flags: str, workers: int = 1, **pool: Any) -> Host:
    settings = {f"pools.default.{key}": value for key, value in {"size": SIZE, **pool}.items()}
    return start(*flags, plugin=OFFLOADING, workers=workers, settings=settings)


class Lines:
    """A client: lines to the host, and lines back."""

    def __init__(self, sock: socket.socket, file: BinaryIO) -> None:
        self.sock, self._file = sock, file

    def send(self, *lines: str) -> None:
        self.sock.sendall("".join(f"{line}\n" for line in lines).encode())

    def get(self) -> str:
        return self._file.readline().decode().rstrip("\n")

    def ask(self, line: str) -> str:
        self.send(line)
        return self.get()


@contextmanager
def client(host: Host) -> Iterator[Lines]:
    with connect(host.address) as sock, sock.makefile("rb") as file:
        yield Lines(sock, file)


def pool_processes(host: Host, slot: int = 0) -> set[int]:
    return {each.pid for each in children(host.workers[slot])}


def wait_for_processes(host: Host, count: int = SIZE) -> set[int]:
    eventually(lambda: len(pool_processes(host)) == count, f"{count} processes of the pool")
    return pool_processes(host)


def test_functions_of_a_file_are_done_in_processes(start: Start) -> None:
    host = begin(start)
    with client(host) as lines:
        worker = int(lines.ask("worker"))
        pid = int(lines.ask("pid"))
        assert pid in pool_processes(host)
        found = status(pid)
        assert found is not None
        assert found.parent == worker
        assert re.fullmatch(r"prefork_file_offloading_\w+", lines.ask("module"))
        assert lines.ask("host") == "False"
        assert len(lines.ask("big")) == 10 * 1024 * 1024


def test_a_client_is_answered_in_order_also_when_it_has_finished_sending(start: Start) -> None:
    host = begin(start)
    with client(host) as lines:
        lines.send("sleep 0.2", "echo a", "raise b", "lend", "echo c")
        lines.sock.shutdown(socket.SHUT_WR)
        answers = [lines.get() for _ in range(6)]
    assert answers[:3] == ["slept", "a", "ValueError: b"]
    assert answers[3].startswith("PicklingError: the result of prefork_file_offloading_")
    assert answers[4:] == ["c", ""]


@pytest.mark.parametrize(
    ("line", "how"),
    [("die", "killed by SIGKILL"), ("leave 3", "exit code 3"), ("leave 0", "exit code 0")],
)
def test_a_process_that_ends_costs_its_task_alone(start: Start, line: str, how: str) -> None:
    host = begin(start)
    before = wait_for_processes(host)
    with client(host) as lines:
        lines.send("echo a", line, "echo b", "echo c")
        assert lines.get() == "a"
        lost = lines.get()
        assert lost.startswith("TaskLostError: a process of pool default")
        assert lost.endswith(how)
        assert [lines.get(), lines.get()] == ["b", "c"]
        after = wait_for_processes(host)
        assert len(after - before) == 1
    told = host.wait_for("pool_process_ended", slot=0, pool="default", cause=how)
    assert told["pid"] in before


def test_a_task_that_hangs_ends_with_its_process(start: Start) -> None:
    host = begin(start, timeout_seconds=2)
    before = wait_for_processes(host)
    with client(host) as lines:
        begun = {lines.ask("pid")}
        while len(begun) < SIZE:  # on a busy machine they take a while
            begun.add(lines.ask("pid"))
        lines.send("sleep 1000", "stop")
        assert lines.get().endswith("was not done after 2 s")
        assert lines.get().endswith("was not done after 2 s")
        eventually(lambda: len(pool_processes(host) - before) == SIZE, "both are replaced")


def test_a_process_that_a_task_has_forked_ends_with_that_of_the_task(start: Start) -> None:
    host = begin(start, size=1)
    with client(host) as lines:
        fork = int(lines.ask("fork"))
        lines.send("die", "echo a")
        assert lines.get().startswith("TaskLostError")
        assert lines.get() == "a"
        eventually(lambda: status(fork) is None, "the fork has ended, too")


def test_what_a_task_prints_is_in_the_log(start: Start) -> None:
    host = begin(start)
    with client(host) as lines:
        assert lines.ask("print hello") == "printed"
    told = host.wait_for("plugin_printed", text="hello", stream="stdout")
    assert told["level"] == "info"
    assert re.fullmatch(r"pool default \(pid \d+\)", told["source"])
    assert (
        host.wait_for("plugin_printed", text="hello again", stream="stderr")["level"] == "warning"
    )


def test_the_loop_never_waits(start: Start) -> None:
    host = begin(start)
    with client(host) as lines:
        assert lines.ask("apply").startswith("WouldBlockError: pool.apply() would wait")


def test_processes_are_replaced_after_so_many_tasks(start: Start) -> None:
    host = begin(start, size=1, max_tasks_per_process=3)
    with client(host) as lines:
        pids = [lines.ask("pid") for _ in range(9)]
    assert [pids[at] == pids[at + 1] == pids[at + 2] for at in (0, 3, 6)] == [True] * 3
    assert len(set(pids)) == 3
    assert host.events("pool_process_ended") == []


@pytest.mark.parametrize("only", [False, True])
def test_processes_may_have_idle_cpus_only(start: Start, only: bool) -> None:
    host = begin(start, size=1, only_idle_cpu=only)
    with client(host) as lines:
        pid = int(lines.ask("pid"))
        assert os.sched_getscheduler(pid) == (os.SCHED_IDLE if only else os.SCHED_BATCH)


def turn_of(pid: int) -> float | None:
    """Return for how many milliseconds the kernel lets a process go on; None if it does not say."""
    try:
        text = Path(f"/proc/{pid}/sched").read_text()
    except OSError:
        return None
    found = re.search(r"^se\.slice +: *(\d+)$", text, re.MULTILINE)
    return int(found[1]) / 1e6 if found else None


@pytest.mark.skipif(
    turn_of(os.getpid()) is None or tuple(map(int, os.uname().release.split(".")[:2])) < (6, 12),
    reason="the kernel has one turn for all, or does not say which",
)
def test_who_serves_has_shorter_turns_than_processes(start: Start) -> None:
    host = begin(start, size=1)
    with client(host) as lines:
        own = turn_of(host.workers[0])
        assert own is not None
        assert turn_of(int(lines.ask("pid"))) == 8.0 > own


@pytest.mark.parametrize(("given", "nice"), [({}, 10), ({"nice": 0}, 0), ({"nice": 19}, 19)])
def test_what_serves_connections_comes_before_processes(
    start: Start, given: dict[str, int], nice: int
) -> None:
    host = begin(start, size=1, **given)
    with client(host) as lines:
        pid = int(lines.ask("pid"))
        own = os.getpriority(os.PRIO_PROCESS, host.workers[0])
        assert os.getpriority(os.PRIO_PROCESS, pid) == min(own + nice, 19)


@pytest.mark.skipif(not groups_by_session(), reason="the kernel has no groups of sessions")
@pytest.mark.parametrize(
    ("given", "least"), [({"nice": 0}, 0), ({"nice": 17}, 17), ({"only_idle_cpu": True}, 19)]
)
def test_a_process_has_a_session_that_gives_way_to_others(
    start: Start, given: dict[str, object], least: int
) -> None:
    host = begin(start, size=1, **given)
    with client(host) as lines:
        pid = int(lines.ask("pid"))
        assert os.getsid(pid) == pid
        of_cpus = round(math.log(len(os.sched_getaffinity(0)), 1.25))
        expected = min(19, least + of_cpus)
        eventually(lambda: niceness_of_session(pid) == expected, "its session gives way")
        assert niceness_of_session(host.workers[0]) == niceness_of_session(host.pid)


def test_processes_are_replaced_when_they_have_much_memory(start: Start) -> None:
    host = begin(start, size=1, max_memory_bytes=1)
    with client(host) as lines:
        assert len({lines.ask("pid") for _ in range(3)}) == 3


def test_a_lack_of_memory_is_an_error_of_its_task_and_the_process_is_replaced(start: Start) -> None:
    host = begin(start, size=1)
    with client(host) as lines:
        before = lines.ask("pid")
        assert lines.ask("eat").startswith("MemoryError")
        assert lines.ask("pid") != before


def test_modules_that_cannot_be_imported_first(start: Start) -> None:
    host = begin(start, preload="json.no_such_module")
    told = host.wait_for("pool_not_started", pool="default")
    assert "ModuleNotFoundError: No module named 'json.no_such_module'" in told["cause"]
    with client(host) as lines:
        assert lines.ask("pid").startswith(
            "PoolError: pool default has no process that could do a task: preload failed"
        )


def test_a_worker_whose_client_has_left_goes_on(start: Start) -> None:
    host = begin(start, size=1)
    with client(host) as lines:
        pid = lines.ask("pid")
        lines.send("sleep 1000", "die", "die", "worker")
        assert int(lines.get()) == host.workers[0]  # all of them are there
        lines.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with client(host) as lines:
        assert lines.ask("pid") != pid  # it was ended a moment after its client


def test_a_stop_leaves_nothing_and_ends_tasks_at_the_deadline(start: Start) -> None:
    host = begin(start, "--set", "lifecycle.drain_timeout_seconds=0.5")
    processes = wait_for_processes(host)
    with client(host) as lines:
        assert lines.ask("echo a") == "a"
        lines.send("loose sleep 1000")
        lines.send("echo b")
        assert lines.get() == "b"
    assert host.stop() == 0
    told = host.wait_for("tasks_cut")
    assert told["count"] == 1
    assert [pid for pid in processes if status(pid) is not None] == []


def test_a_stop_waits_for_tasks(start: Start) -> None:
    host = begin(start)
    with client(host) as lines:
        lines.send("echo a", "sleep 0.5")
        assert lines.get() == "a"
        host.signal(signal.SIGTERM)
        assert lines.get() == "slept"
    assert host.wait() == 0
    assert host.events("tasks_cut") == []


def test_a_reload_lets_tasks_finish_and_gives_new_workers_new_processes(start: Start) -> None:
    host = begin(start)
    before = wait_for_processes(host)
    with client(host) as lines:
        lines.send("echo a", "sleep 0.5", "pid")
        assert lines.get() == "a"
        host.signal(signal.SIGHUP)
        host.wait_for("generation_ready")
        assert lines.get() == "slept"
        assert int(lines.get()) in before
    host.wait_for("worker_exited")
    with client(host) as lines:
        assert int(lines.ask("pid")) not in before
    eventually(lambda: not any(map(status, before)), "the old processes have ended")


def test_tasks_are_counted_once_over_reloads_and_deaths_of_workers(start: Start) -> None:
    host = begin(start, "--name", name := fresh_name())

    def tasks() -> dict[str, int]:
        counts: dict[str, int] = query(name, "status")["tasks"]
        return {word: count for word, count in counts.items() if count}

    with client(host) as lines:
        assert lines.ask("echo a") == "a"
        assert lines.ask("raise b") == "ValueError: b"
    eventually(lambda: tasks() == {"done": 1, "failed": 1}, "both are counted")
    reload(host)
    host.wait_for("worker_exited")
    with client(host) as lines:
        assert lines.ask("echo a") == "a"
        lines.send("loose sleep 1000", "loose sleep 1000", "loose sleep 1000", "worker")
        lines.get()
        found = {"waiting": 1, "running": 2, "done": 2, "failed": 1}
        eventually(lambda: tasks() == found, "two run, one waits")
    os.kill(host.workers[0], signal.SIGKILL)
    eventually(lambda: tasks() == {"done": 2, "failed": 1, "lost": 3}, "three are lost")
    reload(host)
    assert tasks() == {"done": 2, "failed": 1, "lost": 3}


@pytest.mark.parametrize("stopped", [False, True])
def test_nothing_outlives_a_worker_that_is_killed(start: Start, stopped: bool) -> None:
    host = begin(start)
    processes = wait_for_processes(host)
    with client(host) as lines:
        lines.send("echo a", "sleep 1000", "sleep 1000")
        assert lines.get() == "a"
        if stopped:
            for pid in processes:
                freeze(pid)
        os.kill(host.workers[0], signal.SIGKILL)
        eventually(lambda: not any(map(status, processes)), "the processes have ended")
    with suppress(ConnectionError), client(host) as lines:
        lines.ask("echo a")
    assert host.events("forks_ended") == []
    assert host.events("programs_found") == []


def test_nothing_outlives_a_supervisor_that_is_killed(start: Start) -> None:
    host = begin(start, workers=2)
    processes = wait_for_processes(host) | pool_processes(host, 1)
    with client(host) as lines:
        processes.add(int(lines.ask("fork")))
    host.signal(signal.SIGKILL)
    host.wait()
    eventually(lambda: not any(map(status, processes)), "the processes have ended")


def test_coroutines_await_tasks(start: Start) -> None:
    plugin = f"{SUPPORT / 'asyncio_pool.py'}:Server"
    host = start(plugin=plugin, workers=1, settings={"pools.default.size": SIZE})
    with client(host) as lines:
        processes = pool_processes(host)
        assert int(lines.ask("pid")) in processes
        assert lines.ask("map") == "[0, 2, 4, 6, 8]"
        assert lines.ask("gather") == "6"
        assert lines.ask("ready") == "8"
        assert lines.ask("die") == "TaskLostError"
        assert lines.ask("late") == "TimeoutError"
        assert int(lines.ask("pid")) not in processes


def test_a_user_who_cannot_execute_the_interpreter_is_told_once(
    scene: Scene, nobody: Ordinary
) -> None:
    folder = scene.folder / "roots"
    folder.mkdir()
    python = folder / "python"
    python.symlink_to(nobody.python)
    folder.chmod(0o700)
    scene.more = "[pools.default]\n"
    message = scene.refuse("its processes could not start", code=3, python=str(python))
    assert f"uid {NOBODY} may not enter {folder}, on the way to {python}" in message
    scene.more = '[pools.default]\nkind = "threads"\n'
    host = scene.start(plugin=OFFLOADING, python=str(python))
    with client(host) as lines:
        assert lines.ask("echo a") == "a"
