"""What a host shows of itself over HTTP is right, whatever happens to its processes."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from host.runtime.scheduling import groups_by_session
from host.testing.machine import patience
from support.address import connect
from support.asking import fresh_name, query
from support.hosting import Host, Start, eventually, freeze, helper_of, reload, thaw
from support.processes import children, descriptors, status
from support.scraping import get, scrape, total
from support.session import ask
from support.sessions import niceness_of_session

pytestmark = [pytest.mark.process, pytest.mark.warm]


Show = Callable[..., tuple[Host, str]]


@pytest.fixture
def show(start: Start) -> Show:
    """Start a host that shows how it is; return it with the address."""

    def begin(*flags: str, **others: Any) -> tuple[Host, str]:
        host = start("--ops", "tcp://127.0.0.1:0", "--name", fresh_name(), *flags, **others)
        (listening,) = host.events("ops_listening")
        return host, listening["address"]

    return begin


def test_probes_metrics_and_state_are_served(show: Show) -> None:
    host, address = show()
    assert get(address, "/healthz")[:2] == (200, "ok\n")
    assert get(address, "/readyz")[:2] == (200, "ready\n")
    answer = get(address, "/status.json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    state = json.loads(answer.text)
    assert (state["pid"], state["ready"]) == (host.pid, True)
    assert (
        json.loads(get(address, "/generations.json").text)["generations"][0]["state"] == "serving"
    )
    with connect(host.address) as session:
        ask(session)
        (listed,) = json.loads(get(address, "/connections.json").text)["connections"]
        assert listed["peer"] == "{}:{}".format(*session.getsockname())
        why = json.loads(get(address, f"/why.json?id={listed['id']}").text)
        assert (why["id"], why["scheduler"]) == (listed["id"], "round_robin")
        assert get(address, "/why.json?id=7").status == 404
    found = scrape(address)
    assert total(found, "prefork_connections_accepted_total") == 1
    assert total(found, "prefork_info", version=state["version"]) == 1
    assert get(address, "/nothing").status == 404


def test_each_address_that_is_given_is_served(start: Start) -> None:
    flags = ("--ops", "tcp://127.0.0.1:0", "--ops", "tcp://127.0.0.2:0")
    host = start(*flags, "--name", fresh_name())
    addresses = [each["address"] for each in host.events("ops_listening")]
    assert len(addresses) == 2
    assert {get(each, "/healthz").status for each in addresses} == {200}


def test_a_head_has_what_a_get_has_without_the_body(show: Show) -> None:
    _, address = show()
    whole, head = get(address, "/generations.json"), get(address, "/generations.json", "HEAD")
    assert (head.status, head.text) == (200, "")
    assert head.headers["content-length"] == whole.headers["content-length"]
    assert get(address, "/metrics", "POST").status == 405


def test_openmetrics_for_who_asks_for_it(show: Show) -> None:
    from prometheus_client.openmetrics.parser import (  # noqa: PLC0415
        text_string_to_metric_families,
    )

    _, address = show()
    answer = get(address, "/metrics", Accept="application/openmetrics-text;version=1.0.0")
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    names = {family.name for family in text_string_to_metric_families(answer.text)}
    assert {"prefork_connections_accepted", "prefork_worker_connections"} <= names


def test_a_stop_is_told_before_anybody_is_refused(show: Show) -> None:
    host, address = show("--set", "lifecycle.shutdown_delay_seconds=20")
    host.signal(signal.SIGTERM)
    host.wait_for("host_stopping")
    assert get(address, "/readyz")[:2] == (503, "the host is stopping\n")
    assert get(address, "/healthz").status == 200
    with connect(host.address) as session:
        assert ask(session)
    host.signal(signal.SIGQUIT)
    assert host.wait() == 0


@pytest.mark.parametrize("path", ["/readyz", "/status.json"])
def test_who_asks_as_the_host_ends_is_answered(show: Show, path: str) -> None:
    host, address = show()
    helper = helper_of(host)
    freeze(helper)
    place, _, port = address.removeprefix("tcp://").rpartition(":")
    with socket.create_connection((place, int(port)), patience(10)) as probe:
        probe.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        host.signal(signal.SIGTERM)
        host.wait_for("worker_exited", count=len(host.events("worker_ready")))
        thaw(helper)
        with probe.makefile("rb") as answer:
            assert answer.read().endswith(b"\r\n\r\nthe host is stopping\n")
    assert host.wait() == 0


def test_it_is_there_while_all_workers_are_stopped(show: Show) -> None:
    host, address = show("--set", "lifecycle.hang_seconds=60")
    pids = [each["pid"] for each in host.events("worker_ready")]
    for pid in pids:
        freeze(pid)
    try:
        assert get(address, "/healthz").status == 200
        assert total(scrape(address), "prefork_worker_connections") == 0
    finally:
        for pid in pids:
            thaw(pid)


def test_a_supervisor_that_hangs_is_not_healthy(show: Show) -> None:
    host, address = show()
    freeze(host.pid)
    try:
        answer = get(address, "/healthz")
        assert answer.status == 503
        assert "has not answered within 1 s" in answer.text
        assert get(address, "/metrics").status == 200
    finally:
        thaw(host.pid)
    eventually(lambda: get(address, "/healthz").status == 200, "it is healthy again")


def test_probes_do_not_wait_behind_lists_that_a_hung_supervisor_owes(show: Show) -> None:
    host, address = show()
    place, _, port = address.removeprefix("tcp://").rpartition(":")
    freeze(host.pid)
    lists = []
    try:
        for id in range(8):
            lists.append(socket.create_connection((place, int(port)), timeout=patience(10)))
            lists[-1].sendall(b"GET /why.json?id=%d HTTP/1.1\r\nHost: localhost\r\n\r\n" % id)
        assert get(address, "/healthz").status == 503
        assert select.select(lists, [], [], 0)[0] == []  # which have more time
    finally:
        thaw(host.pid)
        for each in lists:
            each.close()


def test_its_death_costs_a_restart_and_nothing_else(show: Show) -> None:
    host, address = show()
    with connect(host.address) as session:
        before = ask(session)
        for _ in range(3):
            os.kill(helper_of(host), signal.SIGKILL)
            assert get(address, "/readyz").status == 200
            assert ask(session)[0] == before[0]
    host.wait_for("helper_ended", count=3)
    ended = host.events("helper_ended")
    assert {each["cause"] for each in ended} == {"killed by SIGKILL"}
    assert total(scrape(address), "prefork_events_total", event="helper_ended") == len(ended)
    assert not host.events("unknown_child")


def test_one_that_hangs_is_replaced(show: Show) -> None:
    host, address = show("--set", "lifecycle.hang_seconds=1")
    freeze(helper_of(host))
    host.wait_for("helper_ended")
    assert get(address, "/readyz").status == 200


def test_nothing_is_left_of_it_when_the_supervisor_is_killed(show: Show) -> None:
    host, _ = show()
    pid = helper_of(host)
    os.kill(host.pid, signal.SIGKILL)
    eventually(lambda: (left := status(pid)) is None or left.state == "Z", "it has ended")


def test_counters_are_exact_over_deaths_and_reloads(show: Show) -> None:
    host, address = show(plugin="echo")
    opened = 0
    before: dict[Any, float] = {}

    def look() -> dict[Any, float]:
        found = scrape(address)
        fallen = {
            each: (value, found.get(each))
            for each, value in before.items()
            if each[0].endswith("_total") and dict(each[1]).get("pid") is None
            if found.get(each, 0.0) < value
        }
        assert not fallen
        before.update(found)
        return found

    for turn in range(8):
        for _ in range(20):
            with connect(host.address) as session:
                session.sendall(b"x" * 1000)
                opened += 1
                left = 1000
                while left:
                    left -= len(session.recv(left))
        look()
        if turn % 3 == 2:
            reload(host)
        elif turn % 3 == 1:
            pid = query_workers(host)[0]
            os.kill(pid, signal.SIGKILL)
            host.wait_for("worker_died", pid=pid)

    def settled() -> bool:
        found = look()
        name = "prefork_connections_{}_total".format
        accepted = total(found, name("accepted"))
        outcomes = accepted + total(found, name("refused")) + total(found, name("spurious"))
        closed = total(found, name("closed"))
        return accepted == closed == opened and outcomes == total(found, name("claimed"))

    eventually(settled, "each connection is counted once")
    assert total(before, "prefork_connections_closed_total") == opened
    assert total(before, "prefork_worker_turn_seconds_count") > opened
    assert total(before, "prefork_worker_restarts_total", cause="died") == 3
    assert total(before, "prefork_events_total", event="host_reloading") == 2


def query_workers(host: Host) -> list[int]:
    """Return the pids of the workers."""
    name = host.events("host_starting")[0]["name"]
    return [each["pid"] for each in query(name, "status")["workers"]]


def test_other_machines_are_asked_for_a_token(refuse: Any, start: Start, tmp_path: Path) -> None:
    refusal = refuse("--ops", "tcp://0.0.0.0:0")
    assert "so it needs a token: set ops.token_file" in refusal.message
    file = tmp_path / "token"
    file.write_text("0123456789abcdef0123456789abcdef\n")
    host = start("--ops", "tcp://0.0.0.0:0", "--set", f"ops.token_file={file}")
    address = host.events("ops_listening")[0]["address"].replace("0.0.0.0", "127.0.0.1")
    assert get(address, "/metrics").status == 401
    assert get(address, "/metrics", Authorization="Bearer wrong").status == 401
    right = {"Authorization": "Bearer 0123456789abcdef0123456789abcdef"}
    assert get(address, "/metrics", **right).status == 200
    assert get(address, "/healthz").status == get(address, "/").status == 200
    assert "0123456789abcdef" not in host.said()


@pytest.mark.parametrize("command", ["run", "check"])
@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("missing", "No such file or directory"),
        ("folder", "Is a directory"),
        ("fifo", "it is no regular file"),
        ("binary", "it is no text"),
        ("empty", "expected at least 16"),
    ],
)
def test_a_file_without_a_token_is_refused_at_once(
    refuse: Any, tmp_path: Path, command: str, name: str, cause: str
) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "binary").write_bytes(b"\xff" * 40)
    (tmp_path / "empty").write_bytes(b"")
    flags = ("--ops", "tcp://127.0.0.1:0", "--set", f"ops.token_file={tmp_path / name}")
    refusal = refuse(command, "--plugin", "echo", *flags)
    assert (refusal.code, cause in refusal.message) == (3, True), refusal.message
    assert "ops.token_file" in refusal.message


def test_a_page_of_elsewhere_cannot_read_it_by_a_name_of_its_own(show: Show) -> None:
    _, address = show("--set", "ops.hosts=metrics.example")
    assert get(address, "/metrics", Host="evil.example").status == 421
    assert get(address, "/metrics", Host="metrics.example:9180").status == 200
    assert get(address, "/metrics", Host="localhost").status == 200
    answer = get(address, "/", Origin="https://evil.example")
    assert "access-control-allow-origin" not in answer.headers
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_slow_and_hostile_clients_hurt_nobody(show: Show) -> None:
    _, address = show()
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    idle = [socket.create_connection((host, int(port)), timeout=patience(10)) for _ in range(80)]
    try:
        idle[0].sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: ")
        assert get(address, "/readyz").status == 200
        for junk in (
            b"\x16\x03\x01\x02\x00",
            b"GET / HTTP/9.9\r\n\r\n",
            b"A" * 20_000,
            b"\r\n" * 9,
        ):
            with socket.create_connection((host, int(port)), timeout=patience(10)) as client:
                client.sendall(junk)
                client.shutdown(socket.SHUT_WR)
                while client.recv(4096):
                    pass
        assert get(address, "/readyz").status == 200
    finally:
        for each in idle:
            each.close()


def test_the_state_comes_as_events(show: Show) -> None:
    host, address = show()
    where, _, port = address.removeprefix("tcp://").rpartition(":")
    with socket.create_connection((where, int(port)), timeout=patience(10)) as client:
        client.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        data = b""
        while data.count(b"event: status\n") < 2:
            data += client.recv(65_536)
    assert f'"pid": {host.pid}'.encode() in data
    assert b"text/event-stream" in data


LATE = """
import os, pathlib, time
from host import hookimpl

here = pathlib.Path(__file__).parent
known = here / f"{os.getpid()}.loaded"
if known.exists():  # by the supervisor, which has executed itself
    (here / "waits").touch()
    while not (here / "go").exists():
        time.sleep(0.01)
known.touch()


class Late:
    @hookimpl
    def on_accept(self, connection):
        connection.write(b"welcome\\n")

    @hookimpl
    def on_readable(self, connection):
        connection.read()
"""


def test_probes_do_not_fail_while_the_supervisor_executes_itself(
    show: Show, tmp_path: Path
) -> None:
    plugin = tmp_path / "late.py"
    plugin.write_text(LATE)
    host, address = show(plugin=f"{plugin}:Late")
    started = total(scrape(address), "prefork_start_time_seconds")
    mark = host.mark()
    host.signal(signal.SIGHUP)
    try:
        eventually((tmp_path / "waits").exists, "it loads the plugin again")
        for _ in range(20):
            assert get(address, "/readyz")[:2] == (200, "ready\n")
            assert get(address, "/healthz")[:2] == (200, "ok\n")
        with connect(host.address) as session:
            assert session.recv(100) == b"welcome\n"
        assert total(scrape(address), "prefork_connections_accepted_total") == 1
    finally:
        (tmp_path / "go").touch()
    host.wait_for("generation_ready", since=mark)
    assert get(address, "/readyz").status == 200
    assert total(scrape(address), "prefork_start_time_seconds") == started


def test_what_is_told_while_the_supervisor_executes_itself_is_counted_on(
    show: Show, tmp_path: Path
) -> None:
    plugin = tmp_path / "late.py"
    plugin.write_text(LATE)
    flags = ("--set", "lifecycle.hang_seconds=60")
    host, address = show(*flags, plugin=f"{plugin}:Late", patient=False)
    workers = [each["pid"] for each in host.events("worker_ready")]

    def counted(event: str) -> float:
        return total(scrape(address), "prefork_events_total", event=event)

    host.signal(signal.SIGHUP)
    try:
        eventually((tmp_path / "waits").exists, "it loads the plugin again")
        for pid in workers:
            freeze(pid)
        with connect(host.address):
            eventually(lambda: counted("worker_suspended") > 0, "nobody takes the connection")
    finally:
        for pid in workers:
            thaw(pid)
        (tmp_path / "go").touch()
    eventually(lambda: counted("generation_ready") == 1, "the next process shows the host")

    def counted_as_told() -> bool:
        return counted("worker_suspended") == len(host.events("worker_suspended"))

    eventually(counted_as_told, "what was told is counted")


def test_probes_are_answered_beside_many_who_ask_much_and_take_nothing(show: Show) -> None:
    _, address = show()
    where, _, port = address.removeprefix("tcp://").rpartition(":")
    request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with ExitStack() as crowd:
        for number in range(192):
            client = crowd.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(patience(10))
            client.connect((where, int(port)))
            client.sendall(200 * request)
            if number >= 128:
                assert get(address, "/readyz").status == 200, number


def test_a_reload_takes_new_settings_and_keeps_the_address(show: Show, tmp_path: Path) -> None:
    path = tmp_path / "host.toml"
    path.write_text("")
    host, address = show("--config", str(path))
    path.write_text('[ops]\nhosts = ["other.example"]\n')
    assert get(address, "/metrics", Host="other.example").status == 421
    reload(host)

    def taken() -> bool:
        return get(address, "/metrics", Host="other.example").status == 200

    eventually(taken, "the new settings hold")
    assert len(host.events("ops_listening")) == 1


def test_an_address_that_a_reload_adds_is_told_once(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "host.toml"
    path.write_text("")
    host = start("--config", str(path), "--name", fresh_name())
    for listen in (["tcp://127.0.0.1:0"], ["tcp://127.0.0.1:0", "tcp://127.0.0.2:0"]):
        path.write_text(f"[ops]\nlisten = {json.dumps(listen)}\n")
        reload(host)
        told = [each["address"] for each in host.events("ops_listening")]
        assert len(told) == len(listen)
        assert get(told[-1], "/readyz").status == 200


def test_after_a_rotation_it_has_the_old_log_file_no_more(start: Start, tmp_path: Path) -> None:
    path, old = tmp_path / "host.log", tmp_path / "host.log.1"
    host = start("--ops", "tcp://127.0.0.1:0", ready=False, settings={"log.file": str(path)})

    def told(name: str) -> list[dict[str, Any]]:
        lines = path.read_text().splitlines() if path.exists() else []
        return [each for each in map(json.loads, lines) if each["event"] == name]

    eventually(lambda: bool(told("host_ready")), "the host is ready")
    workers = {each["pid"] for each in told("worker_ready")}
    (pid,) = {one.pid for one in children(host.pid)} - workers
    assert get(told("ops_listening")[0]["address"], "/healthz").status == 200
    path.rename(old)
    host.signal(signal.SIGUSR1)

    def has_the_new_one() -> bool:
        files = descriptors(pid)
        return str(path) in files and str(old) not in files

    eventually(has_the_new_one, "it has the new one")


def test_it_gives_way_to_workers_also_after_a_reload(show: Show) -> None:
    host, _ = show()
    nice = min(os.getpriority(os.PRIO_PROCESS, host.pid) + 5, 19)  # which is the most (nice(2))

    def found() -> tuple[int, int]:
        pid = helper_of(host)
        return os.sched_getscheduler(pid), os.getpriority(os.PRIO_PROCESS, pid)

    for _ in range(2):
        eventually(lambda: found() == (os.SCHED_BATCH, nice), "it gives way")
        if groups_by_session():
            eventually(lambda: niceness_of_session(helper_of(host)) >= 5, "its session, too")
        reload(host)
