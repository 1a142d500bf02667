"""Probes are answered at once while the supervisor executes itself, or ends."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import ExitStack, closing
from types import SimpleNamespace

import pytest

from host.errors import RemoteError
from host.ipc.host_counts import HostCounts
from host.ipc.scoreboard import PID, SUSPENDED, Scoreboard
from host.ops.readiness import Readiness

NOW, LONGEST = 1000.0, 60.0


class Scene:
    """A host with two generations, of which the older one drains; its supervisor is a future."""

    def __init__(self, stack):
        self.counts = stack.enter_context(closing(HostCounts()))
        boards = [stack.enter_context(closing(Scoreboard(1))) for _ in range(2)]
        self.old, self.new = (board.use(0, 0) for board in boards)
        generations = tuple(SimpleNamespace(scoreboard=board) for board in boards)
        self.host = SimpleNamespace(counts=self.counts, generations=generations)
        self.asked = 0

    async def answer(self):
        self.asked += 1
        return await self.answered

    async def ask(self, meanwhile=lambda: None):
        self.answered = asyncio.get_running_loop().create_future()
        readiness = Readiness(self.host, self, LONGEST, lambda: NOW)
        asking = asyncio.ensure_future(readiness.reason_against())
        await asyncio.sleep(0)
        meanwhile()
        async with asyncio.timeout(10):
            return await asking


@pytest.fixture
def scene():
    with ExitStack() as stack:
        yield Scene(stack)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ({"ready": True}, ""),
        ({"ready": False, "not_ready": "the host is stopping"}, "the host is stopping"),
    ],
)
def test_the_supervisor_says_it(scene, found, reason):
    assert asyncio.run(scene.ask(lambda: scene.answered.set_result(found))) == reason


def test_a_supervisor_that_does_not_answer_is_an_error(scene):
    with pytest.raises(RemoteError, match="hangs"):
        asyncio.run(scene.ask(lambda: scene.answered.set_exception(RemoteError("it hangs"))))


def test_one_that_executes_itself_is_not_asked(scene):
    scene.new.put(PID, os.getpid())
    scene.counts.executing_since = NOW - LONGEST + 1
    assert asyncio.run(scene.ask()) == ""
    assert not scene.asked


def test_one_that_begins_to_while_it_is_asked_is_not_waited_for(scene):
    scene.new.put(PID, os.getpid())

    def execute():
        scene.counts.executing_since = NOW

    assert asyncio.run(scene.ask(execute)) == ""
    assert scene.asked


def test_an_error_of_one_that_executes_itself_is_none(scene):
    scene.new.put(PID, os.getpid())

    def execute():
        scene.counts.executing_since = NOW
        scene.answered.set_exception(RemoteError("it has closed the connection"))

    assert asyncio.run(scene.ask(execute)) == ""


def test_one_that_ends_is_not_waited_for(scene):
    def end():
        scene.counts.is_ending = True

    assert asyncio.run(scene.ask(end)) == "the host is stopping"
    assert scene.asked == 1
    assert asyncio.run(scene.ask()) == "the host is stopping"
    assert scene.asked == 1


def test_one_that_does_so_for_too_long_is_asked(scene):
    scene.new.put(PID, os.getpid())
    scene.counts.executing_since = NOW - LONGEST
    assert asyncio.run(scene.ask(lambda: scene.answered.set_result({"ready": True}))) == ""
    assert scene.asked


def test_without_a_worker_of_the_newest_generation_that_takes_connections_it_is_not_ready(scene):
    scene.counts.executing_since = NOW
    scene.old.put(PID, os.getpid())
    assert asyncio.run(scene.ask()) == ""  # no other one has begun
    scene.new.put(PID, os.getpid())
    assert asyncio.run(scene.ask()) == ""
    scene.new.put(SUSPENDED, 1)
    assert asyncio.run(scene.ask()) == "no worker takes connections"


def test_a_worker_that_has_died_takes_no_connections_whether_it_was_reaped_or_not(scene):
    scene.counts.executing_since = NOW
    with subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE) as program:
        scene.new.put(PID, program.pid)
        os.waitid(os.P_PID, program.pid, os.WEXITED | os.WNOWAIT)
        assert asyncio.run(scene.ask()) == "no worker takes connections"
    assert asyncio.run(scene.ask()) == "no worker takes connections"
