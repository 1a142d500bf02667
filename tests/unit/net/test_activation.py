"""Sockets that a service manager passes: taken, named, checked, and left to it."""

import os
import socket
from contextlib import ExitStack

import pytest

from host.errors import ListenError
from host.net.activation import Passed, PassedSockets, take
from host.net.listeners import open_listener
from host.net.queue_length import queue_length
from host.settings import Listen
from host.settings.address import FIRST_PASSED

IP_MINTTL = 21


class Manager:
    """Opens sockets and keeps them."""

    def __init__(self):
        self._stack = ExitStack()
        self.sockets, self.passed = {}, PassedSockets()

    def keep(self, closable):
        self._stack.callback(closable.close)
        return closable

    def give(self, name, sock):
        """Pass a copy of a socket; return the descriptor that the host has of it."""
        fd = os.dup(self.keep(sock).fileno())
        self.sockets[name] = sock
        self.passed = PassedSockets([*self.passed.sockets, Passed(name, fd)])
        return fd

    def tcp(self, name="web", host="127.0.0.1"):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return self.give(name, socket.create_server((host, 0), family=family))

    def unix(self, path, name="web"):
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(path)
        sock.listen()
        return self.give(name, sock)

    def open(self, *listens):
        """Open listeners as a host does."""
        supply = self.passed.supply(listens)
        return [self.keep(open_listener(each, 0, "echo", supply)) for each in listens]

    def refusal(self, *listens):
        with pytest.raises(ListenError) as caught:
            self.open(*listens)
        return str(caught.value)

    def close(self):
        self.passed.close()
        self._stack.close()


@pytest.fixture
def manager():
    made = Manager()
    yield made
    made.close()


def fd(name, **more):
    return Listen(address=f"fd:{name}", **more)


def environment(count, names=None, pid=7):
    found = {"LISTEN_PID": str(pid), "LISTEN_FDS": str(count), "PATH": "/bin"}
    return found if names is None else found | {"LISTEN_FDNAMES": names}


def test_the_variables_leave_the_environment_whomever_they_are_for():
    for pid in (7, 8):
        given = environment(0, "a") | {"LISTEN_PIDFDID": "12"}
        assert take(given, pid).sockets == ()
        assert given == {"PATH": "/bin"}


def test_no_socket_is_passed_on():
    """Descriptor 3 is whatever this process has there: it only gets CLOEXEC."""
    first = open_where_a_manager_would()
    try:
        was = os.get_inheritable(FIRST_PASSED)
        os.set_inheritable(FIRST_PASSED, True)
        assert take(environment(1, "web"), 7).sockets == (Passed("web", FIRST_PASSED),)
        assert not os.get_inheritable(FIRST_PASSED)
        os.set_inheritable(FIRST_PASSED, was)
    finally:
        for each in first:
            os.close(each)


def open_where_a_manager_would():
    """Open descriptor 3 if it is free; return what is to be closed."""
    try:
        os.fstat(FIRST_PASSED)
    except OSError:
        null = os.open(os.devnull, os.O_RDONLY)
        if null == FIRST_PASSED:
            return [null]
        os.dup2(null, FIRST_PASSED)
        return [null, FIRST_PASSED]
    return []


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        ({}, "no service manager has passed any to this process"),
        (environment(1, "web", pid=6), "are for process 6 (LISTEN_PID), and this is 7"),
        ({"LISTEN_FDS": "1"}, "are for process (none) (LISTEN_PID), and this is 7"),
        (environment("many"), "LISTEN_FDS is 'many', which is no number"),
        (environment("-1"), "LISTEN_FDS is '-1', which is no number"),
    ],
)
def test_why_there_are_none_is_told_to_who_wants_one(given, cause):
    with pytest.raises(ListenError) as caught:
        take(given, 7).supply([fd("web")])
    assert str(caught.value).startswith("cannot listen on fd:web: there is no such socket; ")
    assert cause in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_socket_is_found_by_its_name_and_by_its_number(manager):
    number = manager.tcp("web")
    for listen in (fd("web"), fd(number)):
        [listener] = manager.open(listen)
        port = manager.sockets["web"].getsockname()[1]
        assert listener.view.address == f"tcp://127.0.0.1:{port}"
        assert (listener.configured, listener.source) == (listen.address, "passed")
        assert listener.is_kept
        assert listener.is_local
        assert not os.get_inheritable(listener.fileno())
        assert not listener.sock.getblocking()


def test_what_is_accepted_there_is_as_on_any_other_listener(manager):
    manager.tcp()
    [listener] = manager.open(fd("web", backlog=17))
    assert queue_length(listener)[1] == 17
    assert listener.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert listener.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_addresses_of_all_kinds_are_told(manager, tmp_path):
    manager.tcp("six", "::1")
    manager.unix(str(tmp_path / "x.sock"), "path")
    manager.unix(f"\0prefork-{os.getpid()}", "abstract")
    told = [each.view.address for each in manager.open(fd("six"), fd("path"), fd("abstract"))]
    port = manager.sockets["six"].getsockname()[1]
    expected = [f"tcp://[::1]:{port}", f"unix:{tmp_path}/x.sock", f"unix:@prefork-{os.getpid()}"]
    assert told == expected


def test_two_sockets_of_one_name_are_listed_twice(manager):
    one, other = manager.tcp(), manager.tcp()
    addresses = {each.view.address for each in manager.open(fd("web"), fd("web"))}
    assert len(addresses) == 2
    assert manager.refusal(fd("web")) == (
        "cannot listen on fd:web: so many are called that: 2, and it is listed so often: 1; list "
        f"it once for each of them, or by its number: fd:{one}, fd:{other}"
    )
    assert "and it is listed so often: 3" in manager.refusal(*[fd("web")] * 3)


def test_a_socket_is_listed_under_one_name_only(manager):
    number = manager.tcp()
    assert manager.refusal(fd("web"), fd(number)) == (
        f"cannot listen on fd:{number}: it is the same socket as fd:web; list it once, as fd:web"
    )


@pytest.mark.parametrize("name", ["web", "other"])
def test_a_socket_that_was_passed_twice_is_found_also_under_two_names(manager, name):
    number = manager.tcp()
    manager.give(name, manager.sockets["web"])
    same = f"fd:{number}" if name == "web" else "fd:web"
    assert f"cannot listen on fd:{name}: it is the same socket as {same}" in manager.refusal(
        fd("web"), fd(name)
    )


def test_who_asks_for_a_wrong_name_is_told_the_right_ones(manager):
    number = manager.tcp("web")
    port = manager.sockets["web"].getsockname()[1]
    assert manager.refusal(fd("wep")) == (
        "cannot listen on fd:wep: there is no such socket; there is: "
        f"fd:web (fd:{number}, tcp://127.0.0.1:{port})"
    )


def test_a_name_of_digits_is_a_number(manager):
    manager.tcp("999")
    assert "there is no such socket" in manager.refusal(fd("999"))


def connection(manager):
    server = manager.keep(socket.create_server(("127.0.0.1", 0)))
    manager.keep(socket.create_connection(server.getsockname()))
    return server.accept()[0]


def datagrams(_manager):
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def packets(_manager):
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def kernel(_manager):
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (connection, "it does not listen: it is a client's connection; set Accept=no"),
        (datagrams, "it takes no connections; use ListenStream="),
        (kernel, "it takes no connections; use ListenStream="),
        (packets, "it takes no connections; use ListenStream="),
    ],
)
def test_what_is_no_listening_stream_socket_is_refused(manager, make, cause):
    manager.give("web", make(manager))
    assert manager.refusal(fd("web")).startswith(f"cannot listen on fd:web: {cause}")


def test_what_is_no_socket_is_refused(manager):
    with open(os.devnull) as file:
        manager.passed = PassedSockets([Passed("web", os.dup(file.fileno()))])
    assert manager.refusal(fd("web")).startswith("cannot listen on fd:web: it is no socket; ")


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"allow": ["10.0.0.0/8"]}, "allow and deny are for IP addresses"),
        ({"proxy": "any", "proxy_from": ["10.0.0.0/8"]}, "no proxy of proxy_from can connect"),
    ],
)
def test_options_that_are_not_for_its_family_are_refused(manager, tmp_path, options, cause):
    manager.unix(str(tmp_path / "x.sock"))
    assert manager.refusal(fd("web", **options)).startswith(f"cannot listen on fd:web: {cause}")
    assert os.listdir(tmp_path) == ["x.sock"]


def test_options_are_looked_at_again_when_they_have_changed(manager, tmp_path):
    """A reload goes on with the sockets that there are, and opens none."""
    manager.unix(str(tmp_path / "x.sock"))
    manager.passed.supply([fd("web")])
    with pytest.raises(ListenError, match="allow and deny are for IP addresses"):
        manager.passed.supply([fd("web", allow=["10.0.0.0/8"])])


def test_a_socket_that_is_kept_stays_as_it_is(manager, tmp_path):
    """What was done to it at a stop, the next host would have."""
    path = tmp_path / "x.sock"
    manager.unix(str(path), "path")
    manager.tcp("web")
    for listener in manager.open(fd("path"), fd("web")):
        listener.shut_gate()
        assert listener.gate_is_shut()
        listener.close()
    assert path.is_socket()
    web = manager.sockets["web"]
    assert web.getsockopt(socket.IPPROTO_IP, IP_MINTTL) == 0
    with socket.create_connection(web.getsockname(), timeout=10), web.accept()[0]:
        pass


def test_nobody_waits_for_this_host_once_its_gate_is_shut(manager):
    manager.tcp()
    [listener] = manager.open(fd("web"))
    length = listener.kept_length(lambda: 3)
    assert length() == 3
    listener.shut_gate()
    assert length() == 0


def test_sockets_on_which_nobody_is_served_are_told(manager):
    manager.tcp("web")
    manager.tcp("other")
    port = manager.sockets["other"].getsockname()[1]
    listening = [each.sock for each in manager.open(fd("web"))]
    assert manager.passed.unused(listening) == [("fd:other", f"tcp://127.0.0.1:{port}")]


def test_who_asks_is_told_also_of_what_no_host_can_use(manager):
    for name, make in (("dgram", datagrams), ("netlink", kernel)):
        manager.give(name, make(manager))
    said = manager.refusal(fd("web"))
    assert ", udp://0.0.0.0:0)" in said
    assert ", a socket of AF_NETLINK)" in said


def test_an_open_file_that_is_passed_is_no_socket_on_which_somebody_waits(manager):
    with open(os.devnull) as file:
        manager.passed = PassedSockets([Passed("file", os.dup(file.fileno()))])
    assert manager.passed.unused([]) == []


def test_closing_leaves_the_managers_own_alone(manager):
    number = manager.tcp()
    manager.passed.close()
    manager.passed.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)
    assert manager.sockets["web"].getsockname()
