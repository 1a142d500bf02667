"""Which host is asked, and what is said when it cannot be, or gives no answer that is one."""

import json
import os
import socket
import threading
from contextlib import closing, contextmanager, suppress

import pytest

from host.control.client import ask, default_name, running
from host.control.wire import MAX_PAGE_BYTES, address
from host.errors import RemoteError
from host.testing.machine import patience
from support.fake_host import FakeHost, new_name

DEADLINE_SECONDS = patience(10.0)
NOBODY = 65534

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def test_one_that_only_connects_does_not_run():
    with closing(FakeHost()) as fake, socket.socket(socket.AF_UNIX) as bound:
        bound.bind(address(f"{fake.name}-bound"))
        assert f"{fake.name}-bound" not in running()


@pytest.mark.parametrize(
    ("names", "name"), [([], "prefork"), (["a"], "a"), (["a", "prefork"], "prefork")]
)
def test_the_only_host_is_meant_where_no_name_is_given(names, name):
    assert default_name(names) == name


def test_of_several_hosts_one_must_be_named():
    with pytest.raises(RemoteError, match=r"several hosts run here \(a, b\): say which one with"):
        default_name(["a", "b"])


@as_root
def test_hosts_of_the_same_user_and_of_root_are_asked_and_no_others():
    line = b'{"ok": true, "result": {}}\n'
    with listening(as_user=NOBODY) as (name, sock):
        message = rf'host "{name}" is process {os.getpid()} of uid {NOBODY}; only hosts of uid 0 '
        with pytest.raises(RemoteError, match=message):
            ask(name, "stop", {}, DEADLINE_SECONDS)
        answer = answering(sock, line)
        assert answer() == b""
    for owner in (0, NOBODY):
        with listening(as_user=owner) as (name, sock):
            answer = answering(sock, line)
            os.seteuid(NOBODY)
            try:
                assert ask(name, "status", {}, DEADLINE_SECONDS) == {}
            finally:
                os.seteuid(0)
            assert b"status" in answer()


@contextmanager
def listening(as_user=None):
    name = new_name()
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            if as_user is not None:
                os.seteuid(as_user)
            sock.bind(address(name))
            sock.listen(1)
        finally:
            if as_user is not None:
                os.seteuid(0)
        yield name, sock


def answering(sock, *lines):
    """Answer a client in a thread, a line for each request; return what gets its last one."""
    heard = []

    def answer():
        client, _ = sock.accept()
        with client, suppress(ConnectionError):
            for line in lines:
                heard.append(client.recv(1000))
                client.sendall(line)

    thread = threading.Thread(target=answer)
    thread.start()

    def end():
        thread.join(DEADLINE_SECONDS)
        assert not thread.is_alive()
        return heard[-1]

    return end


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"", "has closed the connection without an answer"),
        (b'{"ok": true, "resu', "has closed the connection without an answer"),
        (b"[]\n", "gives an answer that is not understood here: is it of another version?"),
        (b"junk\n", "is not understood"),
        (b'{"ok": true}\n', "is not understood"),
        (b'{"ok": true, "result": 1}\n', "is not understood"),
        (b'{"ok": false}\n', "is not understood"),
        (b'{"ok": true, "result": {}, "next": ["x"]}\n', "has closed the connection without an"),
        (
            b"A" * (MAX_PAGE_BYTES + 1),
            rf"\(uid {os.geteuid()}\) has answered with more than 1048576",
        ),
    ],
)
def test_an_answer_that_is_none(line, message):
    with listening() as (name, sock):
        answer = answering(sock, line)
        with pytest.raises(RemoteError, match=message):
            ask(name, "status", {}, DEADLINE_SECONDS)
        answer()


def test_one_that_lets_nobody_in_is_given_up():
    with listening() as (name, _):
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(2)]
        for each in waiting:
            each.connect(address(name))
        with pytest.raises(RemoteError, match=r"not answered within 0\.05 s"):
            ask(name, "status", {}, 0.05)
        for each in waiting:
            each.close()


def test_pages_are_asked_for_one_by_one_and_joined():
    pages = (
        b'{"ok": true, "result": {"a": [1], "b": 1}, "next": 2}\n',
        b'{"ok": true, "result": {"a": [2], "c": ["x"]}, "next": 3}\n',
        b'{"ok": true, "result": {"c": ["y"], "d": null}}\n',
    )
    with listening() as (name, sock):
        answer = answering(sock, *pages)
        found = ask(name, "connections", {"limit": 5}, DEADLINE_SECONDS)
        assert found == {"a": [1, 2], "b": 1, "c": ["x", "y"], "d": None}
        assert json.loads(answer()) == {"v": 1, "next": 3}


def test_an_answer_without_an_end_is_given_up_by_its_size():
    page = b'{"ok": true, "result": {"a": ["%s"]}, "next": 2}\n' % (b"A" * 1_000_000)
    with listening() as (name, sock):
        answer = answering(sock, *[page] * 100)
        with pytest.raises(RemoteError, match="has answered with more than 67108864 bytes"):
            ask(name, "connections", {}, DEADLINE_SECONDS)
        answer()


def test_an_answer_that_comes_byte_by_byte_is_given_up_in_time():
    over = threading.Event()
    with listening() as (name, sock):

        def drip():
            client, _ = sock.accept()
            with client, suppress(ConnectionError):
                while not over.wait(0.0001):
                    client.sendall(b"A")

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            with pytest.raises(RemoteError, match=r"not answered within 0\.2 s"):
                ask(name, "status", {}, 0.2)
        finally:
            over.set()
            thread.join(DEADLINE_SECONDS)


def test_of_many_names_some_are_shown():
    with pytest.raises(RemoteError, match=r"\(a0, a1, .*, a19 and 980 more\): say which one"):
        default_name([f"a{number}" for number in range(1000)])
