"""Stacks that a process prints when it is told to or crashes are read, bounded and understood."""

import faulthandler
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from contextlib import contextmanager

import pytest

from host.runtime import loop
from host.runtime.stacks import MAX_BYTES, SIGNAL, StackReader, explanation, frames, trim
from host.testing.machine import patience


@contextmanager
def pipe():
    reader, writer = os.pipe()
    printed = StackReader(reader)
    try:
        yield printed, writer
    finally:
        printed.close()
        os.close(writer)


@contextmanager
def child(program):
    """Run a program whose stacks come up a pipe; it prints a line when it is where it shall be."""
    reader, writer = os.pipe()
    printed = StackReader(reader)
    text = "import signal; signal.alarm(60)\nfrom host.runtime import stacks\n" + textwrap.dedent(
        program
    )
    process = subprocess.Popen(
        [sys.executable, "-c", text, str(writer)],
        pass_fds=[writer],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    os.close(writer)
    try:
        yield process, printed
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
        printed.close()


def read_all(printed):
    """Read until the other end is closed."""
    os.set_blocking(printed.fileno(), True)
    assert not printed.read()
    return printed.text


def test_what_is_printed_is_read_without_waiting_for_more():
    with pipe() as (printed, writer):
        assert printed.read()
        assert printed.text == ""
        os.write(writer, b"one ")
        os.write(writer, b"two")
        assert printed.read()
        os.write(writer, b" three")
        assert printed.read()
        assert printed.read()
        assert printed.text == "one two three"


def test_the_end_is_told_and_what_came_before_it_kept():
    reader, writer = os.pipe()
    printed = StackReader(reader)
    os.write(writer, b"last words")
    os.close(writer)
    assert not printed.read()
    assert printed.text == "last words"
    assert printed.fileno() == reader
    printed.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(reader)


def test_only_the_last_of_it_is_kept():
    with pipe() as (printed, writer):
        for letter in "abc":
            os.write(writer, letter.encode() * (MAX_BYTES - 10))
            assert printed.read()
        assert printed.text == "b" * 10 + "c" * (MAX_BYTES - 10)


def test_bytes_that_are_no_text_are_spelled_out():
    with pipe() as (printed, writer):
        os.write(writer, b"a\xffb")
        printed.read()
        assert printed.text == r"a\xffb"


def test_a_process_prints_where_it_is_when_it_is_told_to_and_goes_on():
    program = """
        import sys
        stacks.print_to(int(sys.argv[1]))
        def dig_in(depth):
            if depth:
                dig_in(depth - 1)
            else:
                print("here", flush=True)
                input()
                print("on", flush=True)
        dig_in(2)
    """
    with child(program) as (process, printed):
        assert process.stdout.readline() == b"here\n"
        process.send_signal(SIGNAL)
        os.set_blocking(printed.fileno(), True)
        first = os.read(printed.fileno(), MAX_BYTES).decode()
        process.stdin.write(b"go on\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"on\n"
        assert process.wait(patience(30)) == 0
        names = [name for _, _, name in frames(first + read_all(printed))]
        assert names == ["dig_in"] * 3 + ["<module>"]


@pytest.mark.parametrize(
    "hang",
    ["time.sleep(60)", "os.read(ends[0], 1)", "ends[0] += sum(1 for _ in iter(int, 1))"],
    ids=["sleep", "read", "loop"],
)
def test_a_process_says_what_it_is_at_also_while_it_hangs(hang):
    program = f"""
        import os, sys, time
        number = int(sys.argv[1])
        stacks.print_to(number)
        stacks.explain_by(lambda: ["of plugin x,\\nGET /", "task 1", "task 2"], number)
        ends = list(os.pipe())
        def hangs():
            print("here", flush=True)
            {hang}
        hangs()
    """
    with child(program) as (process, printed):
        assert process.stdout.readline() == b"here\n"
        text = ""
        os.set_blocking(printed.fileno(), True)
        process.send_signal(SIGNAL)
        while "task 2\n" not in text:
            text += os.read(printed.fileno(), MAX_BYTES).decode()
        assert explanation(text) == r"of plugin x,\x0aGET /"
        assert [name for _, _, name in frames(text)][-2:] == ["hangs", "<module>"]
        assert "At work" not in trim(text)
        assert trim(text).endswith("\ntask 1\ntask 2")
        assert process.poll() is None


def test_what_a_process_is_at_is_left_out_if_it_cannot_be_told():
    program = """
        import sys
        number = int(sys.argv[1])
        stacks.print_to(number)
        stacks.explain_by(lambda: 1 // 0, number)
        signal.raise_signal(stacks.SIGNAL)
        print("on", flush=True)
    """
    with child(program) as (process, printed):
        assert process.stdout.readline() == b"on\n"
        assert process.wait(patience(30)) == 0
        text = read_all(printed)
        assert [name for _, _, name in frames(text)] == ["<module>"]
        assert explanation(text) == ""


def test_a_process_that_crashes_prints_where_it_was():
    program = """
        import ctypes, sys
        stacks.print_to(int(sys.argv[1]))
        def look_at_nothing():
            ctypes.string_at(0)
        look_at_nothing()
    """
    with child(program) as (process, printed):
        assert process.wait(patience(30)) == -signal.SIGSEGV
        text = read_all(printed)
        assert "Segmentation fault" in text
        assert "look_at_nothing" in [name for _, _, name in frames(text)]


def test_all_threads_are_printed():
    program = """
        import sys, threading
        stacks.print_to(int(sys.argv[1]))
        started = threading.Event()
        def in_the_background():
            started.set()
            threading.Event().wait()
        threading.Thread(target=in_the_background, daemon=True).start()
        started.wait()
        signal.raise_signal(stacks.SIGNAL)
    """
    with child(program) as (_, printed):
        names = [name for _, _, name in frames(read_all(printed))]
        assert {"in_the_background", "<module>"} <= set(names)


def test_nobody_who_does_not_read_makes_a_process_wait():
    program = """
        import os, sys
        stacks.print_to(int(sys.argv[1]))
        try:
            while True:
                os.write(int(sys.argv[1]), bytes(4096))
        except BlockingIOError:
            pass
        signal.raise_signal(stacks.SIGNAL)
        print("on", flush=True)
    """
    with child(program) as (process, _):
        assert process.stdout.readline() == b"on\n"


def dump_here():
    with tempfile.TemporaryFile() as file:
        faulthandler.dump_traceback(file)
        file.seek(0)
        return file.read().decode()


def test_frames_of_a_real_dump_are_told_innermost_first():
    # Other threads, such as those of who runs the tests, may come before.
    found = [each for each in frames(dump_here()) if each[0] == __file__]
    assert [name for _, _, name in found[:2]] == [
        "dump_here",
        "test_frames_of_a_real_dump_are_told_innermost_first",
    ]
    code = dump_here.__code__
    file, line, _ = found[0]
    assert file == code.co_filename
    assert line == code.co_firstlineno + 2


@pytest.mark.parametrize(
    ("line", "frame"),
    [
        ('  File "/a/b.py", line 7 in f', ("/a/b.py", 7, "f")),
        ('  File "/a "b", line 1 in g/c.py", line 7 in f', ('/a "b", line 1 in g/c.py', 7, "f")),
        ('  File "<string>", line 3 in <lambda>', ("<string>", 3, "<lambda>")),
        ('File "/a/b.py", line 7 in f', None),
        ('  File "/a/b.py", line ??? in f', None),
        ("Thread 0x00007f12 (most recent call first):", None),
        ("  <no Python frame>", None),
        ("", None),
    ],
)
def test_each_line_is_a_frame_or_none(line, frame):
    assert frames(line) == ([frame] if frame else [])


def frame(file, name):
    return f'  File "{file}", line 7 in {name}'


def test_frames_that_lead_to_the_loop_are_left_out_of_each_thread():
    kept = [
        "Fatal Python error: Segmentation fault",
        "",
        "Thread 0x00007f12 (most recent call first):",
        frame("/lib/threading.py", "wait"),
        frame("/lib/threading.py", "_bootstrap"),
        "",
        "Current thread 0x00007f13 (most recent call first):",
        frame("/plugins/echo.py", "on_readable"),
        frame("/host/connection.py", "on_event"),
    ]
    left_out = [
        frame(loop.__file__, "run_once"),
        frame(loop.__file__, "run"),
        frame("/host/supervisor.py", "run"),
        frame("/usr/bin/prefork", "<module>"),
    ]
    ending = ["", "Extension modules: _speedups (total: 1)"]
    assert trim("\n".join([*kept, *left_out, *ending])) == "\n".join([*kept, *ending])
    assert trim("\n".join([*kept, *left_out, *kept])) == "\n".join(kept * 2)


@pytest.mark.parametrize("text", ["", "no stacks at all", frame("/a/b/loop.py", "run").strip()])
def test_what_leads_to_no_loop_is_kept(text):
    assert trim(text) == text
