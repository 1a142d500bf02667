"""Messages reach the service manager, whatever its address is, and nothing waits for it."""

import os
import socket
import threading

import pytest

from host.runtime.notifications import Notifier, take
from host.testing.machine import Stopwatch, patience


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    """The service manager's socket, and its address."""
    path = str(tmp_path / "notify")
    abstract = f"prefork-notifications-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind(path if request.param == "path" else f"\0{abstract}")
        yield sock, path if request.param == "path" else f"@{abstract}"


@pytest.fixture
def notifier(manager):
    made = Notifier(manager[1])
    yield made
    made.close()


def test_a_message_arrives_whole(manager, notifier):
    notifier.send("READY=1\nSTATUS=é")
    assert manager[0].recv(100) == "READY=1\nSTATUS=é".encode()


def test_what_utf8_has_not_is_replaced(manager, notifier):
    notifier.send("STATUS=\udcff")
    assert manager[0].recv(100) == b"STATUS=?"


def test_a_descriptor_arrives_as_a_copy(manager, notifier):
    with open(os.devnull) as file:
        notifier.send("FDSTORE=1", file.fileno())
        text, [copy], *_ = socket.recv_fds(manager[0], 100, 4)
        assert text == b"FDSTORE=1"
        assert os.path.sameopenfile(copy, file.fileno())
        os.close(copy)


def test_nobody_waits_for_a_service_manager_that_does_not_read(notifier):
    def send_many():
        for _ in range(100_000):
            notifier.send("STATUS=x")

    with pytest.raises(BlockingIOError):
        send_many()


def test_one_can_wait_until_all_is_handled(manager, notifier):
    def handle():
        assert manager[0].recv(100) == b"READY=1"
        text, [pipe], *_ = socket.recv_fds(manager[0], 100, 4)
        handled.append(text)
        os.close(pipe)

    manager[0].setblocking(True)
    handled = []
    notifier.send("READY=1")
    handling = threading.Thread(target=handle)
    handling.start()
    notifier.wait(patience(10))
    assert handled == [b"BARRIER=1"]
    handling.join()


def test_who_does_not_know_of_that_is_not_waited_for_for_long(notifier):
    watch = Stopwatch()
    notifier.wait(0.01)
    assert not watch.has_passed(5)


def test_no_program_inherits_the_socket(notifier):
    assert not os.get_inheritable(notifier._sock.fileno())


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": str(2**64 - 1)}, None),  # USEC_INFINITY
        ({"WATCHDOG_USEC": "9" * 400}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_variables_are_taken_out(given, seconds):
    environ = {"NOTIFY_SOCKET": "/run/x", "PATH": "/bin"} | given
    notifier = take(environ, 7)
    assert (notifier.address, notifier.watchdog_seconds) == ("/run/x", seconds)
    assert environ == {"PATH": "/bin"}
    notifier.close()


@pytest.mark.parametrize("given", [{}, {"NOTIFY_SOCKET": ""}, {"WATCHDOG_USEC": "7"}])
def test_without_an_address_there_is_nobody_to_tell(given):
    environ = dict(given)
    assert take(environ, 7) is None
    assert environ == {}
