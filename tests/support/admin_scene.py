"""An admin socket for tests: its server, a loop that is run by hand, and clients."""

import itertools
import json
import os
import select
import socket
from contextlib import contextmanager, suppress

from host.control.server import ControlServer
from host.control.wire import address
from host.runtime.loop import Loop
from host.testing.machine import Stopwatch
from support.fakes import Told

DEADLINE_SECONDS = 10.0
NUMBERS = itertools.count()


def fresh_name():
    """A name that no host has."""
    return f"test-admin-{os.getpid()}-{next(NUMBERS)}"


def request(command="status", **more):
    return json.dumps({"v": 1, "command": command, **more}).encode() + b"\n"


class Client:
    """Somebody who is connected."""

    def __init__(self, scene):
        self.scene, self.received = scene, b""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(address(scene.name))
        self.sock.setblocking(False)

    def send(self, data):
        self.sock.sendall(data)

    def ask(self, command="status", **more):
        self.send(request(command, **more))
        return self.response()

    def response(self):
        """Run the loop until there is a response."""
        self.scene.until(lambda: b"\n" in self.take())
        line, _, self.received = self.received.partition(b"\n")
        return json.loads(line)

    def error(self):
        response = self.response()
        assert response["v"] == 1
        assert response["ok"] is False
        return response["error"]

    def take(self):
        """Take what has come."""
        with suppress(BlockingIOError, ConnectionResetError):
            self.received += self.sock.recv(1_000_000)
        return self.received

    @property
    def is_closed(self):
        poll = select.poll()
        poll.register(self.sock, 0)
        return bool(poll.poll(0))

    def close(self):
        self.sock.close()


class Scene:
    """A server and its loop; `answers` has what a command is answered, or a function that does."""

    def __init__(self):
        self.name = fresh_name()
        self.now = 1000.0
        self.loop, self.told = Loop(clock=lambda: self.now), Told()
        self.asked, self.answers, self.clients = [], {}, []
        self.server = self.serve(ControlServer.bind(self.name))

    def serve(self, sock):
        return ControlServer(self.loop, self.told.telemetry, sock, self.handle)

    def handle(self, command, args, reply):
        self.asked.append((command, args))
        answer = self.answers.get(command, {"done": command})
        if callable(answer):
            return answer(args, reply)
        return reply.result(answer)

    def until(self, condition):
        watch = Stopwatch()
        while not condition():
            assert not watch.has_passed(DEADLINE_SECONDS), f"not within {watch.seconds:.1f} s"
            self.loop.run_once(0)

    def settle(self):
        """Run the loop until there is nothing more to do."""
        for _ in range(10):
            self.loop.run_once(0)

    def pass_time(self, seconds):
        self.now += seconds
        self.settle()

    def client(self):
        self.clients.append(Client(self))
        return self.clients[-1]

    def close(self):
        for client in self.clients:
            client.close()
        self.server.close()
        self.loop.close()


@contextmanager
def running():
    scene = Scene()
    try:
        yield scene
    finally:
        scene.close()
