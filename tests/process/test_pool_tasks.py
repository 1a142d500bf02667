"""Tasks that end, break or flood their process: each has one answer, and so have its neighbours."""

from __future__ import annotations

import os
import signal
import socket
from typing import Any, cast

import pytest

from host import PicklingError, TaskLostError, TaskTimeoutError
from host.offload.child import FOLLOWED, TASK
from host.offload.process import PoolProcess
from host.telemetry.events import PLUGIN_PRINTED, POOL_PROCESS_ENDED
from support import bad_tasks as bad
from support.pooling import Bench, bench

pytestmark = pytest.mark.process

NEIGHBOURS = 6


def ask(made: Bench, func: Any, *args: Any) -> Any:
    """Have a task done between others; return what it has returned or raised."""
    answers: list[Any] = []
    heard: list[int] = []
    for number in range(NEIGHBOURS // 2):
        made.pool.apply_async(bad.give, (number,), callback=heard.append)
    made.pool.apply_async(func, args, callback=answers.append, error_callback=answers.append)
    for number in range(NEIGHBOURS // 2, NEIGHBOURS):
        made.pool.apply_async(bad.give, (number,), callback=heard.append)
    made.run_until(lambda: not made.pool.is_busy())
    assert sorted(heard) == list(range(NEIGHBOURS))
    [answer] = answers
    return answer


def test_a_process_is_told_whether_other_tasks_wait() -> None:
    with bench(size=1) as made:
        made.begin()
        (process,) = made.pool.processes
        frames = watch_frames(process)
        for number in range(3):
            made.pool.apply_async(bad.give, (number,))
        made.run_until(lambda: not made.pool.is_busy())
        assert frames == [TASK, TASK | FOLLOWED, TASK]  # the first was given before others waited


def watch_frames(process: PoolProcess) -> list[int]:
    """Return the kinds of frames that a process is sent from now on, as they are."""
    kinds: list[int] = []
    write = process._sock.send

    class Watched:
        def send(self, data: bytes) -> int:
            kinds.append(data[0])
            return write(data)

        def __getattr__(self, name: str) -> Any:
            return getattr(sock, name)

    sock = process._sock
    process._sock = cast("socket.socket", Watched())
    return kinds


ANSWERED = [
    (bad.fork_and_print, (), "forked"),
    (bad.close_the_first, (), "closed"),
    (bad.close_the_output, (), "closed"),
    (bad.print_much, (), "printed"),
    (bad.signal_itself, (), "here"),
    (bad.end_programs, (), [-number for number in bad.SIGNALS]),
    (bad.end_forks, (), [-number for number in bad.SIGNALS[1:]]),
    (bad.interrupt_a_fork, (), 130),
    (bad.outlive_a_thread, (), 5),
    (bad.outlive_a_fork, (), b"there"),
    (bad.end_processes, (), [-signal.SIGTERM] * 10),
]
FAILED = [
    (bad.end_at_once, (), TaskLostError, "exit code 7"),
    (bad.crash, (), TaskLostError, "killed by SIGABRT"),
    (bad.close_all, (), TaskLostError, "has ended"),
    (bad.write_to_the_socket, (), TaskLostError, "has ended"),
    (bad.write_what_looks_like_a_frame, (), TaskLostError, "has ended"),
    (bad.shut_the_socket_down, (), TaskLostError, "has ended"),
    (bad.be_stopped, (), TaskTimeoutError, "was not done"),
    (bad.wait_for_ever, (), TaskTimeoutError, "was not done"),
    (bad.raise_it, (KeyboardInterrupt(),), KeyboardInterrupt, ""),
    (bad.raise_it, (SystemExit(3),), SystemExit, "3"),
    (bad.raise_it, (GeneratorExit(),), GeneratorExit, ""),
    (bad.raise_odd, (), PicklingError, "raised what cannot be pickled"),
    (bad.return_a_function, (), PicklingError, "cannot be pickled"),
    (bad.return_what_raises, (SystemExit(3),), PicklingError, "unpickled: SystemExit: 3"),
    (bad.return_what_raises, (KeyboardInterrupt(),), PicklingError, "unpickled: Keyboard"),
]


def test_each_bad_task_has_one_answer_and_so_have_its_neighbours() -> None:
    with bench(size=2, timeout_seconds=3.0) as made:
        made.begin()
        for func, args, value in ANSWERED:
            assert ask(made, func, *args) == value
        for func, args, kind, text in FAILED:
            error = ask(made, func, *args)
            assert type(error) is kind, func
            assert text in str(error), func
        made.begin()


def test_a_fork_that_goes_on_holds_nothing_up() -> None:
    with bench(size=1) as made:
        made.begin()
        fork = ask(made, bad.leave_a_fork)
        try:
            assert isinstance(ask(made, bad.end_at_once), TaskLostError)
            assert ask(made, bad.give, 1) == 1
            os.kill(fork, 0)  # it has been there all the time
        finally:
            os.kill(fork, signal.SIGKILL)


def test_a_task_may_spawn_processes_of_multiprocessing() -> None:
    with bench(size=1, timeout_seconds=25.0) as made:
        assert ask(made, bad.spawn_processes) == [1, 2]


def test_a_task_that_leaves_no_descriptor_free_is_done_and_its_process_replaced() -> None:
    with bench(size=1, max_memory_bytes=2**40) as made:
        made.begin()
        before = made.pids
        assert ask(made, bad.leave_no_descriptor) == "full"
        made.begin()
        assert made.pids != before
        assert made.told.of_any(POOL_PROCESS_ENDED) == []


def test_a_large_result_passes_whole_and_others_do_not_wait_for_it() -> None:
    with bench(size=2) as made:
        made.begin()
        assert len(ask(made, bad.large, 200)) == 200 * bad.MIB


def test_lines_are_told_as_they_were_printed() -> None:
    with bench(size=1) as made:
        made.begin()
        assert ask(made, bad.print_lines) == "printed"
        texts = [each["text"] for each in made.told.of_any(PLUGIN_PRINTED)]
        assert texts == ["a", "b", "c", "", "d"]


def test_threads_that_print_for_ever_break_no_answer() -> None:
    with bench(size=1) as made:
        made.begin()
        assert ask(made, bad.leave_threads) == bad.large(3)
        for _ in range(10):
            assert ask(made, bad.large, 3) == bad.large(3)
        texts = {each["text"] for each in made.told.of_any(PLUGIN_PRINTED)}
        assert texts == {"of a thread " * 20}


def test_processes_are_replaced_under_load() -> None:
    with bench(size=2, max_tasks_per_process=3, max_queued=500) as made:
        results = [made.pool.apply_async(bad.give, (number,)) for number in range(200)]
        made.run_until(lambda: all(each.ready() for each in results))
        assert [each.get() for each in results] == list(range(200))
        made.begin()
