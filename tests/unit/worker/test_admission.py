"""Who may come in does, at once or after a header; who may not is closed, counted and told."""

import os
import socket
import struct
from contextlib import ExitStack, suppress
from types import SimpleNamespace

import pytest

from host.interfaces import ConnectionOrigin, Listener
from host.ipc.client_counts import ClientCounts
from host.ipc.scoreboard import (
    ACTIVE,
    BAD_PROXY,
    BAD_TLS,
    DENIED,
    GONE,
    LATE,
    PER_CLIENT,
    PROBES,
    RATE,
    REFUSING,
)
from host.runtime.loop import READ
from host.settings import Limits, Listen
from host.telemetry.events import CONNECTIONS_REFUSED
from host.worker.access import AccessRules
from host.worker.admission import Admission, PendingConnection
from host.worker.capacity import Capacity
from host.worker.client_limits import client_limit
from host.worker.context import OpenConnections
from host.worker.refusals import Refusals, closers
from support.fakes import FakeLoop, Told, blank_cells, rows_of

PROXIED = {"proxy": "any", "proxy_from": ("10.0.0.0/8", "unix")}
CLIENT, PROXY = ("192.0.2.7", 5000), ("10.0.0.1", 6000)
HEADER = b"PROXY TCP4 1.2.3.4 5.6.7.8 1000 80\r\n"
UNKNOWN = b"PROXY UNKNOWN\r\n"
COUNTED = {
    "denied": DENIED,
    "proxy": BAD_PROXY,
    "late": LATE,
    "tls": BAD_TLS,
    "gone": GONE,
    "probes": PROBES,
    "per_client": PER_CLIENT,
    "rate": RATE,
}


class Admitted:
    """What becomes of who may come in: a connection that reads all that it is sent."""

    def __init__(self, fd, address):
        self.sock, self.address, self.deadline = socket.socket(fileno=fd), address, None

    def drain(self, deadline):
        self.deadline = deadline

    def read(self):
        self.sock.setblocking(False)
        data = None
        with suppress(BlockingIOError):
            while True:
                data = (data or b"") + self.sock.recv(1000)
        return data


class Gate:
    """One listener with its admission, and clients that are real sockets."""

    def __init__(self, stack, **settings):
        self._stack, self.callback = stack, stack.callback
        self.loop, self.told, self.wakes = FakeLoop(), Told(), []
        [self.row] = rows_of(blank_cells(1, 1), 1, 1)
        self.connections = OpenConnections()
        given = [name for name in settings if name in Limits.model_fields]
        limits = Limits(**{name: settings.pop(name) for name in given})
        listen = Listen(address="tcp://127.0.0.1:7000", **settings)
        counts = ClientCounts()
        stack.callback(counts.close)
        clients = client_limit(limits, listen, counts.row(counts.take_row()))
        self.close = clients.closing(os.close) if clients else os.close
        capacity = Capacity(self.row, self.connections, self.loop, lambda: self.wakes.append(1))
        refusals = Refusals(
            [Listener(0, "tcp://127.0.0.1:7000", "echo")],
            [closers(self.close, listen.refuse)],
            self.row,
            slot=0,
            clock=self.loop,
            telemetry=self.told.telemetry,
            capacity=capacity,
        )
        self.admitted = []
        self.pending = self.connections.pending
        stack.callback(lambda: [each.sock.close() for each in self.pending])
        rules = [AccessRules(listen, clients)]
        self.admission = Admission(
            rules, self.admit, self.loop, refusals, capacity, self.pending, limits
        )

    def admit(self, fd, address, listener, claim):
        assert (listener, claim) == (0, 17)
        self.admitted.append(Admitted(fd, address))
        self._stack.callback(self.admitted[-1].sock.close)
        return self.admitted[-1]

    def come(self, address=PROXY, data=b""):
        """Have somebody connect and send something; return the peer's end."""
        ours, peer = self.pair()
        peer.sendall(data)
        ours.setblocking(False)
        self.row.put(ACTIVE, self.row.get(ACTIVE) + 1)
        fd = ours.detach()
        self.admission.begin(fd, address, 0, 17)
        self.turn()
        return peer

    def pair(self):
        """Return both ends of a TCP connection: a Unix socket could not be reset."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            peer = socket.create_connection(listener.getsockname())
            self._stack.callback(peer.close)
            peer.settimeout(20)
            return listener.accept()[0], peer

    def turn(self):
        """Tell of all that can be read."""
        for fd, handler in list(self.loop.handlers.items()):
            if self.loop.watched.get(fd) == READ:
                handler(READ)

    def send(self, peer, data):
        peer.sendall(data)
        self.turn()

    def counts(self):
        found = {name: self.row.count(0, word) for name, word in COUNTED.items()}
        return {name: count for name, count in found.items() if count}

    def why(self):
        return [fields["why"] for fields in self.told.of(CONNECTIONS_REFUSED)]


@pytest.fixture
def gate():
    with ExitStack() as stack:
        yield lambda **settings: Gate(stack, **settings)


def is_reset(peer):
    try:
        return peer.recv(10) != b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize(
    ("settings", "host", "comes_in"),
    [
        ({"allow": ("192.0.2.0/24",)}, "192.0.2.7", True),
        ({"allow": ("192.0.2.0/24",)}, "192.0.3.7", False),
        ({"deny": ("192.0.2.0/24",)}, "192.0.3.7", True),
        ({"deny": ("192.0.2.0/24",)}, "192.0.2.7", False),
        ({"allow": ("192.0.2.0/24",), "deny": ("192.0.2.7",)}, "192.0.2.7", False),
        ({"allow": ("192.0.2.0/24",), "deny": ("192.0.2.7",)}, "192.0.2.8", True),
        ({"deny": ("2001:db8::/32",)}, "2001:db8::1", False),
        ({"deny": ("192.0.2.0/24",)}, "::ffff:192.0.2.1", False),
    ],
)
def test_networks_decide_at_once(gate, settings, host, comes_in):
    scene = gate(**settings)
    peer = scene.come((host, 5000))
    assert len(scene.admitted) == comes_in
    assert scene.counts() == ({} if comes_in else {"denied": 1})
    if not comes_in:
        assert is_reset(peer)
        assert scene.row.get(ACTIVE) == 0


def test_who_is_refused_may_see_an_end(gate):
    peer = gate(deny=("192.0.2.0/24",), refuse="close").come(CLIENT)
    assert not is_reset(peer)


def test_what_follows_a_header_is_the_clients(gate):
    scene = gate(**PROXIED)
    scene.come(data=HEADER + b"hello")
    [connection] = scene.admitted
    origin = connection.address
    assert (origin.peer, origin.host, origin.port) == ("1.2.3.4:1000", "1.2.3.4", 1000)
    assert (origin.proxy.peer, origin.proxy.destination) == ("10.0.0.1:6000", "5.6.7.8:80")
    assert connection.read() == b"hello"


@pytest.mark.parametrize("step", [1, 2, 7, 35, 36])
def test_a_header_may_come_in_pieces(gate, step):
    scene = gate(**PROXIED)
    peer, sent = scene.come(), HEADER + b"more"
    for at in range(0, len(sent), step):
        scene.send(peer, sent[at : at + step])
    assert [connection.address.peer for connection in scene.admitted] == ["1.2.3.4:1000"]
    assert scene.admitted[0].read() == b"more"
    assert not scene.loop.watched


def test_a_proxy_without_a_header_is_refused_with_the_reason(gate):
    scene = gate(**PROXIED)
    assert is_reset(scene.come(data=b"GET / HTTP/1.1\r\n"))
    assert scene.counts() == {"proxy": 1}
    assert "b'GET / HTTP/1.1" in scene.why()[0]


def test_who_is_no_proxy_cannot_forge_an_address(gate):
    scene = gate(**PROXIED)
    assert is_reset(scene.come(CLIENT, HEADER))
    assert scene.counts() == {"denied": 1}
    plain = gate(**PROXIED, proxy_others="plain")
    plain.come(CLIENT, HEADER)
    [connection] = plain.admitted
    assert connection.address == CLIENT
    assert connection.read() == HEADER


def test_behind_a_proxy_the_client_is_asked_for(gate):
    scene = gate(**PROXIED, deny=("1.2.3.0/24", "10.0.0.0/8"))
    scene.come(data=HEADER)
    assert (scene.counts(), scene.admitted) == ({"denied": 1}, [])
    scene.come(data=HEADER.replace(b"1.2.3.4", b"1.2.4.4"))
    assert len(scene.admitted) == 1


def test_a_unix_socket_may_be_a_proxy(gate):
    scene = gate(**PROXIED)
    scene.come("", HEADER)
    assert scene.admitted[0].address.proxy.peer == "unix"


def test_all_that_wait_too_long_are_refused(gate):
    scene = gate(**PROXIED, admission_seconds=5.0)
    silent = scene.come()
    scene.loop.now += 1
    begun = scene.come(data=HEADER[:-1])
    scene.loop.advance(scene.loop.now + 3.9)
    assert scene.counts() == {}
    scene.loop.advance(scene.loop.now + 0.1)
    assert (is_reset(silent), scene.counts(), len(scene.pending)) == (True, {"late": 1}, 1)
    assert "on_first_ack" in scene.why()[0]
    scene.send(begun, HEADER[-1:])
    assert len(scene.admitted) == 1
    assert not scene.pending
    scene.loop.advance(scene.loop.now + 10)
    late = scene.come(data=HEADER[:-1])
    scene.loop.advance(scene.loop.now + 5)
    assert (is_reset(late), scene.counts()) == (True, {"late": 2})


@pytest.mark.parametrize("sent", [b"", HEADER[:-1]])
@pytest.mark.parametrize("reset", [False, True])
def test_who_goes_before_the_header_is_whole_is_counted(gate, sent, reset):
    scene = gate(**PROXIED)
    peer = scene.come(data=sent)
    if reset:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
    scene.turn()
    assert (scene.counts(), scene.admitted, scene.why()) == ({"gone": 1}, [], [])
    assert not scene.loop.watched


def test_a_probe_is_told_to_nobody(gate):
    scene = gate(**PROXIED)
    scene.come(data=UNKNOWN).close()
    scene.turn()
    scene.loop.advance(scene.loop.now + 1)
    assert (scene.counts(), scene.admitted, scene.why()) == ({"probes": 1}, [], [])


@pytest.mark.parametrize("speaks", [False, True])
def test_a_proxy_that_names_no_client_comes_in_itself(gate, speaks):
    scene = gate(**PROXIED)
    peer = scene.come(data=UNKNOWN)
    assert not scene.admitted
    if speaks:
        scene.send(peer, b"hello")
    else:
        scene.loop.advance(scene.loop.now + 0.1)
    [connection] = scene.admitted
    assert (connection.address.peer, connection.address.proxy.local) == ("10.0.0.1:6000", True)
    assert connection.read() == (b"hello" if speaks else None)


class SlowHandshakes:
    """Handshakes that take their time, at all listeners."""

    def __init__(self):
        self.begun = []

    def __contains__(self, listener):
        return True

    def handshake(self, fd, listener, tell, may_begin):
        return SimpleNamespace(begin=lambda: self.begun.append(fd), end=lambda: None)


class Handshakes:
    """Handshakes of clients that are silent until the test has them speak, at all listeners."""

    def __init__(self):
        self.made, self.heard = [], []

    def __contains__(self, listener):
        return True

    def handshake(self, fd, listener, tell, may_begin):
        made = SimpleNamespace(begin=lambda: None, end=lambda: None, has_told=False)
        self.made.append(made)
        number = len(self.made)
        self.made[-1].go_on = lambda: self.heard.append(number)
        self.made[-1].speak = may_begin
        self.made[-1].tell = tell
        return self.made[-1]


def test_a_handshake_of_a_proxy_that_names_no_client_may_take_its_time(gate):
    scene = gate(**PROXIED)
    tls = scene.admission.tls = SlowHandshakes()
    peer = scene.come(data=UNKNOWN)
    scene.send(peer, b"\x16")
    scene.loop.advance(scene.loop.now + 1)
    assert (len(tls.begun), scene.admitted, scene.counts()) == (1, [], {})


def test_no_more_come_while_many_wait(gate):
    scene = gate(**PROXIED, max_admissions_per_worker=2)
    peers = [scene.come()]
    assert not scene.row.get(REFUSING)
    peers.append(scene.come())
    assert scene.row.get(REFUSING)
    scene.send(peers[0], HEADER)
    assert (scene.row.get(REFUSING), scene.wakes) == (0, [1])


def test_who_waits_has_less_time_while_others_find_no_place(gate):
    scene = gate(**PROXIED, max_admissions_per_worker=16, admission_seconds=10.0)
    silent = [scene.come() for _ in range(8)]
    scene.loop.advance(scene.loop.now + 0.6)
    young = [scene.come() for _ in range(8)]
    assert scene.row.get(REFUSING)
    scene.loop.advance(scene.loop.now + 0.25)
    assert scene.counts() == {}
    scene.loop.advance(scene.loop.now + 0.25)
    assert (scene.counts(), scene.row.get(REFUSING)) == ({"late": 2}, 0)
    why = scene.why()[0]
    assert why.startswith("16 waited, which is the most, and it has sent no PROXY header for 1 s")
    assert all(map(is_reset, silent[:2]))
    scene.send(silent[2], HEADER)
    assert len(scene.admitted) == 1
    scene.loop.advance(scene.loop.now + 5)
    assert scene.counts() == {"late": 2}  # nobody is pressed any more
    for peer in (*silent[3:], *young):
        scene.send(peer, HEADER)
    assert len(scene.admitted) == 14


def test_a_place_that_is_taken_again_at_once_is_made_free_again(gate):
    scene = gate(**PROXIED, max_admissions_per_worker=2, admission_seconds=10.0)
    for number in range(20):
        while not scene.row.get(REFUSING):
            scene.come()
        scene.loop.advance(scene.loop.now + 1)
        assert sum(scene.counts().values()) > number


def test_a_burst_finds_no_more_room_than_there_is(gate):
    scene = gate(**PROXIED, max_admissions_per_worker=2)
    assert not scene.admission.is_full()
    for _ in range(2):
        scene.come()
    assert scene.admission.is_full()


def test_a_client_that_has_to_speak_first_takes_no_place_before_it_does(gate):
    scene = gate(max_admissions_per_worker=2, admission_seconds=10.0, allow=("192.0.2.0/24",))
    tls = scene.admission.tls = Handshakes()
    for _ in range(20):
        scene.come(CLIENT)
    assert (len(scene.pending), scene.row.get(REFUSING)) == (20, 0)
    scene.loop.advance(scene.loop.now + 9)
    assert scene.counts() == {}  # nobody is pressed
    assert tls.made[3].speak()
    assert not scene.row.get(REFUSING)
    assert tls.made[5].speak()
    assert tls.made[5].speak()  # it has one already
    assert scene.row.get(REFUSING)
    scene.loop.advance(scene.loop.now + 1)
    assert (scene.counts(), scene.row.get(REFUSING)) == ({"late": 20}, 0)


def test_who_speaks_while_there_is_no_place_gets_the_next_one(gate):
    scene = gate(max_admissions_per_worker=2, admission_seconds=10.0, allow=("192.0.2.0/24",))
    tls = scene.admission.tls = Handshakes()
    for _ in range(6):
        scene.come(CLIENT)
    said = [each.speak() for each in tls.made[:5]]
    assert (said, tls.heard, scene.row.get(REFUSING)) == ([True, True, False, False, False], [], 1)
    tls.made[3].tell("it has gone away")  # it has had no place
    assert (tls.heard, scene.row.get(REFUSING)) == ([], 1)
    tls.made[1].tell("it has failed")
    assert (tls.heard, scene.row.get(REFUSING)) == ([3], 1)  # nobody who comes is before it
    assert tls.made[2].speak()
    scene.loop.advance(scene.loop.now + 1)
    assert scene.counts() == {"tls": 2, "late": 2}  # those that have had their places for long
    assert (tls.heard, scene.row.get(REFUSING)) == ([3, 5], 0)


@pytest.mark.parametrize("allowed", ["10.0.0.0/8", "192.0.2.0/24"])
def test_where_no_client_is_named_the_proxy_itself_must_be_allowed(gate, allowed):
    scene = gate(**PROXIED, allow=(allowed,))
    scene.come(data=UNKNOWN + b"hello")
    scene.turn()
    comes_in = allowed.startswith("10.")
    assert (len(scene.admitted), scene.counts()) == (comes_in, {} if comes_in else {"denied": 1})


def test_who_comes_in_while_the_worker_goes_away_is_told(gate):
    scene = gate(**PROXIED)
    first, second = scene.come(), scene.come()
    deadline = scene.loop.now + 3
    scene.admission.begin_to_drain(deadline)
    scene.send(first, HEADER)
    assert [connection.deadline for connection in scene.admitted] == [deadline]
    scene.loop.advance(deadline)
    assert is_reset(second)
    assert (scene.counts(), dict(scene.pending)) == ({"late": 1}, {})


def test_the_same_is_told_now_and_then_only(gate):
    scene = gate(deny=("192.0.2.0/24",))
    for _ in range(5):
        scene.come(CLIENT)
    scene.loop.advance(scene.loop.now + 10)
    scene.come(CLIENT)
    scene.loop.advance(scene.loop.now + 100)
    scene.come(CLIENT)
    counts = [fields["count"] for fields in scene.told.of(CONNECTIONS_REFUSED)]
    assert counts == [1, 4, 1, 1]


def test_the_origin_of_others_is_as_without_admission(gate):
    scene = gate(deny=("198.51.100.0/24",))
    scene.come(CLIENT)
    assert scene.admitted[0].address == CLIENT
    assert not isinstance(scene.admitted[0].address, ConnectionOrigin)


def test_a_client_has_no_more_connections_than_it_may(gate):
    scene = gate(max_per_client=2)
    for _ in range(3):
        last = scene.come(CLIENT)
    assert is_reset(last)
    assert (len(scene.admitted), scene.counts()) == (2, {"per_client": 1})
    assert scene.why() == ["192.0.2.7 has 2 connections, as many as it may (max_per_client)"]
    scene.come(("192.0.2.8", 1))
    assert len(scene.admitted) == 3
    scene.close(scene.admitted[0].sock.detach())
    scene.come(CLIENT)
    assert len(scene.admitted) == 4


def test_who_is_refused_for_another_reason_holds_no_place(gate):
    scene = gate(max_per_client=1, deny=("192.0.2.8",))
    for _ in range(3):
        scene.come(("192.0.2.8", 1))
    scene.come(CLIENT)
    assert (len(scene.admitted), scene.counts()) == (1, {"denied": 3})


def test_behind_a_proxy_it_is_the_client_that_is_limited(gate):
    scene = gate(**PROXIED, max_per_client=1)
    for _ in range(3):
        scene.come(data=HEADER)
    assert (len(scene.admitted), scene.counts()) == (1, {"per_client": 2})
    scene.come(data=HEADER.replace(b"1.2.3.4", b"1.2.3.5"))
    assert len(scene.admitted) == 2
    assert scene.told.of(CONNECTIONS_REFUSED)[0]["peer"] == "1.2.3.4:1000"


def test_a_proxy_itself_has_as_many_as_it_likes(gate):
    scene = gate(**PROXIED, max_per_client=1)
    for _ in range(5):
        scene.come(data=UNKNOWN + b"hello")
    scene.turn()
    assert (len(scene.admitted), scene.counts()) == (5, {})


def test_headers_that_never_end_take_no_place_of_a_client(gate):
    scene = gate(**PROXIED, proxy_others="plain", max_per_client=1, admission_seconds=5.0)
    for _ in range(5):
        scene.come(data=HEADER[:-1])
    scene.loop.advance(scene.loop.now + 5)
    scene.come(("1.2.3.4", 1))
    assert (len(scene.admitted), scene.counts()) == (1, {"late": 5})


def test_a_client_that_comes_too_often_is_refused(gate):
    scene = gate(rate_per_client="3/h", burst_per_client=3)
    for _ in range(5):
        scene.come(CLIENT)
    assert (len(scene.admitted), scene.counts()) == (3, {"rate": 2})


@pytest.mark.parametrize("by_uid", [False, True])
def test_users_are_clients_of_a_unix_socket_if_that_is_set(gate, by_uid):
    scene = gate(max_per_client=1, client_uid=by_uid)
    for _ in range(3):
        ours, peer = socket.socketpair()
        scene.callback(peer.close)
        ours.setblocking(False)
        scene.row.put(ACTIVE, scene.row.get(ACTIVE) + 1)
        scene.admission.begin(ours.detach(), "", 0, 17)
    assert len(scene.admitted) == (1 if by_uid else 3)
    assert scene.counts() == ({"per_client": 2} if by_uid else {})


@pytest.mark.parametrize(
    ("settings", "is_open"),
    [({}, True), ({"allow": ("::/0",)}, False), ({"deny": ("::/0",)}, False), (PROXIED, False)],
)
def test_a_listener_without_these_settings_asks_nobody(settings, is_open):
    assert AccessRules(Listen(address="tcp://127.0.0.1:7000", **settings)).is_open == is_open


def test_no_descriptor_is_left(gate):
    before = len(os.listdir("/proc/self/fd"))
    with ExitStack() as stack:
        scene = Gate(stack, **PROXIED)
        for data in (b"", b"x", HEADER, UNKNOWN, HEADER[:-1]):
            scene.come(data=data)
        scene.admission.begin_to_drain(scene.loop.now)
        scene.loop.advance(scene.loop.now + 20)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    "settings",
    [
        {"proxy": "any"},
        {"proxy_from": ("10.0.0.0/8",)},
        {"proxy_others": "plain"},
        {"proxy": "any", "proxy_from": ("unix",)},
        {"proxy": "any", "proxy_from": ("::1",)},
        {"allow": ("10.0.0.1/8",)},
    ],
    ids=["nobody named", "no version", "others of nobody", "no path", "no IPv4", "no network"],
)
def test_settings_that_let_nobody_in_are_refused(settings):
    with pytest.raises(ValueError, match=r"prox|host bits"):
        Listen(address="tcp://127.0.0.1:7000", **settings)


@pytest.mark.parametrize("reset", [False, True])
def test_bytes_that_are_gone_are_not_taken(reset):
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = socket.create_connection(server.getsockname())
        ours, address = server.accept()
    with ours:
        pending = PendingConnection(ours, address, listener=0, claim=1, due=0.0)
        peer.sendall(HEADER)
        assert pending.take(len(HEADER))
        if reset:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        assert not pending.take(1)
