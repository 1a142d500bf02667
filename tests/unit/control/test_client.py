"""Which host is asked, and what is said when it cannot be, or gives no answer that is one."""

import os
import socket
import threading
from contextlib import closing, contextmanager

import pytest

from host.control.client import ask, default_name, running
from host.control.commands import address
from host.errors import RemoteError
from support.fake_host import FakeHost, new_name

DEADLINE_SECONDS = 10.0
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
def test_a_host_of_another_user_is_not_asked():
    with closing(FakeHost(status={})) as fake:
        try:
            os.seteuid(NOBODY)
            message = f'"{fake.name}" runs as uid 0; ask it as that user'
            with pytest.raises(RemoteError, match=message):
                ask(fake.name, "status", {}, DEADLINE_SECONDS)
        finally:
            os.seteuid(0)
    assert not fake.asked


@as_root
def test_root_asks_hosts_of_other_users():
    with listening(as_user=NOBODY) as (name, sock):
        answer = threading.Thread(target=answer_one, args=(sock, b'{"ok": true, "result": {}}\n'))
        answer.start()
        assert ask(name, "status", {}, DEADLINE_SECONDS) == {}
        answer.join()


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


def answer_one(sock, line):
    client, _ = sock.accept()
    with client:
        client.recv(1000)
        client.sendall(line)


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
    ],
)
def test_an_answer_that_is_none(line, message):
    with listening() as (name, sock):
        answer = threading.Thread(target=answer_one, args=(sock, line))
        answer.start()
        with pytest.raises(RemoteError, match=message):
            ask(name, "status", {}, DEADLINE_SECONDS)
        answer.join()


def test_one_that_lets_nobody_in_is_given_up():
    with listening() as (name, _):
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(2)]
        for each in waiting:
            each.connect(address(name))
        with pytest.raises(RemoteError, match=r"not answered within 0\.05 s"):
            ask(name, "status", {}, 0.05)
        for each in waiting:
            each.close()
