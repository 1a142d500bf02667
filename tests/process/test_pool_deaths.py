"""Processes of a pool that are killed or stopped at any moment: each task has one answer."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from host import PoolError, TaskLostError, TaskTimeoutError
from host.ipc.scoreboard import (
    TASKS_CANCELLED,
    TASKS_DONE,
    TASKS_FAILED,
    TASKS_LOST,
    TASKS_RUNNING,
    TASKS_TIMED_OUT,
    TASKS_WAITING,
)
from host.offload import processes
from host.telemetry.events import PLUGIN_PRINTED, POOL_NOT_STARTED, POOL_PROCESS_ENDED
from host.testing.machine import Stopwatch
from support.bad_tasks import be_stopped_at_the_end
from support.pooling import Client, bench, fork, give, nap, own_pid, say
from support.processes import children, descriptors

pytestmark = pytest.mark.process


class Answers:
    """Who was answered, and how often."""

    def __init__(self) -> None:
        self.count: Counter[int] = Counter()
        self.errors: list[BaseException] = []

    def callbacks(self, number: int) -> dict[str, object]:
        def fine(_value: object) -> None:
            self.count[number] += 1

        def failed(error: BaseException) -> None:
            self.count[number] += 1
            self.errors.append(error)

        return {"callback": fine, "error_callback": failed}


def test_the_kernel_ends_processes_first_when_memory_runs_out_also_those_that_begin() -> None:
    with bench(size=2) as made:  # spawned just now
        for pid in made.pids:
            assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "1000\n"


def test_one_of_four_processes_is_killed_with_twenty_tasks() -> None:
    answers = Answers()
    with bench(size=4) as made:
        made.begin()
        for number in range(20):
            seconds = 0.5 if number < 4 else 0.05  # the first are under way when one is killed
            made.pool.apply_async(nap, (seconds,), **answers.callbacks(number))
        os.kill(made.pids[0], signal.SIGKILL)
        made.run_until(lambda: len(answers.count) == 20)
        [error] = answers.errors
        assert isinstance(error, TaskLostError)
        assert (error.code, error.signal) == (None, signal.SIGKILL)
        assert set(answers.count.values()) == {1}
        made.begin()
        assert len(made.pids) == 4
        assert made.counts[TASKS_LOST] == 1
        assert made.counts[TASKS_DONE] == 19


@pytest.mark.parametrize("size", [1, 2])
def test_a_task_for_a_process_that_has_ended_is_done_by_another(size: int) -> None:
    answers = Answers()
    with bench(size=size) as made:
        made.begin()
        for pid in made.pids:
            os.kill(pid, signal.SIGKILL)
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # and the pool has not heard of it
        for number in range(6):
            made.pool.apply_async(nap, (0,), timeout=60.0, **answers.callbacks(number))
        made.run_until(lambda: len(answers.count) == 6)
        assert (answers.errors, set(answers.count.values())) == ([], {1})
        assert [made.counts[each] for each in (TASKS_DONE, TASKS_LOST, TASKS_WAITING)] == [6, 0, 0]
        assert made.counts[TASKS_RUNNING] == 0


def test_a_task_that_ends_whoever_receives_it_is_lost_and_not_given_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited = "import resource\nresource.setrlimit(resource.RLIMIT_AS, (300_000_000,) * 2)\n"
    (tmp_path / "limited.py").write_text(limited)
    monkeypatch.syspath_prepend(str(tmp_path))
    answers = Answers()
    with bench(size=1, preload=("limited",)) as made:
        made.begin()
        made.pool.apply_async(len, (b"small",), **answers.callbacks(0))
        made.run_until(lambda: len(answers.count) == 1)
        made.pool.apply_async(len, (bytes(400_000_000),), **answers.callbacks(1))
        made.run_until(lambda: len(answers.count) == 2)
        [error] = answers.errors
        assert isinstance(error, TaskLostError)
        assert made.told.names.count("pool_process_ended") == 1


def test_nobody_waits_for_ever_for_a_process_that_does_not_end() -> None:
    with bench(size=1) as made:
        made.begin()
        [process] = made.pool.processes
        process.wait(0.05)
        assert made.pids == [process.pid]


def test_processes_that_are_killed_whenever_they_begin_are_not_started_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deadly.py").write_text("import os\nos.kill(os.getpid(), 9)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with bench(size=1, preload=("deadly",)) as made:
        result = made.pool.apply_async(nap, (0,))
        made.run_until(result.ready)
        with pytest.raises(PoolError, match="before it was ready: killed by SIGKILL"):
            result.get()


def test_processes_that_end_before_they_have_done_a_task_are_started_more_and_more_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It is ready by then, or nearly so: either way nobody gets anything of it.
    text = "import os, threading\nthreading.Timer(0.1, os._exit, [7]).start()\n"
    (tmp_path / "brief.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    with bench(size=1, preload=("brief",)) as made:
        made.run_until(lambda: len(made.told.of_any(POOL_NOT_STARTED)) == 2)
        pauses = [each["seconds"] for each in made.told.of_any(POOL_NOT_STARTED)]
        assert pauses == [1.0, 2.0]


def test_those_that_somebody_kills_before_they_have_done_a_task_are_replaced_at_once() -> None:
    def kill_all() -> None:
        made.begin()
        before = set(made.pids)
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        made.run_until(lambda: not before & set(made.pids))

    with bench(size=4) as made:
        for _ in range(3):
            kill_all()
        made.begin()
        assert made.told.of_any(POOL_NOT_STARTED) == []


def test_one_that_is_stopped_before_it_is_ready_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processes, "_START_SECONDS", 1.0)
    with bench(size=1) as made:
        [pid] = made.pids
        os.kill(pid, signal.SIGSTOP)
        monkeypatch.setattr(processes, "_START_SECONDS", 60.0)
        result = made.pool.apply_async(give, (5,))
        made.run_until(result.ready)
        assert result.get() == 5
        assert made.pids != [pid]


def test_one_that_does_not_end_after_its_last_task_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processes, "_END_SECONDS", 0.2)
    with bench(size=1, max_tasks_per_process=1) as made:
        first = made.pool.apply_async(be_stopped_at_the_end)
        made.run_until(first.ready)
        [pid] = made.pids
        second = made.pool.apply_async(own_pid)
        made.run_until(second.ready)
        assert second.get() != pid
        assert made.told.of_any(POOL_PROCESS_ENDED) == []  # it has cost no task


@pytest.mark.parametrize("count", [3, 20_000])
def test_what_a_task_prints_is_told_in_turns_and_in_order(count: int) -> None:
    with bench(size=1) as made:
        made.begin()
        result = made.pool.apply_async(say, (count,))
        most = told = 0
        watch = Stopwatch()
        while told < count or not result.ready():
            assert not watch.has_passed(30.0), (told, made.told.names[-3:], made.pool.processes)
            made.loop.run_once(0.1)
            before, told = told, len(made.told.of_any(PLUGIN_PRINTED))
            most = max(most, told - before)
        assert result.get() == count
        # A piece is told when it comes, and more at the end of the turn.
        assert most <= 2 * (50 + 1024 / len("line 0\n"))
    texts = [each["text"] for each in made.told.of_any(PLUGIN_PRINTED)]
    assert texts == [f"line {number}" for number in range(count)]


def test_a_connection_keeps_one_function_for_its_end_however_many_its_tasks_are() -> None:
    with bench(size=1) as made:
        made.begin()
        visitor = Client()
        results = [made.pool.apply_async(nap, (0,), connection=visitor) for _ in range(50)]
        made.run_until(lambda: all(each.ready() for each in results))
        assert len(visitor.at_end) == 1


@pytest.mark.slow
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP])
def test_each_of_1000_tasks_has_one_answer_whenever_a_process_is_hit(blow: signal.Signals) -> None:
    # The blow falls after any number of turns: while a process starts, is given a task, works,
    # answers, or is idle.
    answers, dice, tasks = Answers(), random.Random(1), 1_000
    before = len(descriptors(os.getpid()))
    with bench(size=4, max_queued=tasks, timeout_seconds=20.0) as made:
        for number in range(tasks):
            made.pool.apply_async(
                nap,
                (dice.choice((0, 0, 0.001)),),
                timeout=0.1 if blow == signal.SIGSTOP and number % 5 == 0 else 20.0,
                **answers.callbacks(number),
            )
        hits = 0
        while made.pool.is_busy():
            for _ in range(dice.randrange(30)):
                made.loop.run_once(0.02)
            victims = made.pids
            if hits < 60 and victims:
                hits += 1
                with suppress(ProcessLookupError):
                    os.kill(dice.choice(victims), blow)
                if blow == signal.SIGSTOP:  # an idle one is hit as well: its next task wakes nobody
                    made.loop.call_later(0.3, lambda: wake(made.pids))
        made.run_until(lambda: len(answers.count) == tasks)
        assert set(answers.count.values()) == {1}
        kinds = Counter(type(error) for error in answers.errors)
        assert set(kinds) <= {TaskLostError, TaskTimeoutError}
        assert kinds[TaskLostError] <= hits
        assert made.counts[TASKS_WAITING] == made.counts[TASKS_RUNNING] == 0
        outcomes = (TASKS_DONE, TASKS_FAILED, TASKS_LOST, TASKS_TIMED_OUT)
        assert sum(made.counts[word] for word in outcomes) == tasks
        made.begin()
        assert len(made.pids) == 4
    assert len(descriptors(os.getpid())) - before <= 2  # what a maker of pools keeps
    assert [each for each in children(os.getpid()) if "python" in str(each)] == []


def wake(pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def test_a_client_with_10000_tasks_delays_others_by_no_more_than_sixteen() -> None:
    flood, clients, order = Client(), [Client() for _ in range(15)], []
    with bench(size=1, max_queued=25_000) as made:
        made.begin()

        def note(client: Client, _value: object) -> None:
            order.append(client)

        for number in range(10_000):
            made.pool.apply_async(give, (number,), callback=note, connection=flood)
        made.run_until(lambda: len(order) >= 100)
        asked = len(order)
        for client in clients:
            made.pool.apply_async(own_pid, callback=note, connection=client)
        made.run_until(lambda: all(client in order for client in clients))
        waited = [order.index(client) - asked for client in clients]
        # One task runs already, one is before it of each other.
        assert max(waited) <= 16
        flood.end()
        assert not made.pool.is_busy()
        assert made.counts[TASKS_DONE] + made.counts[TASKS_CANCELLED] == 10_000 + len(clients)


def test_a_flood_is_refused_before_it_takes_the_room_of_others() -> None:
    flood, other = Client(), Client()
    with bench(size=1, max_queued=100) as made:
        for number in range(50):
            made.pool.apply_async(give, (number,), connection=flood)
        with pytest.raises(Exception, match=r"pools.p.max_queued is 100"):
            made.pool.apply_async(give, (0,), connection=flood)
        result = made.pool.apply_async(own_pid, connection=other)
        made.run_until(result.ready)
        assert result.get() in made.pids
        assert other.answers == 0


def test_tasks_that_are_cancelled_are_counted_however_they_are() -> None:
    with bench(size=1) as made:
        made.begin()
        visitor = Client()
        made.pool.apply_async(nap, (1000,)).cancel()  # it runs
        made.pool.apply_async(nap, (1000,))
        made.pool.apply_async(nap, (1000,)).cancel()  # it waits
        for _ in range(3):
            made.pool.apply_async(nap, (1000,), connection=visitor)
        visitor.end()
        failed = made.pool.map_async(nap, [-1, 1000, 1000])  # one of them fails for all
        assert made.counts[TASKS_CANCELLED] == 5
        assert (made.counts[TASKS_WAITING], made.counts[TASKS_RUNNING]) == (4, 1)
        os.kill(made.pids[0], signal.SIGKILL)  # that of the first task
        made.run_until(lambda: made.counts[TASKS_RUNNING] == 1 and made.counts[TASKS_WAITING] == 3)
        os.kill(made.pids[0], signal.SIGKILL)  # that of the second one
        made.run_until(failed.ready)
        assert (made.counts[TASKS_LOST], made.counts[TASKS_FAILED]) == (1, 1)
        assert made.counts[TASKS_CANCELLED] == 7
        made.pool.apply_async(nap, (1000,), connection=(late := Client()))
        made.begin()
        made.run_until(lambda: made.counts[TASKS_RUNNING] == 1)
        late.end()  # its process has a moment, and the worker ends meanwhile
    assert made.counts[TASKS_CANCELLED] == 8
    assert (made.counts[TASKS_WAITING], made.counts[TASKS_RUNNING]) == (0, 0)


def test_large_arguments_and_results_pass_whole() -> None:
    data = os.urandom(20_000_000)
    with bench(size=2) as made:
        results = [made.pool.apply_async(give, (data,)) for _ in range(3)]
        made.run_until(lambda: all(each.ready() for each in results))
        assert [each.get() == data for each in results] == [True] * 3


def test_a_fork_of_a_task_that_comes_back_takes_no_tasks() -> None:
    with bench(size=1) as made:
        made.begin()
        results = [made.pool.apply_async(each) for each in (fork, own_pid) * 10]
        made.run_until(lambda: all(each.ready() for each in results))
        assert [each.get() for each in results] == made.pids * 20
