"""Connections over real sockets, plain or with TLS: the host's end, and peers that never wait."""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
from dataclasses import replace
from pathlib import Path

from host.interfaces import CloseReason
from host.net.sockets import pending_error, reset_on_close
from host.runtime.loop import Loop
from host.settings import Listen, Loaded, Settings
from host.testing.machine import Stopwatch, patience
from host.testing.tls_client import TlsClient
from host.tls.tables import load_tables
from host.worker.connection import SocketConnection
from host.worker.timeouts import Timeouts
from host.worker.tls_setup import TlsSetup
from support.certificates import table
from support.connections import Worker

SECONDS = 20
ROOM = 4096
LINGER_RESETS = struct.pack("ii", 1, 0)


class Served(Worker):
    """A worker whose connections have real sockets; its time passes when the test says so.

    Args:
        authority: issues the certificate; None for connections without TLS.
        version: the version of TLS.
        idle, write: the time-outs, in seconds.
        limits: as for `Worker`.
    """

    def __init__(self, authority=None, version=None, *, idle=0.0, write=60.0, **limits):
        super().__init__(**limits)
        self.now = 1000.0
        self.loop = Loop(clock=lambda: self.now)
        self.loop.on_turn_end = self.end_turn
        self.context = replace(
            self.context,
            loop=self.loop,
            read=os.read,
            read_into=os.readv,
            write=os.write,
            write_pieces=os.writev,
            send_file=os.sendfile,
            close=os.close,
            discard=os.read,
            error=pending_error,
            reset=reset_on_close,
            on_end=self._ended,
        )
        self.timeouts = Timeouts(
            self.loop, self.context.connections, idle_timeout=idle, write_timeout=write
        )
        self.peers, self._tls, self._client = [], None, None
        if authority is not None:
            self._begin_tls(authority, version)

    def _ended(self, connection, reason):
        self.ends.append((connection, reason))
        self.context.open.discard(connection)

    def _begin_tls(self, authority, version):
        listen = (Listen(address="tcp://127.0.0.1:7000", tls="tests"),)
        tables = {"tests": table(authority.files("a", "localhost"))}
        loaded = Loaded(Settings(tls=tables, listen=listen))
        self._tls = TlsSetup(load_tables(loaded), loaded.settings, self.loop)
        contexts = [self.context]
        self._tls.take_over(contexts, None)
        [self.context] = contexts
        self._client = authority.client()
        self._client.minimum_version = self._client.maximum_version = version

    def meet(self, room=None):
        """Accept a connection; return it and its peer.

        Args:
            room: bytes that the kernel keeps in each direction, about; None for what is usual.
        """
        with socket.create_server(("127.0.0.1", 0)) as listening:
            near, far = socket.socket(), None
            if room:  # with the segments of the loopback device it would be megabytes (tcp(7))
                near.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1460)
                near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
                near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
            near.settimeout(patience(SECONDS))
            near.connect(listening.getsockname())
            far, address = listening.accept()
        far.setblocking(False)
        if room:
            far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
        if self._tls is not None:
            near, address = self._shake(near, far, address)
        near.setblocking(False)
        self._serial += 1
        connection = SocketConnection(far.detach(), address, self._serial, self.context)
        connection.watch()
        self.context.open.add(connection)
        connection.begin()
        self.peers.append(Peer(self, near))
        return connection, self.peers[-1]

    def _shake(self, near, far, address):
        """Have both ends agree on TLS; return the peer's end, and what is known of the peer."""
        told, peer = [], TlsClient(near, self._client, "localhost")
        client = threading.Thread(target=peer.meet)
        client.start()
        handshake = self._tls.handshake(far.fileno(), 0, told.append)
        handshake.begin()
        self.until(lambda: told, "the handshake is done")
        assert told == [""]
        handshake.end()
        client.join()
        return peer, self._tls.begin(far.fileno(), handshake.session, 0, address)[1]

    def end_turn(self):
        super().end_turn()
        self.timeouts.arm()

    def turns(self, count=5):
        """Have some turns, in which all is done that can be done without the peer."""
        for _ in range(count):
            self.loop.run_once(0)

    def until(self, condition, what):
        """Have turns until something holds."""
        watch = Stopwatch()
        while not condition():
            assert not watch.has_passed(SECONDS), f"within {watch.seconds:.1f} s: {what}"
            self.loop.run_once(0.001)

    def until_arrived(self, connection):
        """Wait until the kernel has something for a connection, without having it read."""
        assert select.select([connection.fileno()], [], [], patience(SECONDS))[0]

    def pass_time(self, seconds):
        self.now += seconds
        self.turns()

    def close(self):
        for connection in list(self.context.open):
            connection.cut(CloseReason.OPERATOR)
        for peer in self.peers:
            peer.sock.close()
        self.loop.close()


class Peer:
    """The other end of a connection: nothing that it does waits.

    Attributes:
        received: what has come so far.
        end: how the connection has ended: "end", "reset", or None as long as it goes on.
    """

    def __init__(self, served, sock):
        self.served, self.sock = served, sock
        self.received, self.end = b"", None

    def send(self, data):
        """Send all of `data`, while the host has its turns."""
        sent = 0
        while sent < len(data):
            sent += self.offer(data[sent:])
            self.served.loop.run_once(0)
        while getattr(self.sock, "unsent", False):  # records of the last part
            self.take()
            self.served.loop.run_once(0)

    def offer(self, data):
        """Send what the kernel takes of `data`; return how much."""
        try:
            return self.sock.send(data)
        except BlockingIOError:
            return 0

    def finish(self):
        """Tell the host that nothing more comes."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self):
        fd = self.sock.fileno()
        with socket.socket(fileno=os.dup(fd)) as sock, Path(os.devnull).open("rb") as nothing:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESETS)
            os.dup2(nothing.fileno(), fd)  # the last descriptor of the socket is closed

    def take(self, size=65_536):
        """Receive what is there."""
        try:
            data = self.sock.recv(size)
        except BlockingIOError:
            return
        except ConnectionResetError:
            self.end = "reset"
        else:
            self.received += data
            self.end = self.end or (None if data else "end")

    def until(self, expected):
        """Receive until this has come, and nothing else."""
        self.served.until(lambda: self._has(len(expected)), f"{len(expected)} bytes come")
        assert self.received == expected

    def until_end(self):
        """Receive until the end; return how it came."""
        self.served.until(lambda: self.take() or self.end, "the connection ends")
        return self.end

    def _has(self, size):
        if len(self.received) < size and self.end is None:
            self.take()
        return len(self.received) >= size or self.end
