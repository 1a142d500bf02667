"""What the kernel says of queues is understood or refused; socket files are treated with care."""

import errno
import os
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.errors import ListenError
from host.interfaces import Listener
from host.net.listeners import ListeningSocket, _is_stale, open_listener, reopen
from host.net.queue_length import _parse_rqlen, queue_length
from host.settings import Listen

ANSWER, ERROR = 20, 2
RQLEN = 4


def attribute(kind, body):
    """One attribute of netlink(7), padded to four bytes."""
    return struct.pack("=HH", 4 + len(body), kind) + body + bytes(-len(body) % 4)


def answer(*attributes, kind=ANSWER):
    body = bytes(16) + b"".join(attributes)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def queue(length, limit):
    return attribute(RQLEN, struct.pack("=II", length, limit))


OTHERS = st.lists(
    st.builds(attribute, st.integers(0, 200).filter(lambda kind: kind != RQLEN), st.binary())
)


@given(OTHERS, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), OTHERS)
def test_a_queue_length_is_found_among_other_attributes(before, length, limit, after):
    message = answer(*before, queue(length, limit), *after)
    assert _parse_rqlen(message) == (length, limit)


@given(OTHERS, st.data())
def test_an_answer_that_was_cut_off_is_refused(before, data):
    message = answer(*before, queue(3, 128))
    cut = message[: data.draw(st.integers(0, len(message) - 1))]
    with pytest.raises(OSError, match="queue length"):
        _parse_rqlen(cut)


@given(OTHERS)
def test_an_answer_without_a_queue_length_is_refused(attributes):
    with pytest.raises(OSError, match="sock_diag gives no queue length"):
        _parse_rqlen(answer(*attributes))


def test_an_attribute_without_a_size_does_not_stop_the_search():
    message = answer(struct.pack("=HH", 0, 9), queue(3, 128))
    assert _parse_rqlen(message) == (3, 128)


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EPERM])
def test_an_error_is_the_systems_own(number):
    message = struct.pack("=IHHIIi", 36, ERROR, 0, 0, 0, -number) + bytes(16)
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        _parse_rqlen(message)
    assert caught.value.errno == number


@given(st.binary(max_size=80))
def test_whatever_comes_is_understood_or_refused(data):
    message = bytes(4) + struct.pack("=H", ANSWER) + data
    try:
        length, limit = _parse_rqlen(message)
    except OSError:
        return
    assert length >= 0
    assert limit >= 0


# Socket files


def unix(path, **how):
    return Listen(address=f"unix:{path}", **how)


@pytest.fixture
def listen():
    opened = []

    def listen(*args):
        opened.append(open_listener(*args))
        return opened[-1]

    yield listen
    for each in opened:
        each.close()


def leave_behind(path):
    """Bind a socket file whose listener then goes without removing it."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()


def test_a_socket_file_has_its_mode_and_goes_with_the_listener(tmp_path, listen):
    path = tmp_path / "x.sock"
    listener = listen(unix(path, mode=0o640), 3, "echo")
    assert path.stat().st_mode & 0o777 == 0o640
    assert (listener.view.index, listener.view.plugin) == (3, "echo")
    assert listener.view.address == f"unix:{path}"
    listener.close()
    assert not path.exists()


def test_a_file_of_a_listener_that_is_gone_is_replaced(tmp_path, listen):
    path = tmp_path / "x.sock"
    leave_behind(path)
    assert _is_stale(str(path))
    listen(unix(path), 0, "echo")
    assert not _is_stale(str(path))


def test_a_listener_that_is_there_is_left_alone(tmp_path, listen):
    path = tmp_path / "x.sock"
    listen(unix(path), 0, "echo")
    with pytest.raises(ListenError, match="another process listens there") as caught:
        open_listener(unix(path), 0, "echo")
    assert caught.value.errno == errno.EADDRINUSE
    assert path.exists()


def test_a_busy_listener_is_not_taken_for_one_that_is_gone(tmp_path):
    path = tmp_path / "x.sock"
    with socket.socket(socket.AF_UNIX) as sock, socket.socket(socket.AF_UNIX) as client:
        sock.bind(str(path))
        sock.listen(0)
        client.connect(str(path))
        assert not _is_stale(str(path))


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_no_socket_is_left_alone(tmp_path, kind):
    path = tmp_path / "x.sock"
    path.write_text("precious") if kind == "file" else path.mkdir()
    with pytest.raises(ListenError) as caught:
        open_listener(unix(path), 0, "echo")
    assert caught.value.errno == errno.EEXIST
    assert path.exists()


def test_a_folder_that_is_missing_is_named_as_the_cause(tmp_path):
    with pytest.raises(ListenError, match="make it first") as caught:
        open_listener(unix(tmp_path / "missing" / "x.sock"), 0, "echo")
    assert caught.value.errno == errno.ENOENT


def test_a_file_that_somebody_else_has_made_since_is_left_alone(tmp_path, listen):
    path = tmp_path / "x.sock"
    listener = listen(unix(path), 0, "echo")
    path.rename(tmp_path / "moved.sock")
    path.write_text("theirs")
    listener.close()
    assert path.read_text() == "theirs"


def test_a_shut_gate_takes_the_file_away_and_keeps_who_is_in(tmp_path, listen):
    path = tmp_path / "x.sock"
    listener = listen(unix(path), 0, "echo")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        listener.shut_gate()
        assert not path.exists()
        accepted, _ = listener.sock.accept()
        accepted.close()


def test_the_queue_of_a_socket_file_is_counted(tmp_path, listen):
    path = tmp_path / "x.sock"
    listener = listen(unix(path, backlog=5), 0, "echo")
    length, _, _ = queue_length(listener)
    clients = [socket.socket(socket.AF_UNIX) for _ in range(3)]
    seen = [length()]
    for client in clients:
        client.connect(str(path))
        seen.append(length())
    assert seen in ([0, 1, 2, 3], [0, 1, 1, 1])  # the latter where the kernel does not tell
    for client in clients:
        client.close()


def test_closing_gives_back_every_descriptor(tmp_path):
    before = sorted(os.listdir("/proc/self/fd"))
    listener = open_listener(unix(tmp_path / "x.sock"), 0, "echo")
    queue_length(listener)
    listener.close()
    assert sorted(os.listdir("/proc/self/fd")) == before


class Kernel:
    """A TCP socket of a kernel that answers TCP_INFO with these bytes."""

    family = socket.AF_INET

    def __init__(self, info):
        self._info, (self._end, self._other) = info, socket.socketpair()

    def getsockopt(self, level, option, size):
        return self._info[:size]

    def fileno(self):
        return self._end.fileno()

    def close(self):
        self._end.close()
        self._other.close()


@pytest.mark.parametrize(
    ("info", "limit", "cause"),
    [
        (bytes(24) + struct.pack("=II", 3, 128), 128, ""),
        (bytes(24) + struct.pack("=II", 3, 0), None, "it reports a limit of 0"),
        (bytes(24), None, "TCP_INFO gives no queue length"),
        (b"", None, "TCP_INFO gives no queue length"),
    ],
)
def test_where_the_kernel_does_not_tell_a_queue_length_polling_is_left(info, limit, cause):
    sock = Kernel(info)
    listener = ListeningSocket(sock, Listener(0, "tcp://h:1", "echo"), 128, None, "")
    length, *rest = queue_length(listener)
    assert rest == [limit, cause]
    assert length() == (3 if limit else 0)
    listener.close()


@pytest.mark.parametrize(
    ("host", "level", "option"),
    [("127.0.0.1", socket.IPPROTO_IP, 21), ("::1", socket.IPPROTO_IPV6, 73)],
)
def test_an_accepted_socket_is_opened_again_after_the_gate_is_shut(host, level, option):
    """IP_MINTTL and IPV6_MINHOPCOUNT; the accepted socket has inherited them."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as server:
        server.setsockopt(level, option, 10)
        client = socket.create_connection(server.getsockname()[:2])
        accepted, _ = server.accept()
        with client, accepted:
            assert accepted.getsockopt(level, option) == 10
            reopen(accepted)
            assert accepted.getsockopt(level, option) == 0


def test_a_socket_without_such_a_gate_is_left_alone():
    one, other = socket.socketpair()
    with one, other:
        reopen(one)
        one.sendall(b"x")
        assert other.recv(1) == b"x"
