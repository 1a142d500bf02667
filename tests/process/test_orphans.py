"""What plugins leave behind is reported; forks of the host are ended, and programs go on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from support.address import connect
from support.hosting import DEADLINE_SECONDS, LEAVING, Host, Start, eventually
from support.processes import Watch, children

pytestmark = [pytest.mark.process, pytest.mark.warm]


@pytest.fixture
def watch() -> Iterator[Callable[[int], Watch]]:
    """Watch processes; what still runs at the end is killed."""
    made: list[Watch] = []

    def watch(pid: int) -> Watch:
        made.append(Watch(pid))
        return made[-1]

    yield watch
    for each in made:
        if not each.ended():
            os.kill(each.pid, signal.SIGKILL)
        each.close()


def start_in_worker(client: Any, word: str) -> int:
    """Have the plugin start a process; return its pid."""
    client.sendall(f"{word}\n".encode())
    return int(client.recv(100))


def told(host: Host, event: str, pid: int) -> dict[str, Any]:
    """Wait until an event names a process."""
    found: list[dict[str, Any]] = []

    def names_it() -> bool:
        found[:] = [each for each in host.events(event) if f"{pid} (" in each["processes"]]
        return bool(found)

    eventually(names_it, f"{event} names {pid}")
    [only] = found
    return only


def test_a_fork_is_ended_and_a_program_goes_on(start: Start, watch: Callable[[int], Watch]) -> None:
    host = start("--log-level", "debug", plugin=LEAVING, workers=1)
    worker = host.workers[0]
    with connect(host.address) as client:
        fork = watch(start_in_worker(client, "fork"))
        program = watch(start_in_worker(client, "program"))
        with suppress(ConnectionError):
            client.sendall(b"exit\n")
            client.recv(1)
    assert fork.ended(DEADLINE_SECONDS)
    owner = f"worker 0 (pid {worker}, plugins: leaving)"
    assert told(host, "forks_ended", fork.pid)["owner"] == owner
    assert told(host, "programs_found", program.pid)["processes"] == f"{program.pid} (sleep)"
    eventually(lambda: len(children(host.pid)) == 2, "the next worker and the program are there")
    assert not program.ended()
    os.kill(program.pid, signal.SIGTERM)
    host.wait_for("unknown_child", pid=program.pid, cause="killed by SIGTERM")
    eventually(lambda: len(children(host.pid)) == 1, "no zombie is there")
    assert host.stop() == 0


def test_a_fork_is_known_whatever_it_does(start: Start, watch: Callable[[int], Watch]) -> None:
    host = start(plugin=LEAVING, workers=1)
    with connect(host.address) as client:
        fork = watch(start_in_worker(client, "hidden"))
        eventually(lambda: len(children(fork.pid)) == 1, "it has a child of its own")
        last = watch(children(fork.pid)[0].pid)
        assert not fork.ended()
        client.sendall(b"exit\n")
        client.close()
    assert fork.ended(DEADLINE_SECONDS)
    assert last.ended(DEADLINE_SECONDS)
    name = r"evil\x0a\x1b[31m"  # a log line is neither begun nor coloured
    assert f"{fork.pid} ({name})" in told(host, "forks_ended", fork.pid)["processes"]
    assert host.stop() == 0


def test_a_stop_does_not_wait_for_programs(start: Start, watch: Callable[[int], Watch]) -> None:
    host = start(plugin=LEAVING, workers=1)
    with connect(host.address) as client:
        fork, program = watch(start_in_worker(client, "fork")), start_in_worker(client, "program")
        goes_on = watch(program)
    assert host.stop() == 0
    assert fork.ended()
    assert not goes_on.ended()
    ends = [each for each in host.events("programs_found") if each["owner"] == "the host"]
    assert [each["processes"] for each in ends] == [f"{program} (sleep)"]


def test_forks_of_the_supervisor_end_with_the_host(
    start: Start, watch: Callable[[int], Watch], tmp_path: Path
) -> None:
    there = tmp_path / "pid"
    plugin = tmp_path / "helping.py"
    plugin.write_text(SUPERVISOR_FORK.format(path=str(there)) + Path(LEAVING).read_text())
    host = start(plugin=str(plugin), workers=1)
    helper = watch(int(there.read_text()))
    with connect(host.address) as client:
        fork = watch(start_in_worker(client, "fork"))
        client.sendall(b"exit\n")
        client.close()
    assert fork.ended(DEADLINE_SECONDS)
    told(host, "forks_ended", fork.pid)
    assert not helper.ended()
    assert host.stop() == 0
    assert helper.ended()
    told(host, "forks_ended", helper.pid)


SUPERVISOR_FORK = """
import os, pathlib, signal
from host import hookimpl

@hookimpl
def on_host_start(host):
    pid = os.fork()
    while pid == 0:
        signal.alarm(60)
        signal.pause()
    pathlib.Path({path!r}).write_text(str(pid))

"""


@pytest.mark.parametrize("hook", ["on_host_start(host)", "on_child_exit(child)"])
def test_programs_that_the_supervisor_has_started_are_no_orphans(
    start: Start, watch: Callable[[int], Watch], tmp_path: Path, hook: str
) -> None:
    there = tmp_path / "pid"
    plugin = tmp_path / "starting.py"
    plugin.write_text(SUPERVISOR_PROGRAM.format(hook=hook, path=str(there)))
    host = start("--plugin", str(plugin), plugin=LEAVING, workers=2)
    for _ in range(2):
        mark = host.mark()
        os.kill(host.workers[0], signal.SIGKILL)
        host.wait_for("worker_ready", since=mark, slot=0)
    program = watch(int(there.read_text()))
    assert host.events("programs_found") == []
    assert host.stop() == 0
    [found] = host.events("programs_found")
    assert found == found | {"owner": "the host", "processes": f"{program.pid} (sleep)"}


SUPERVISOR_PROGRAM = """
import pathlib, subprocess
from host import hookimpl

@hookimpl
def {hook}:
    path = pathlib.Path({path!r})
    if not path.exists():
        command = "exec sleep 60 >/dev/null 2>&1"
        started = subprocess.Popen(command, shell=True, start_new_session=True)
        path.write_text(str(started.pid))
"""


def test_forks_of_rehearsals_are_ended_and_reloads_keep_watch(
    start: Start, watch: Callable[[int], Watch], tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    plugin = tmp_path / "leaving.py"
    original = Path(LEAVING).read_text()
    plugin.write_text(original)
    host = start(plugin=str(plugin), workers=1)
    plugin.write_text(original + IMPORT_FORK.format(pid=host.pid, path=str(pids)))
    with connect(host.address) as client:
        old = watch(start_in_worker(client, "fork"))
        program = watch(start_in_worker(client, "program"))
        host.signal(signal.SIGHUP)
        host.wait_for("generation_ready", generation=1)
        forked = [int(pid) for pid in pids.read_text().split()]
        assert len(forked) == 2  # of the first rehearsal and the second one
        for pid in forked:
            told(host, "forks_ended", pid)
        assert not old.ended()
    assert old.ended(DEADLINE_SECONDS)
    told(host, "programs_found", program.pid)
    eventually(lambda: len(children(host.pid)) == 2, "a worker and the program are there")
    host.signal(signal.SIGHUP)
    host.wait_for("generation_ready", generation=2)
    told(host, "programs_found", program.pid)  # once, and not again after the reload
    assert host.stop() == 0


IMPORT_FORK = """
if os.getpid() != {pid}:
    with open({path!r}, "a") as file:
        print(forked(lambda: None), file=file)
"""


def test_many_are_handled_a_few_in_each_turn(
    start: Start, tmp_path: Path, watch: Callable[[int], Watch]
) -> None:
    host = start(plugin=LEAVING, workers=1)
    with connect(host.address) as client:
        watches = [watch(start_in_worker(client, "fork")) for _ in range(120)]
        client.sendall(b"exit\n")
        client.close()
    assert all(each.ended(DEADLINE_SECONDS) for each in watches)
    first, *_ = host.events("forks_ended")
    assert first["processes"].endswith(", 30 more")
    eventually(lambda: len(children(host.pid)) == 1, "no zombie is there")
    assert host.stop() == 0
