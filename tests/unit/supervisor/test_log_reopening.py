"""The log file is opened anew by all processes, and told of when that is true."""

import os
from types import SimpleNamespace

import pytest

from host.ipc.protocol import REOPEN_LOG, OrderParser
from host.supervisor.log_reopening import LogReopening
from host.supervisor.workers.queries import ANSWER_SECONDS, WorkerQueries
from host.telemetry.events import LOG_NOT_REOPENED, LOG_REOPENED, Level
from host.telemetry.log_file import LogFile
from host.telemetry.logs import LogWriter
from support.fakes import FakeLoop, Told, record


class Workers(dict):
    """Workers by pid, each a handle with a record."""

    def __iter__(self):
        return iter(list(self.values()))


class Scene:
    """A log file, and workers who are asked and answer when the test says so."""

    def __init__(self, path, workers=2):
        self.path, self.loop, self.told = path, FakeLoop(), Told()
        file = LogFile(str(path)) if path else None
        self.log = LogWriter(2, lambda _: "\n", Level.INFO, file=file)
        self.pids = [1000 + slot for slot in range(workers)]
        self.workers = Workers(
            {pid: SimpleNamespace(record=record(slot)) for slot, pid in enumerate(self.pids)}
        )
        self.deaf, self.asked = set(), []
        self.queries = WorkerQueries(self.loop, self._send)
        telemetry = self.told.telemetry
        self.reopening = LogReopening(self.loop, telemetry, self.log, self.workers, self.queries)

    def _send(self, pid, data):
        if pid in self.deaf:
            return False
        [order] = OrderParser().feed(data)
        assert order.question == REOPEN_LOG
        self.asked.append((pid, order.number))
        return True

    def answer(self, error=""):
        """Have all who were asked answer, in this order."""
        asked, self.asked = self.asked, []
        for pid, number in asked:
            self.queries.take_answer(pid, {"number": number, "items": [{"error": error}]})

    def wait(self, seconds):
        self.loop.advance(self.loop.now + seconds)

    def end(self, pid):
        del self.workers[pid]
        self.queries.forget_worker(pid)

    @property
    def done(self):
        return [each["cause"] for each in self.told.of(LOG_REOPENED)]

    @property
    def failures(self):
        return [(each["process"], each["cause"]) for each in self.told.of(LOG_NOT_REOPENED)]


@pytest.fixture
def scene(tmp_path):
    made = Scene(tmp_path / "host.log")
    yield made
    os.close(made.log.file.descriptor)


def test_it_is_told_when_the_last_worker_has_answered(scene):
    scene.path.rename(scene.path.with_suffix(".1"))
    scene.reopening.begin("SIGUSR1")
    assert scene.path.exists()
    assert (sorted(pid for pid, _ in scene.asked), scene.done) == (scene.pids, [])
    scene.answer()
    assert scene.told.of(LOG_REOPENED) == [{"file": str(scene.path), "cause": "SIGUSR1"}]
    assert scene.failures == []


def test_without_a_log_file_nobody_is_asked():
    scene = Scene(None)
    scene.reopening.begin("SIGUSR1")
    assert (scene.asked, scene.told) == ([], [])


def test_a_host_without_workers_is_done_at_once(scene):
    scene.workers.clear()
    scene.reopening.begin("SIGUSR1")
    assert scene.done == ["SIGUSR1"]


def test_if_it_cannot_be_opened_here_no_worker_is_asked(scene):
    scene.path.unlink()
    scene.path.mkdir()
    scene.reopening.begin("SIGUSR1")
    assert (scene.asked, scene.done) == ([], [])
    assert scene.failures == [("the supervisor", "Is a directory")]


def test_a_worker_that_cannot_open_it_is_told_of(scene):
    scene.reopening.begin("SIGUSR1")
    scene.answer("Permission denied")
    assert sorted(scene.failures) == [
        (f"worker {slot} (pid {1000 + slot})", "Permission denied") for slot in range(2)
    ]
    assert scene.done == []


def test_who_does_not_answer_is_told_of_once_and_asked_until_it_does(scene):
    scene.reopening.begin("SIGUSR1")
    scene.asked.pop()
    scene.answer()
    scene.wait(ANSWER_SECONDS)
    late = ("worker 1 (pid 1001)", "it has not answered yet")
    assert (scene.failures, scene.done) == ([late], [])
    for _ in range(3):
        scene.wait(1.0)
        assert [pid for pid, _ in scene.asked] == [1001]
        scene.asked.clear()
        scene.wait(ANSWER_SECONDS)
    scene.wait(1.0)
    scene.answer()
    assert (scene.failures, scene.done) == ([late], ["SIGUSR1"])


def test_it_is_not_told_if_one_could_not_and_another_was_late(scene):
    scene.reopening.begin("SIGUSR1")
    late = scene.asked.pop()
    scene.answer("Permission denied")
    scene.wait(ANSWER_SECONDS)
    scene.wait(1.0)
    assert [pid for pid, _ in scene.asked] == [late[0]]
    scene.answer()
    assert scene.done == []
    scene.reopening.begin("SIGUSR1")
    scene.answer()
    assert scene.done == ["SIGUSR1"]


def test_who_takes_nothing_is_asked_again_and_not_waited_for_once_it_has_ended(scene):
    scene.deaf = {1001}
    scene.reopening.begin("SIGUSR1")
    scene.answer()
    assert scene.failures == [("worker 1 (pid 1001)", "it has not answered yet")]
    scene.end(1001)
    scene.wait(1.0)
    assert scene.done == ["SIGUSR1"]


def test_a_worker_that_ends_meanwhile_is_not_waited_for(scene):
    scene.reopening.begin("SIGUSR1")
    scene.end(1000)
    scene.asked = [each for each in scene.asked if each[0] != 1000]
    scene.answer()
    assert scene.done == ["SIGUSR1"]


def test_of_two_at_a_time_only_the_later_is_told(scene):
    scene.reopening.begin("SIGUSR1")
    first, scene.asked = scene.asked, []
    scene.reopening.begin("a reload")
    second, scene.asked = scene.asked, first
    scene.answer()
    assert scene.done == []
    scene.asked = second
    scene.answer()
    assert scene.done == ["a reload"]


def test_a_worker_that_answers_nonsense_does_no_harm(scene):
    scene.reopening.begin("SIGUSR1")
    for pid, number in scene.asked:
        scene.queries.take_answer(pid, {"number": number, "items": []})
    assert scene.done == ["SIGUSR1"]
