"""The admin socket: real abstract sockets, and a loop that is run by hand."""

import errno
import json
import os
import re
import resource
import select
import socket
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.control.commands import CommandError
from host.control.connection import IDLE_SECONDS, TAKE_SECONDS
from host.control.server import MAX_CLIENTS, STEPS_SECONDS, ControlServer
from host.control.wire import MAX_REQUEST_BYTES, address
from host.telemetry.events import ADMIN_COMMAND, HOST_BUG
from support.admin_scene import fresh_name, request, running

NOBODY = 65534

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def test_a_command_is_checked_and_handed_on_and_its_result_comes_back(scene):
    scene.answers["scale"] = {"workers": 4, "before": 2}
    client = scene.client()
    response = client.ask("scale", args={"workers": 4})
    assert response == {"v": 1, "ok": True, "result": {"workers": 4, "before": 2}}
    client.ask("stop")
    assert scene.asked == [("scale", {"workers": 4}), ("stop", {"quick": False})]


@pytest.mark.parametrize("id_", [7, "x", None, ["a", {"b": 1}]])
def test_an_id_comes_back_also_with_an_error(scene, id_):
    client = scene.client()
    assert client.ask(id=id_)["id"] == id_
    assert client.ask("nothing", id=id_)["id"] == id_


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"status", 'expected a JSON object in one line, such as {"v": 1, "command": "status"}'),
        (b"", "expected a JSON object"),
        (b"\x00\xff", "expected a JSON object"),
        (b'{"v":2,"command":"status"}', 'expected "v": 1, the only version there is, not 2'),
        (b'{"v":1,"command":"statsu"}', 'unknown command "statsu", did you mean "status"?'),
        (b'{"v":1,"command":"drain"}', 'drain needs "slot": a whole number from 0 to 1023'),
    ],
)
def test_junk_is_told_what_was_expected_and_the_next_line_is_answered(scene, line, message):
    client = scene.client()
    client.send(line + b"\n" + request())
    assert message in client.error()
    assert client.response()["ok"]
    assert scene.asked == [("status", {"ready": False})]
    assert not scene.told


def test_commands_that_change_something_are_told_and_no_others(scene):
    client = scene.client()
    for command, args in (
        ("status", {}),
        ("scale", {"workers": 2}),
        ("connections", {}),
        ("why", {"id": "1-1"}),
        ("generations", {}),
        ("scale", {"workers": 0}),
        ("close", {"id": "1-1"}),
    ):
        client.ask(command, args=args)
    who = {"uid": os.geteuid(), "peer_pid": os.getpid()}
    assert scene.told.of(ADMIN_COMMAND) == [
        {"command": "scale", **who},
        {"command": "close", **who},
    ]


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_line_that_is_too_long_is_the_last(scene, end):
    client = scene.client()
    client.send(request().rstrip().ljust(MAX_REQUEST_BYTES + 1) + end)
    assert client.error() == f"a request is a line of at most {MAX_REQUEST_BYTES} bytes"
    scene.until(lambda: client.is_closed)
    assert not scene.asked


def test_a_line_may_be_that_long(scene):
    client = scene.client()
    line = request().rstrip().ljust(MAX_REQUEST_BYTES) + b"\n"
    client.send(line + line)
    assert client.response()["ok"]
    assert client.response()["ok"]


@given(st.lists(st.integers(1, 120), max_size=6))
def test_in_whatever_pieces_requests_come_the_responses_are_the_same(cuts):
    with running() as scene:
        client = scene.client()
        sent = request(id=1) + b"junk\n" + request("drain", id=2, args={"slot": 3}) + request(id=4)
        start = 0
        for size in cuts:
            client.send(sent[start : start + size])
            start += size
            scene.loop.run_once(0)
        client.send(sent[start:])
        assert [client.response().get("id") for _ in range(4)] == [1, None, 2, 4]
        assert [command for command, _ in scene.asked] == ["status", "drain", "status"]


def test_of_two_requests_in_one_packet_the_second_waits_for_the_first_reply(scene):
    replies = []
    scene.answers["close"] = lambda _, reply: replies.append(reply)
    client = scene.client()
    client.send(request("close", args={"id": "1-1"}, id="a") + request(id="b"))
    scene.until(lambda: bool(replies))
    client.send(request(id="c"))
    scene.settle()
    assert [command for command, _ in scene.asked] == ["close"]
    assert client.take() == b""
    assert select.select([scene.loop], [], [], 0) == ([], [], [])  # what waits wakes nobody
    replies[0].result({"id": "1-1"})
    assert client.response() == {"v": 1, "id": "a", "ok": True, "result": {"id": "1-1"}}
    assert client.response()["id"] == "b"
    assert client.response()["id"] == "c"


def test_a_late_reply_and_others_are_served_meanwhile(scene):
    replies = []
    scene.answers["why"] = lambda _, reply: replies.append(reply)
    waits, other = scene.client(), scene.client()
    waits.send(request("why", args={"id": "1-1"}))
    scene.until(lambda: bool(replies))
    assert other.ask()["ok"]
    scene.pass_time(10 * IDLE_SECONDS)
    assert not waits.is_closed
    replies[0].error("no such connection")
    assert waits.error() == "no such connection"


def test_a_command_of_many_steps_takes_some_of_them_in_a_turn(scene):
    taken = []

    def steps(_, reply):
        for number in range(10):
            taken.append(number)
            scene.now += STEPS_SECONDS / 2
            yield
        reply.result({"steps": len(taken)})

    scene.answers["scheduler"] = steps
    client, other = scene.client(), scene.client()
    client.send(request("scheduler", args={"name": "new"}))
    scene.until(lambda: bool(taken))
    assert taken == [0, 1]
    scene.now += STEPS_SECONDS / 2
    scene.settle()
    assert taken == [0, 1]  # others have the loop for as long
    other.send(request("status"))
    while len(scene.asked) < 2:
        scene.pass_time(STEPS_SECONDS)
    assert len(taken) < 10
    assert other.response()["ok"]
    while len(taken) < 10:
        scene.pass_time(STEPS_SECONDS)
    scene.pass_time(STEPS_SECONDS)
    assert client.response()["result"] == {"steps": 10}


@pytest.mark.parametrize("error", [CommandError("it cannot be done"), ZeroDivisionError("a bug")])
def test_an_error_in_a_later_step_is_the_answer(scene, error):
    def steps(_args, _reply):
        yield
        raise error

    scene.answers["scheduler"] = steps
    client = scene.client()
    assert str(error) in client.ask("scheduler", args={"name": "new"})["error"]
    assert len(scene.told.of(HOST_BUG)) == isinstance(error, ZeroDivisionError)
    assert client.ask()["ok"]


def test_steps_that_are_left_when_the_server_closes_are_not_taken(scene):
    def steps(_args, _reply):
        scene.now += STEPS_SECONDS
        yield
        pytest.fail("a step after the end")

    scene.answers["scheduler"] = steps
    scene.client().send(request("scheduler", args={"name": "new"}))
    scene.until(lambda: bool(scene.asked))
    scene.server.close()
    scene.pass_time(STEPS_SECONDS)


def test_the_first_answer_counts(scene):
    def answer(_, reply):
        reply.error("first")
        reply.result({})
        raise ZeroDivisionError("third")

    scene.answers["status"] = answer
    client = scene.client()
    client.send(request() + request("generations"))
    assert client.error() == "first"
    assert client.response()["result"] == {"done": "generations"}


def test_a_reply_after_the_client_has_gone_is_harmless(scene):
    replies = []
    scene.answers["why"] = lambda _, reply: replies.append(reply)
    client = scene.client()
    client.send(request("why", args={"id": "1-1"}))
    scene.until(lambda: bool(replies))
    client.close()
    scene.until(lambda: not scene.server._clients)
    replies[0].result({"id": "1-1"})
    replies[0].error("again")
    assert scene.client().ask()["ok"]


def test_what_a_client_has_sent_before_it_goes_is_carried_out(scene):
    client = scene.client()
    client.send(request("stop").rstrip().ljust(50_000) + b"\n")
    client.close()
    scene.until(lambda: bool(scene.asked))
    assert scene.asked == [("stop", {"quick": False})]
    scene.settle()
    assert not scene.server._clients


def test_one_that_sends_nothing_more_gets_all_its_answers(scene):
    client = scene.client()
    client.send(request(id=1) + request(id=2) + b'{"v": 1')
    client.sock.shutdown(socket.SHUT_WR)
    assert [client.response()["id"], client.response()["id"]] == [1, 2]
    assert client.error() == "a request ends with a newline"
    scene.until(lambda: client.is_closed)


def test_one_that_comes_and_goes_leaves_nothing(scene):
    for _ in range(3 * MAX_CLIENTS):
        scene.client().close()
        scene.settle()
    assert not scene.server._clients
    assert scene.client().ask()["ok"]


def test_an_error_of_a_command_is_its_answer(scene):
    def refuse(args, _):
        raise CommandError(f"no worker in slot {args['slot']}")

    scene.answers["drain"] = refuse
    client = scene.client()
    client.send(request("drain", args={"slot": 9}))
    assert client.error() == "no worker in slot 9"


def test_an_unexpected_exception_is_answered_and_told_and_not_fatal(scene):
    scene.answers["status"] = lambda _, reply: {}["key"]
    client = scene.client()
    client.send(request() + request("generations"))
    assert client.error() == "a fault of the host itself, please report it: KeyError: 'key'"
    assert client.response()["ok"]
    [bug] = scene.told.of(HOST_BUG)
    assert bug["error"] == "KeyError: 'key'"
    assert "Traceback" in bug["traceback"]


def test_what_json_cannot_write_is_written_as_text(scene):
    scene.answers["status"] = {"address": ("a", 1), 7: {1}}
    assert scene.client().ask()["result"] == {"address": ["a", 1], "7": "{1}"}


def test_a_flood_costs_one_request_a_turn_and_keeps_nobody_out(scene):
    floods = [scene.client() for _ in range(3)]
    sent = (request() * 20_000)[:2_000_000]
    waits = {flood: memoryview(sent) for flood in floods}
    other = scene.client()

    def turn():
        for flood in floods:
            with suppress(BlockingIOError):
                waits[flood] = waits[flood][flood.sock.send(waits[flood]) :]
            flood.take()
            flood.received = b""
        before = len(scene.asked)
        scene.loop.run_once(0)
        assert len(scene.asked) - before <= 1
        for each in scene.server._clients:
            assert len(each.received) < MAX_REQUEST_BYTES + 16_384 + 1

    for _ in range(200):
        turn()
    assert len(scene.asked) > 100
    other.send(request("generations"))
    for _ in range(12):
        turn()
    assert json.loads(other.take()) == {"v": 1, "ok": True, "result": {"done": "generations"}}


def test_one_that_takes_nothing_is_closed_and_the_others_are_served(scene):
    scene.answers["connections"] = {"connections": [{"id": "x" * 100}] * 20_000}
    slow, other = scene.client(), scene.client()
    slow.send(request("connections"))
    scene.until(lambda: bool(scene.asked))
    scene.settle()
    assert other.ask()["ok"]
    scene.pass_time(TAKE_SECONDS - 0.1)
    assert not slow.is_closed
    scene.pass_time(0.2)
    assert slow.is_closed
    assert other.ask()["ok"]


def test_one_that_asks_and_never_takes_an_answer_is_closed(scene):
    client = scene.client()
    while scene.server._clients or not scene.asked:
        with suppress(BlockingIOError, BrokenPipeError):
            client.sock.send(request() * 100)
        before = len(scene.asked)
        scene.settle()
        if len(scene.asked) == before:  # its socket is full
            scene.pass_time(TAKE_SECONDS + 0.1)
            break
    assert client.is_closed


def test_one_that_is_slow_gets_all_of_it(scene):
    scene.answers["connections"] = {"connections": [{"id": "x" * 100}] * 9000, "more": False}
    client, began = scene.client(), scene.now
    client.send(request("connections"))
    while b"\n" not in client.take():
        scene.pass_time(TAKE_SECONDS / 2)
    assert scene.now > began + TAKE_SECONDS
    assert client.response()["result"] == scene.answers["connections"]
    assert client.ask()["ok"]


def test_one_that_sends_no_request_in_time_is_closed(scene):
    silent, slow, busy = scene.client(), scene.client(), scene.client()
    scene.settle()
    for _ in range(6):
        slow.send(b" ")
        assert busy.ask()["ok"]
        scene.pass_time(IDLE_SECONDS / 6 - 0.1)
    assert not silent.is_closed
    assert not slow.is_closed
    scene.pass_time(1.0)
    assert silent.is_closed
    assert slow.is_closed
    assert not busy.is_closed


def test_who_is_idle_for_longest_makes_room_for_a_newcomer(scene):
    first = [scene.client() for _ in range(MAX_CLIENTS)]
    assert all(client.ask()["ok"] for client in first)
    idle = first.pop(1)
    scene.pass_time(1)
    assert all(client.ask()["ok"] for client in first)
    assert scene.client().ask()["ok"]
    assert idle.is_closed
    assert all(client.ask()["ok"] for client in first)


def test_too_many_with_something_under_way_are_told_so_until_one_goes(scene):
    waiting = []
    scene.answers["status"] = lambda _, reply: waiting.append(reply)
    first = [scene.client() for _ in range(MAX_CLIENTS)]
    for client in first:
        client.send(request())
    scene.until(lambda: len(waiting) == MAX_CLIENTS)
    another = scene.client()
    another.send(request())
    assert another.error() == f"{MAX_CLIENTS} clients are connected, which is the most: try again"
    assert another.is_closed
    waiting[0].result({"done": "late"})
    scene.settle()
    first[0].close()
    scene.settle()
    scene.answers.clear()
    assert scene.client().ask()["ok"]


@as_root
def test_another_user_is_told_that_it_may_not_ask(scene):
    try:
        os.seteuid(NOBODY)  # the kernel notes the user who connects
        client = scene.client()
    finally:
        os.seteuid(0)
    client.send(request())
    assert re.match("not permitted: this host takes commands from uid 0 and root", client.error())
    assert client.is_closed
    assert not scene.asked


@as_root
def test_root_may_ask_whoever_s_host_it_is(scene):
    client = scene.client()
    try:
        os.seteuid(NOBODY)
        assert client.ask()["ok"]
    finally:
        os.seteuid(0)


def test_without_descriptors_it_pauses_and_does_not_make_the_loop_spin(scene):
    client = scene.client()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
        with suppress(OSError):  # EMFILE
            while True:
                taken.append(os.dup(0))
        scene.loop.run_once(0)
        assert select.select([scene.loop], [], [], 0) == ([], [], [])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for each in taken:
            os.close(each)
    client.send(request())
    scene.settle()
    assert not scene.asked
    scene.pass_time(1.1)
    assert client.response()["ok"]


def test_an_event_of_another_socket_is_no_hang_up(scene):
    client = scene.client()
    assert client.ask()["ok"]
    replies = []
    scene.answers["status"] = lambda _, reply: replies.append(reply)
    client.send(request())
    scene.until(lambda: bool(replies))
    [served] = scene.server._clients
    served.on_event(select.EPOLLHUP | select.EPOLLIN | select.EPOLLOUT)
    replies[0].result({"still": "there"})
    assert client.response()["result"] == {"still": "there"}


def test_a_name_is_taken_by_one(scene):
    with pytest.raises(OSError, match="in use") as caught:
        ControlServer.bind(scene.name)
    assert caught.value.errno == errno.EADDRINUSE


def test_the_socket_is_inherited_with_those_who_wait(scene):
    """As over an exec: those that were let in are gone, those that were not are served."""
    served = scene.client()
    assert served.ask()["ok"]
    waits = scene.client()
    waits.send(request("generations"))
    inherited = socket.socket(fileno=os.dup(scene.server.fileno()))
    scene.loop.remove(scene.server.fileno())
    scene.server.close()
    assert served.is_closed
    scene.server = scene.serve(inherited)
    assert waits.response()["result"] == {"done": "generations"}


def test_nothing_happens_after_close(scene):
    replies = []
    scene.answers["why"] = lambda _, reply: replies.append(reply)
    waits, queued = scene.client(), scene.client()
    waits.send(request("why", args={"id": "1-1"}))
    scene.until(lambda: bool(replies))
    queued.send(request())
    scene.loop.run_once(0)
    with socket.socket(fileno=os.dup(scene.server.fileno())):  # a child's, or the one after an exec
        scene.server.close()
        scene.server.close()
        scene.client()
        scene.settle()
    replies[0].result({})
    scene.pass_time(10 * IDLE_SECONDS)
    assert waits.is_closed
    assert queued.is_closed
    assert [command for command, _ in scene.asked] == ["why"]


def test_who_has_a_name_is_told():
    name = fresh_name()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(address(name))
        with pytest.raises(OSError, match="in use"):
            ControlServer.bind(name)
        assert ControlServer.owner(name) == "another process"
        sock.listen(1)
        assert ControlServer.owner(name) == f"process {os.getpid()} of uid {os.geteuid()}"
