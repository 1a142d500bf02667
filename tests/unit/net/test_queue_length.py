"""What the kernel says of queues is understood or refused; polling is left if it is silent."""

import errno
import os
import socket
import struct
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.interfaces import Listener
from host.net.listeners import ListeningSocket, open_listener
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


def test_the_queue_of_a_socket_file_is_counted(tmp_path):
    path = tmp_path / "x.sock"
    with closing(open_listener(Listen(address=f"unix:{path}", backlog=5), 0, "echo")) as listener:
        length, _, _ = queue_length(listener)
        clients = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        seen = [length()]
        for client in clients:
            client.connect(str(path))
            seen.append(length())
        assert seen in ([0, 1, 2, 3], [0, 1, 1, 1])  # the latter where the kernel does not tell
        for client in clients:
            client.close()


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
