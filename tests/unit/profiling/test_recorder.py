"""What is measured of a worker, and what its file holds."""

import json
import os
import subprocess
import sys

import pytest

from host.ipc.scoreboard import ACCEPTED_ALL, Scoreboard
from host.plugin import binding
from host.plugin.binding import Implementation
from host.profiling.recorder import Recorder, collect, prepare, run_name
from host.profiling.report import summarize
from host.runtime.loop import Loop

RUN = "7-1234"


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def passes(self, seconds):
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def profile(tmp_path, clock):
    return Recorder(tmp_path, RUN, clock)


@pytest.fixture
def row():
    board = Scoreboard(1)
    yield board.use(0, 0)
    board.close()


@pytest.fixture
def loop(clock):
    loop = Loop(clock=clock)
    yield loop
    loop.close()


def implementation(function, plugin="echo", hook="on_readable", **more):
    return Implementation(
        plugin, hook, function, ("connection",), ("connection",), "on_readable", **more
    )


def hooks(profile):
    return {
        (each["plugin"], each["hook"]): (
            each["calls"],
            round(each["seconds"], 6),
            round(each["longest"], 6),
        )
        for each in profile.measured()["hooks"]
    }


class TestHooks:
    def test_calls_are_counted_and_summed_and_the_longest_is_kept(self, profile, clock):
        timed = profile.timed(implementation(clock.passes))
        for seconds in (1, 5, 2):
            timed(seconds)
        assert hooks(profile) == {("echo", "on_readable"): (3, 8, 5)}

    def test_the_answer_and_the_arguments_are_the_functions_own(self, profile):
        timed = profile.timed(implementation(lambda connection: [connection]))
        assert timed("it") == ["it"]

    def test_a_call_that_raises_counts(self, profile, clock):
        def fails(connection):
            clock.passes(3)
            raise SystemExit

        with pytest.raises(SystemExit):
            profile.timed(implementation(fails))("it")
        assert hooks(profile) == {("echo", "on_readable"): (1, 3, 3)}

    def test_what_is_called_within_a_call_is_not_the_callers_own_time(self, profile, clock):
        inner = profile.time("line", "on_line", clock.passes)

        def outer(_):
            clock.passes(1)
            inner(4)
            inner(2)

        timed = profile.timed(implementation(outer))
        timed("it")
        timed("it")
        assert hooks(profile) == {
            ("line", "on_line"): (4, 12, 4),
            ("echo", "on_readable"): (2, 2, 7),
        }

    def test_a_plugin_of_two_listeners_has_one_line(self, profile, clock):
        for _ in range(2):
            profile.timed(implementation(clock.passes))(1)
        assert hooks(profile) == {("echo", "on_readable"): (2, 2, 1)}

    def test_a_hook_that_nobody_called_has_none(self, profile, clock):
        profile.timed(implementation(clock.passes))
        assert hooks(profile) == {}


class TestWrappers:
    """A wrapper is timed before it yields and after it, and not while others are called."""

    @pytest.fixture
    def call(self, profile, clock):
        def call(plain, wrapper):
            both = [
                implementation(wrapper, plugin="wraps", wrapper=True),
                implementation(plain),
            ]
            return binding.bound(binding.measured(both, profile.timed))("it")

        return call

    def test_its_two_parts_are_timed(self, call, profile, clock):
        def wrapper(connection):
            clock.passes(1)
            answer = yield
            clock.passes(2)
            return answer

        call(lambda connection: clock.passes(8), wrapper)
        assert hooks(profile) == {
            ("wraps", "on_readable"): (2, 3, 2),
            ("echo", "on_readable"): (1, 8, 8),
        }

    def test_it_may_catch_what_the_others_raise(self, call):
        caught = []

        def wrapper(connection):
            try:
                yield
            except ValueError as error:
                caught.append(error)
            return []

        def fails(connection):
            raise ValueError("no")

        call(fails, wrapper)
        assert [str(error) for error in caught] == ["no"]

    def test_it_may_raise(self, call, profile):
        def wrapper(connection):
            yield
            raise KeyError(connection)

        with pytest.raises(KeyError):
            call(lambda connection: None, wrapper)
        assert hooks(profile)["wraps", "on_readable"][0] == 2

    def test_one_that_does_not_yield_fails_as_it_does_unmeasured(self, call):
        def wrapper(connection):
            if connection is None:
                yield

        with pytest.raises(RuntimeError, match="yield"):
            call(lambda connection: None, wrapper)


def test_without_a_measure_implementations_are_as_they_are():
    both = [implementation(print), implementation(repr)]
    assert binding.measured(both, None) is both


class TestLoop:
    @pytest.fixture
    def measured(self, profile, loop, row, clock):
        """Return a function that takes turns: each waits, has so many events, and is busy."""
        waits = []
        loop._poll = lambda timeout, most: (clock.passes(waits[0][0]), waits[0][1])[1]
        row.put(ACCEPTED_ALL, 40)

        def measured(*turns):
            loop.on_turn_end = lambda: clock.passes(waits[0][2])
            profile.attend(loop, row, "worker-0-1")
            for wait, events, busy in turns:
                waits[:] = [(wait, [(-1 - number, 1) for number in range(events)], busy)]
                loop.run_once()
            row.put(ACCEPTED_ALL, 42)
            return profile.measured()

        return measured

    def test_waits_and_turns_are_told_apart(self, measured):
        record = measured((8, 1, 0.5), (4, 3, 1.5))
        assert (record["busy"], record["waiting"], record["longest_turn"]) == (2, 12, 1.5)
        assert (record["waits"], record["events"], sum(record["turns"])) == (2, 4, 2)
        assert record["seconds"] == 14

    def test_accepted_is_what_this_worker_has_accepted(self, measured):
        assert measured()["accepted"] == 2

    @pytest.mark.parametrize(
        ("microseconds", "bucket"),
        [(0.5, 0), (1.5, 1), (2.5, 2), (3.5, 2), (4.5, 3), (1000.5, 10), (1024.5, 11), (4e6, 22)],
    )
    def test_turns_are_counted_by_powers_of_two(self, measured, microseconds, bucket):
        record = measured((1, 0, microseconds / 1e6))
        assert record["turns"] == [*[0] * bucket, 1]

    def test_two_waits_of_one_turn_are_two_waits_and_one_turn(self, profile, loop, row, clock):
        loop._poll = lambda timeout, most: clock.passes(1) or []
        loop.call_at(clock.now + 0.5, lambda: clock.passes(2))
        profile.attend(loop, row, "worker-0-1")
        loop.run_once()
        record = profile.measured()
        assert (record["waits"], sum(record["turns"])) == (2, 1)
        assert (record["waiting"], record["busy"]) == (2, 2)

    def test_a_loop_that_nobody_measures_waits_directly(self, loop):
        assert loop._poll == loop._epoll.poll

    def test_the_process_is_told_of(self, measured):
        record = measured()
        assert record["user"] + record["system"] > 0
        assert record["voluntary_switches"] + record["involuntary_switches"] >= 0


class TestFiles:
    def test_a_worker_writes_one_file_when_it_ends(self, profile, loop, row, tmp_path):
        profile.attend(loop, row, "worker-3-99")
        assert [path.name for path in tmp_path.iterdir()] == [f"worker-3-99.{RUN}.part"]
        profile.save(3, 1)
        [path] = tmp_path.iterdir()
        assert path.name == "worker-3-99.json"
        record = json.loads(path.read_text())
        assert record["run"] == RUN
        assert (record["slot"], record["pid"], record["generation"]) == (3, os.getpid(), 1)
        assert collect(tmp_path, RUN) == ([record], 0)

    def test_what_is_not_of_this_run_is_left_alone(self, profile, loop, row, tmp_path):
        others = {
            "worker-0-1.json": '{"run": "6-1"}',
            "worker-0-2.json": "{",
            "worker-0-3.json": "[]",
            "worker-0-4.6-1.part": "",
            "notes.txt": "",
        }
        for name, text in others.items():
            (tmp_path / name).write_text(text)
        (tmp_path / "worker-0-5.json").mkdir()
        profile.attend(loop, row, "worker-1-9")
        profile.save(1, 0)
        found, missing = collect(tmp_path, RUN)
        assert ([each["slot"] for each in found], missing) == ([1], 0)
        left = {path.name for path in tmp_path.iterdir()}
        assert left == {*others, "worker-0-5.json", "worker-1-9.json"}

    def test_who_has_died_is_missing_and_leaves_nothing(self, tmp_path, loop, row, clock):
        for slot in range(2):
            Recorder(tmp_path, RUN, clock).attend(loop, row, f"worker-{slot}-9")
        assert collect(tmp_path, RUN) == ([], 2)
        assert list(tmp_path.iterdir()) == []

    def test_a_directory_that_is_gone_is_an_error_at_the_end(self, tmp_path, loop, row, clock):
        profile = Recorder(tmp_path / "gone", RUN, clock)
        profile.attend(loop, row, "worker-0-1")
        with pytest.raises(FileNotFoundError):
            profile.save(0, 0)
        assert collect(tmp_path / "gone", RUN) == ([], 0)


class TestPreparing:
    def test_the_directory_is_made_and_is_empty(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        path = prepare("a/b", RUN)
        assert path == tmp_path / "a" / "b"
        assert list(path.iterdir()) == []
        assert prepare("a/b", RUN) == path

    @pytest.mark.parametrize("directory", ["file", "file/below", "a\0b", "/proc/none"])
    def test_one_that_is_of_no_use_is_refused(self, tmp_path, monkeypatch, directory):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "file").touch()
        with pytest.raises((OSError, ValueError)):
            prepare(directory, RUN)
        assert [path.name for path in tmp_path.iterdir()] == ["file"]

    def test_the_name_of_a_run_is_the_same_after_an_exec(self):
        program = (
            "import os, sys; from host.profiling.recorder import run_name\n"
            "print(run_name(), flush=True)\n"
            "sys.argv[1:] and os.execv(sys.executable, [sys.executable, '-c', sys.argv[1]])"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, program], capture_output=True, text=True, check=True
        )
        first, second = done.stdout.split()
        assert first == second != run_name()


def test_what_was_measured_can_be_summarized(profile, loop, row, clock, tmp_path):
    profile.timed(implementation(clock.passes))(2)
    profile.attend(loop, row, "worker-0-1")
    loop.on_turn_end()
    profile.save(0, 0)
    assert "echo        on_readable" in summarize(*collect(tmp_path, RUN), tmp_path)


def test_a_call_that_took_too_long_is_told_of(profile, clock):
    told = []
    profile.slow_seconds, profile.on_slow = 0.1, lambda *call: told.append(call)
    timed = profile.time("echo", "on_readable", clock.passes)
    for seconds in (0.05, 0.2, 0.01):
        timed(seconds)
    assert told == [("echo", "on_readable")]
