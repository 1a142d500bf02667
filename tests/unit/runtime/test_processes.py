"""What the kernel tells of processes is read right, also of those that are gone."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from host.runtime import processes
from host.runtime.processes import (
    Exit,
    OutOfMemory,
    children,
    command_name,
    has_ended,
    is_lost,
    is_stopped,
    offer_to_oom_killer,
    resident_bytes,
    wait,
)

NO_PROCESS = 2**22 + 1  # above the highest pid_max (proc(5))
EVENTS = "low 0\nhigh 3\nmax 0\noom {}\noom_kill {}\noom_group_kill 0\n"


@contextmanager
def child(program):
    """Run a program until it has printed a line."""
    text = f"import signal; signal.alarm(60)\n{program}\nprint(flush=True); signal.pause()"
    process = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE)
    try:
        process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize(
    ("ended", "words"),
    [
        (Exit(1, 0, None), "exit code 0"),
        (Exit(1, 6, None), "exit code 6"),
        (Exit(1, None, 9), "killed by SIGKILL"),
        (Exit(1, None, 9, oom=True), "killed by SIGKILL, out of memory"),
        (Exit(1, None, 40), "killed by signal 40"),
        (Exit(1, None, None), "ended, but a plugin has taken its exit code (waitpid)"),
    ],
)
def test_an_end_is_told_in_words(ended, words):
    assert str(ended) == words


class Kernel:
    """The file with the kernel's counts."""

    def __init__(self, path):
        self.path = path
        self.count(0)

    def count(self, kills, text=EVENTS):
        self.path.write_text(text.format(7 * kills, kills))


@pytest.fixture
def kernel(tmp_path):
    return Kernel(tmp_path / "memory.events")


def test_a_kill_for_want_of_memory_is_told_once(kernel):
    memory = OutOfMemory(str(kernel.path))
    assert not memory.happened()
    kernel.count(1)
    assert memory.happened()
    assert not memory.happened()
    kernel.count(2)
    assert memory.happened()
    assert not memory.happened()


def test_what_is_killed_at_once_is_told_as_often_for_a_moment(kernel):
    now = 100.0
    memory = OutOfMemory(str(kernel.path), lambda: now)
    kernel.count(3)
    assert [memory.happened() for _ in range(4)] == [True, True, True, False]
    kernel.count(5)
    assert memory.happened()
    now += 1.1
    assert not memory.happened()
    kernel.count(6)
    assert [memory.happened() for _ in range(2)] == [True, False]


def test_kills_before_somebody_asked_are_nobodys(kernel):
    kernel.count(5)
    memory = OutOfMemory(str(kernel.path))
    assert not memory.happened()
    kernel.count(6)
    assert memory.happened()


@pytest.mark.parametrize("text", ["", "oom {}\n", "rubbish\n", "oom_kill many\n", "a b c\n"])
def test_a_kernel_that_does_not_count_tells_of_none(kernel, text):
    kernel.count(1, text)
    memory = OutOfMemory(str(kernel.path))
    kernel.count(2, text)
    assert not memory.happened()


def test_a_file_that_is_gone_tells_of_none(kernel):
    memory = OutOfMemory(str(kernel.path))
    kernel.path.unlink()
    assert not memory.happened()


def test_this_machine_has_such_a_file():
    path = processes._events_path()
    with open(path, encoding="ascii") as file:
        assert "oom_kill" in dict(line.split() for line in file)
    assert not OutOfMemory().happened()


def test_the_memory_of_this_process_is_about_what_the_kernel_says():
    with open("/proc/self/status", encoding="ascii") as file:
        [told] = [int(line.split()[1]) * 1024 for line in file if line.startswith("VmRSS:")]
    assert resident_bytes(os.getpid()) == pytest.approx(told, rel=0.1)


def test_memory_that_is_touched_counts():
    with child("touched = b'x' * 50_000_000") as more, child("") as less:
        difference = resident_bytes(more.pid) - resident_bytes(less.pid)
        assert difference == pytest.approx(50_000_000, rel=0.1)


def test_nothing_is_known_of_a_process_that_does_not_exist():
    assert resident_bytes(NO_PROCESS) is None
    assert not is_stopped(NO_PROCESS)


def test_a_process_is_stopped_from_the_signal_that_stops_it_to_the_one_that_lets_it_go_on():
    with child("") as process:
        assert not is_stopped(process.pid)
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        assert is_stopped(process.pid)
        process.send_signal(signal.SIGCONT)
        os.waitid(os.P_PID, process.pid, os.WCONTINUED)
        assert not is_stopped(process.pid)


def test_the_name_of_a_process_is_no_state():
    with child("open('/proc/self/comm', 'w').write(') T (x')") as process:
        with open(f"/proc/{process.pid}/stat", encoding="ascii") as file:
            assert "() T (x)" in file.read()
        assert not is_stopped(process.pid)


def test_a_process_that_has_ended_and_was_not_reaped_is_not_stopped():
    with child("") as process:
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not is_stopped(process.pid)
        assert not resident_bytes(process.pid)


@pytest.mark.parametrize(
    ("inherited", "then"), [(-1000, -700), (-50, 250), (0, 300), (950, 1000), (1000, 1000)]
)
def test_the_score_of_a_worker_is_raised_over_the_inherited_one(tmp_path, inherited, then):
    path = tmp_path / "oom_score_adj"
    path.write_text(f"{inherited}\n")
    offer_to_oom_killer(str(path))
    assert int(path.read_text()) == then


@pytest.mark.parametrize("text", [None, "", "none"])
def test_a_score_that_cannot_be_raised_is_left_alone(tmp_path, text):
    path = tmp_path / "oom_score_adj"
    if text is not None:
        path.write_text(text)
    offer_to_oom_killer(str(path))
    assert (path.read_text() if text is not None else None) == text


class TestWait:
    def test_who_ends_in_time_is_reaped(self):
        for code, known in (("raise SystemExit(7)", (7, None)), ("", (0, None))):
            process = subprocess.Popen([sys.executable, "-c", code])
            ended = wait(process.pid, 20.0)
            assert (ended.pid, ended.code, ended.signal) == (process.pid, *known)
            with pytest.raises(ChildProcessError):
                os.waitpid(process.pid, 0)
            process.wait()

    def test_who_takes_too_long_is_killed(self):
        with child("") as process:
            assert wait(process.pid, 0.01) is None
            with pytest.raises(ProcessLookupError):
                wait(process.pid, 0.01)


def test_a_child_is_lost_when_somebody_else_has_reaped_it():
    with child("") as process:
        assert not is_lost(process.pid)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not is_lost(process.pid)
        os.waitpid(process.pid, 0)
        assert is_lost(process.pid)


def test_a_child_is_listed_until_it_is_reaped():
    with child("") as process:
        assert process.pid in children()
        assert not has_ended(process.pid, 0.0)
        process.kill()
        assert has_ended(process.pid, 10.0)
        assert process.pid in children()
        assert command_name(process.pid) is None
        process.wait()
        assert process.pid not in children()
        with pytest.raises(ProcessLookupError):
            has_ended(process.pid, 0.0)


@pytest.mark.parametrize(
    ("name", "shown"),
    [(b"sleep", "sleep"), (b"a) S (b\n\x1b[1m", r"a) S (b\x0a\x1b[1m"), (b"\xff\xfe", r"\xff\xfe")],
)
def test_the_name_of_a_command_can_be_printed(name, shown):
    with child(f"import ctypes; ctypes.CDLL(None).prctl(15, {name!r})") as process:
        assert command_name(process.pid) == shown  # PR_SET_NAME (prctl(2))
    assert command_name(NO_PROCESS) is None
