"""A running host is asked and told things, over its real admin socket."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from host.control.commands import COMMANDS
from host.testing.machine import Stopwatch, patience
from support.address import connect
from support.asking import PREFIX, Asker, RefusedError, fresh_name, query
from support.hosting import Host, Load, Start, eventually, freeze, thaw
from support.session import ask

pytestmark = [pytest.mark.process, pytest.mark.warm]

SOON_SECONDS = 1.0
"""Within which a host answers, whatever else goes on."""


@pytest.fixture
def named(start: Start) -> Callable[..., tuple[Host, str]]:
    """Start a host with a name of its own; return both."""

    def begin(*flags: str, **others: Any) -> tuple[Host, str]:
        name = fresh_name()
        return start("--name", name, *flags, **others), name

    return begin


def worker(name: str, slot: int) -> dict[str, Any]:
    """Return what `status` says of the only worker of a slot."""
    (found,) = [each for each in query(name, "status")["workers"] if each["slot"] == slot]
    return dict(found)


def slots_of_new(host: Host, count: int) -> set[int]:
    """Return the slots that serve so many new connections, which are open at the same time."""
    with ExitStack() as closing:
        return {ask(closing.enter_context(connect(host.address)))[0] for _ in range(count)}


def test_each_result_has_the_fields_that_the_table_names(
    named: Callable[..., tuple[Host, str]],
) -> None:
    host, name = named()
    with connect(host.address) as session:
        ask(session)
        (opened,) = query(name, "connections")["connections"]
        args: dict[str, dict[str, Any]] = {
            "status": {},
            "applied": {},
            "certificates": {},
            "generations": {},
            "connections": {},
            "recent": {"slot": 0},
            "why": {"id": opened["id"]},
            "close": {"id": opened["id"]},
            "hold": {"slot": 0},
            "resume": {"slot": 0},
            "scheduler": {"name": "least_connections"},
            "scale": {"workers": 3},
            "drain": {"slot": 1},
            "reload": {},
            "stop": {"quick": False},
        }
        assert set(args) == set(COMMANDS)
        for command, given in args.items():
            if command == "stop":
                host.wait_for("generation_ready", generation=1)
            assert set(query(name, command, **given)) == set(COMMANDS[command].result), command
    assert host.wait() == 0


def test_status_tells_how_everything_is(
    named: Callable[..., tuple[Host, str]], load: Load, tmp_path: Path
) -> None:
    host, name = named()
    before = query(name, "status")
    assert before["name"] == name
    assert (before["pid"], before["generation"], before["workers_wanted"]) == (host.pid, 0, 2)
    assert (before["state"], before["ready"]) == ("serving", True)
    assert (before["schedulers"], before["plugins"], before["hangs"]) == (["round_robin"], [], [])
    assert (before["last_reload"], before["restarts"]) == (None, 0)
    assert {each["slot"]: each["pid"] for each in before["workers"]} == host.workers
    assert load.burst(host.address, 30)["failures"] == {}
    load.close(count=10)
    eventually(lambda: sum(host.board.active) == 20, "ten have left")
    status = query(name, "status")
    (listener,) = status["listeners"]
    assert (listener["address"], listener["plugin"]) == (host.address, "whoami")
    assert (listener["accepted"], listener["waiting"], listener["refused"]) == (30, 0, 0)
    assert listener["sent"] == 30 + listener["spurious"]
    assert [each["accepted"] for each in status["workers"]] == [15, 15]
    assert sum(each["active"] for each in status["workers"]) == 20
    for each in status["workers"]:
        assert each["state"] == "serving"
        assert 10 * 2**20 < each["memory_bytes"] < 200 * 2**20
        assert 0 <= each["turn_seconds"] < 5
        assert 0 < each["age_seconds"] <= status["uptime_seconds"]
    assert status["uptime_seconds"] > before["uptime_seconds"]
    assert list(tmp_path.iterdir()) == [], "something was written"


def test_status_counts_those_who_wait_and_those_who_died(
    named: Callable[..., tuple[Host, str]], load: Load
) -> None:
    host, name = named()
    pids = host.workers
    for pid in pids.values():
        freeze(pid)
    load.open(host.address, 7)
    eventually(lambda: query(name, "status")["listeners"][0]["waiting"] == 7, "seven wait")
    for pid in pids.values():
        thaw(pid)
    assert load.exchange()["failures"] == {}
    mark = host.mark()
    os.kill(pids[1], signal.SIGKILL)
    host.wait_for("worker_ready", slot=1, since=mark)
    assert slots_of_new(host, 4) == {0, 1}
    status = query(name, "status")
    assert status["restarts"] == 1
    assert (status["listeners"][0]["accepted"], status["listeners"][0]["waiting"]) == (11, 0)
    # A worker's own count begins with the worker.
    assert worker(name, 1)["accepted"] == 2
    assert worker(name, 1)["pid"] != pids[1]


def test_generations_are_told_apart_during_a_reload(
    named: Callable[..., tuple[Host, str]],
) -> None:
    host, name = named(settings={"lifecycle.drain_timeout_seconds": 20})
    (only,) = query(name, "generations")["generations"]
    assert (only["generation"], only["state"], only["workers"], only["ready"]) == (
        *(0, "serving"),
        *(2, 2),
    )
    with connect(host.address) as session:
        ask(session)
        assert query(name, "reload") == {"generation": 1, "certificates": []}
        host.wait_for("generation_ready")
        host.wait_for("worker_exited")
        old, new = query(name, "generations")["generations"]
        assert (old["generation"], old["state"], old["workers"]) == (0, "draining", 1)
        assert (old["active"], old["ready"]) == (1, 0)
        assert 15 < old["seconds_left"] <= 20.0
        assert (new["generation"], new["state"], new["workers"]) == (1, "serving", 2)
        status = query(name, "status")
        assert status["generation"] == 1
        assert status["last_reload"]["outcome"] == "ready"
        ask(session)
    host.wait_for("worker_exited", count=2)
    eventually(lambda: len(query(name, "generations")["generations"]) == 1, "the old one is gone")


def test_connections_are_listed_with_what_went_over_them(
    named: Callable[..., tuple[Host, str]],
) -> None:
    host, name = named(plugin="echo", listen=("tcp4", "unix"))
    tcp, unix = host.addresses
    with connect(tcp) as one, connect(unix) as other:
        for sock, size in ((one, 1), (one, 70_000), (other, 10)):
            sock.sendall(bytes(size))
            left = size
            while left:
                left -= len(sock.recv(left))
        eventually(lambda: counted(name) == [(10, 10), (70_001, 70_001)], "it is all counted")
        answer = query(name, "connections")
        assert (answer["unanswered"], answer["truncated"]) == ([], False)
        found = {each["listener"]: each for each in answer["connections"]}
        assert found.keys() == {tcp, unix}
        assert found[tcp]["peer"] == f"127.0.0.1:{one.getsockname()[1]}"
        for each in found.values():
            assert 0 <= each["idle_seconds"] <= each["age_seconds"] < 10
            assert int(each["id"].partition("-")[0]) in host.workers.values()
        assert query(name, "connections", limit=1)["truncated"]

        def sizes(**which: Any) -> list[int]:
            listed = query(name, "connections", **which)["connections"]
            return [each["bytes_in"] for each in listed]

        assert sizes(sort="in") == [70_001, 10]
        assert sizes(sort="in", limit=1) == [70_001]
        assert sizes(sort="in", reverse=True, limit=1) == [10]
        assert sizes(sort="peer") == [70_001, 10]
        assert sizes(listener=unix) == sizes(listener="unix:") == sizes(peer="unix") == [10]
        assert sizes(peer="127.0.0.0/8") == sizes(peer="127.0.0.1") == [70_001]
        assert sorted(sizes(worker=0) + sizes(worker=1)) == [10, 70_001]
    eventually(lambda: query(name, "connections")["connections"] == [], "both have left")


def test_bytes_are_summed_for_each_listener_while_connections_are_open_and_after_them(
    named: Callable[..., tuple[Host, str]],
) -> None:
    host, name = named("--set", "log.access=true", plugin="echo", listen=("tcp4", "unix"))

    def sums() -> list[tuple[int, int]]:
        return [
            (each["bytes_in"], each["bytes_out"]) for each in query(name, "status")["listeners"]
        ]

    with connect(host.addresses[0]) as tcp, connect(host.addresses[1]) as unix:
        for sock, size in ((tcp, 70_001), (unix, 10)):
            sock.sendall(bytes(size))
            left = size
            while left:
                left -= len(sock.recv(left))
        eventually(lambda: sums() == [(70_001, 70_001), (10, 10)], "open ones are counted")
        tcp.sendall(b"x")
        assert tcp.recv(1) == b"x"
    eventually(lambda: sums() == [(70_002, 70_002), (10, 10)], "they are counted to the end")
    host.wait_for("connection_closed", count=2)
    lines = {
        each["listener"]: (each["bytes_in"], each["bytes_out"])
        for each in host.events("connection_closed")
    }
    assert [lines[address] for address in host.addresses] == sums()


def counted(name: str) -> list[Any]:
    listed = query(name, "connections")["connections"]
    return sorted((each["bytes_in"], each["bytes_out"]) for each in listed)


def test_a_connection_is_closed_by_hand(named: Callable[..., tuple[Host, str]]) -> None:
    host, name = named("--set", "log.access=true")
    with connect(host.address) as session, connect(host.address) as other:
        ask(session)
        ask(other)
        peer = f"127.0.0.1:{session.getsockname()[1]}"
        (found,) = [
            each for each in query(name, "connections")["connections"] if each["peer"] == peer
        ]
        assert query(name, "close", id=found["id"]) == {"id": found["id"]}
        assert session.recv(1) == b""
        closed = host.wait_for("connection_closed")
        assert (closed["connection"], closed["peer"]) == (found["id"], peer)
        with pytest.raises(RefusedError, match=r"no connection .* is open"):
            query(name, "close", id=found["id"])
        with pytest.raises(RefusedError, match="no worker here has that process id"):
            query(name, "close", id="1-1")
        ask(other)
    told = host.wait_for("admin_command", command="close")
    assert (told["uid"], told["peer_pid"]) == (os.getuid(), os.getpid())


def test_why_tells_who_chose_among_whom_and_schedulers_are_swapped_under_load(
    named: Callable[..., tuple[Host, str]], load: Load
) -> None:
    host, name = named(workers=3)

    def why() -> dict[str, Any]:
        with connect(host.address) as session:
            slot, pid, _ = ask(session)
            peer = f"127.0.0.1:{session.getsockname()[1]}"
            listed = query(name, "connections")["connections"]
            (found,) = [each["id"] for each in listed if each["peer"] == peer]
            told = query(name, "why", id=found)
        assert (told["slot"], told["pid"], told["listener"]) == (slot, pid, host.address)
        assert [each["slot"] for each in told["candidates"]] == [0, 1, 2]
        assert told["omitted"] == 0
        return dict(told)

    assert why()["scheduler"] == "round_robin"
    load.begin("churn", address=host.address, clients=4, patience=5.0, announce=100)
    assert load.answer() == {"under_way": True}
    for scheduler in ("least_connections", "round_robin") * 5 + ("least_connections",):
        assert query(name, "scheduler", name=scheduler)["scheduler"] == scheduler
        assert slots_of_new(host, 3)
    for wrong in ("nobody", "echo"):
        with pytest.raises(RefusedError, match=wrong):
            query(name, "scheduler", name=wrong)
    assert query(name, "status")["schedulers"][0] == "least_connections"
    assert why()["scheduler"] == "least_connections"
    host.signal(signal.SIGTERM)
    assert host.wait() == 0
    assert load.answer()["failures"] == {}


def test_a_suspended_worker_gets_nothing_new_until_it_is_resumed(
    named: Callable[..., tuple[Host, str]],
) -> None:
    host, name = named()
    with connect(host.address) as one, connect(host.address) as two:
        (kept,) = (sock for sock in (one, two) if ask(sock)[0] == 1)
        assert query(name, "hold", slot=1) == {"slot": 1, "pid": host.workers[1]}
        assert host.wait_for("worker_held")["slot"] == 1
        assert worker(name, 1)["held"]
        assert slots_of_new(host, 8) == {0}
        assert ask(kept)[0] == 1
        query(name, "resume", slot=1)
        assert host.wait_for("worker_resumed")["slot"] == 1
        assert slots_of_new(host, 8) == {0, 1}
        # With all of them suspended newcomers wait, and are not lost.
        for slot in (0, 1):
            query(name, "hold", slot=slot)
        with connect(host.address) as waiting:
            eventually(lambda: query(name, "status")["listeners"][0]["waiting"] == 1, "one waits")
            query(name, "resume", slot=0)
            assert ask(waiting)[0] == 0


def test_a_reload_is_refused_with_the_reason_or_done(start: Start, tmp_path: Path) -> None:
    name, file = fresh_name(), tmp_path / "host.toml"
    good = f'name = "{name}"\nplugins = ["echo"]\nworkers = 1\nlisten = ["tcp://127.0.0.1:0"]\n'
    file.write_text(good)
    host = start("--config", "host.toml", plugin=None, listen=(), workers=None)
    before = query(name, "status")
    file.write_text(good + "wrokers = 2\n")
    with pytest.raises(RefusedError, match="wrokers"):
        query(name, "reload")
    after = query(name, "status")
    assert after["workers"][0]["pid"] == before["workers"][0]["pid"]
    assert (after["generation"], after["pid"]) == (0, host.pid)
    file.write_text(good)
    lost = 0
    for generation in (1, 2):
        assert query(name, "reload") == {"generation": generation, "certificates": []}
        while not host.events("generation_ready", generation=generation):
            try:
                query(name, "status")
            except (ConnectionResetError, EOFError):
                lost += 1  # it was connected when one program followed the other
        assert query(name, "status")["generation"] == generation
    assert lost <= 2
    assert query(name, "status")["pid"] == host.pid


@pytest.mark.timing
def test_a_worker_that_does_not_answer_is_named(named: Callable[..., tuple[Host, str]]) -> None:
    host, name = named(workers=3)
    with ExitStack() as closing:
        for _ in range(3):
            ask(closing.enter_context(connect(host.address)))
        freeze(host.workers[1])
        watch = Stopwatch()
        answer = query(name, "connections")
        assert 0.9 <= watch.seconds <= 1.0 + watch.scaled(0.5)
        assert answer["unanswered"] == [1]
        assert {each["slot"] for each in answer["connections"]} == {0, 2}
        watch = Stopwatch()
        assert query(name, "status")["workers_wanted"] == 3
        assert watch.seconds <= watch.scaled(SOON_SECONDS)
        thaw(host.workers[1])
        assert query(name, "connections")["unanswered"] == []


JUNK = (b"junk\n" * 1000, b"x" * 65_536, b'{"v": 1}\n' * 1000, b"[" * 60_000 + b"\n", bytes(4096))


def flood(name: str, junk: bytes, over: Event) -> None:
    """Send junk and read nothing, again and again."""
    while not over.is_set():
        with suppress(OSError), Asker(name, 0.2) as asker:
            while not over.is_set():
                asker.sock.sendall(junk)


@pytest.mark.timing
def test_clients_that_are_silent_or_talk_nonsense_disturb_nobody(
    named: Callable[..., tuple[Host, str]], load: Load
) -> None:
    host, name = named()
    over = Event()
    floods = [Thread(target=flood, args=(name, junk, over)) for junk in JUNK]
    with Asker(name) as silent:
        for each in floods:
            each.start()
        try:
            for _ in range(20):
                watch = Stopwatch()
                assert query(name, "status")["state"] == "serving"
                assert watch.seconds <= watch.scaled(SOON_SECONDS)
                result = load.burst(host.address, 20)
                assert result["failures"] == {}
                assert max(result["waits"]) <= watch.scaled(SOON_SECONDS)
                load.close()
        finally:
            over.set()
            for each in floods:
                each.join()
        assert silent.ask("status")["pid"] == host.pid


@pytest.mark.timing
def test_a_hundred_clients_at_once_have_all_an_answer(
    named: Callable[..., tuple[Host, str]],
) -> None:
    host, name = named()

    def one(_: int) -> tuple[str, float]:
        began = time.monotonic()
        try:
            answer = str(query(name, "status")["state"])
        except RefusedError as error:
            answer = str(error).rpartition(": ")[2]
        except (EOFError, ConnectionResetError):
            answer = "gave way"  # it was idle for a moment, and others came
        return answer, time.monotonic() - began

    watch = Stopwatch()
    with ThreadPoolExecutor(100) as threads:
        found = list(threads.map(one, range(100)))
    assert {answer for answer, _ in found} <= {"serving", "try again", "gave way"}
    assert sum(answer == "serving" for answer, _ in found) >= 16
    assert max(seconds for _, seconds in found) <= watch.scaled(SOON_SECONDS)
    assert slots_of_new(host, 4) == {0, 1}
    assert query(name, "status")["pid"] == host.pid


def test_idle_clients_do_not_keep_others_out(named: Callable[..., tuple[Host, str]]) -> None:
    host, name = named()
    with ExitStack() as closing:
        for _ in range(100):
            closing.enter_context(Asker(name))
        assert slots_of_new(host, 4) == {0, 1}
        assert query(name, "status")["pid"] == host.pid


def test_the_first_host_of_a_name_is_the_one_that_is_asked(start: Start) -> None:
    name = fresh_name()
    first, second = start("--name", name), start("--name", name)
    assert name in second.wait_for("admin_unavailable")["address"]
    assert slots_of_new(second, 4) == {0, 1}
    assert query(name, "status")["pid"] == first.pid
    assert not first.events("admin_unavailable")


def test_a_host_can_be_one_that_takes_no_commands(named: Callable[..., tuple[Host, str]]) -> None:
    host, name = named(settings={"admin.enabled": "false"})
    with pytest.raises(ConnectionRefusedError):
        query(name, "status")
    assert PREFIX[1:] + name not in Path("/proc/net/unix").read_text()
    assert slots_of_new(host, 4) == {0, 1}


STRANGER = """
import os, socket, sys
os.setuid(65534)
sock = socket.socket(socket.AF_UNIX)
sock.connect("\\0" + sys.argv[1])
try:
    sock.sendall(b'{"v": 1, "command": "stop", "args": {"quick": true}}\\n')
except BrokenPipeError:
    pass
print(sock.recv(4096).decode(), end="")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_another_user_is_turned_away(named: Callable[..., tuple[Host, str]]) -> None:
    host, name = named()
    arguments = [sys.executable, "-I", "-S", "-c", STRANGER, PREFIX[1:] + name]
    said = subprocess.run(
        arguments, capture_output=True, text=True, timeout=patience(10), check=True
    ).stdout
    assert '"ok":false' in said.replace(" ", "")
    assert "not permitted" in said
    assert query(name, "status")["state"] == "serving"
    assert not host.events("admin_command")


SQUATTER = """
import os, socket, sys
os.setuid(65534)
sock = socket.socket(socket.AF_UNIX)
sock.bind("\\0" + sys.argv[1])
sock.listen(8)
print("ready", flush=True)
while True:
    client, _ = sock.accept()
    try:
        while True:
            client.sendall(b"A" * 65536)
    except OSError:
        pass
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_stranger_that_has_the_name_is_named_and_not_believed(start: Start) -> None:
    name = fresh_name()
    arguments = [sys.executable, "-I", "-S", "-c", SQUATTER, PREFIX[1:] + name]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as stranger:
        try:
            assert stranger.stdout is not None
            assert stranger.stdout.readline() == b"ready\n"
            host = start("--name", name)
            cause = host.wait_for("admin_unavailable")["cause"]
            assert cause == f"process {stranger.pid} of uid 65534 has it"
            for asked in ("status", "stop", "reload"):
                found = subprocess.run(
                    [sys.executable, "-m", "host", asked, "--name", name],
                    capture_output=True,
                    text=True,
                    timeout=patience(10),
                    check=False,
                )
                assert found.returncode == 10
                assert f"is process {stranger.pid} of uid 65534; only hosts of" in found.stderr
            assert slots_of_new(host, 4) == {0, 1}
        finally:
            stranger.kill()


def test_a_scheduler_is_swapped_beside_plugins_that_have_options(
    named: Callable[..., tuple[Host, str]],
) -> None:
    _, name = named("--set", "options.line.arrays=true", plugin="line", workers=1)
    assert query(name, "scheduler", name="least_connections")["scheduler"] == "least_connections"
