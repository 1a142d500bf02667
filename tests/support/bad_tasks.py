"""Tasks that do what no task should: each gets one answer, and nobody else notices.

Processes of pools import this, so that it must not import much.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from typing import Any

MIB = 1024 * 1024
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1)


class Odd(Exception):
    """It is pickled, and cannot be made again."""

    def __init__(self, first: object, second: object) -> None:
        super().__init__(first)


class Raises:
    """Raises something as it is unpickled in the worker."""

    def __init__(self, error: BaseException) -> None:
        self._error, self._pid = error, os.getpid()

    def __reduce__(self) -> tuple[Any, ...]:
        return raise_elsewhere, (self._error, self._pid)


def raise_elsewhere(error: BaseException, pid: int) -> None:
    if os.getpid() != pid:
        raise error


def give(value: object) -> object:
    """Be a good task, the neighbour of others."""
    return value


def end_at_once() -> None:
    os._exit(7)


def crash() -> None:
    os.abort()


def be_stopped() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def be_stopped_at_the_end() -> None:
    """Have this process stop when it is about to end."""

    def stop(_code: int) -> None:
        be_stopped()

    os._exit = stop  # type: ignore[assignment]


def leave_no_descriptor() -> str:
    """Leave as many files open as there may be."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    with suppress(OSError):
        while True:
            os.dup(0)
    return "full"


def raise_it(error: BaseException) -> None:
    raise error


def raise_odd() -> None:
    raise Odd(1, 2)


def return_a_function() -> object:
    return lambda: 1


def return_what_raises(error: BaseException) -> object:
    return Raises(error)


def fork_and_print() -> str:
    pid = os.fork()
    if pid == 0:
        print("of a fork")
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(pid, 0)
    return "forked"


def close_all() -> None:
    os.closerange(0, 11)


def close_the_first() -> str:
    os.closerange(0, 3)
    return "closed"


def write_to_the_socket() -> None:
    os.write(3, b"\xff" * 100)


def write_what_looks_like_a_frame() -> None:
    """Send nine zeros: a kind that there is not, and no bytes."""
    os.write(3, bytes(9))


def shut_the_socket_down() -> None:
    with socket.socket(fileno=os.dup(3)) as sock:
        sock.shutdown(socket.SHUT_RDWR)


def print_much() -> str:
    print("x" * MIB)
    print("no end of a line", end="")
    return "printed"


def print_lines() -> str:
    print("a\nb")
    print("c", end="", flush=True)
    print("\n")
    print("d", end="")
    return "printed"


def close_the_output() -> str:
    sys.stdout.close()
    sys.stderr = None  # type: ignore[assignment]
    return "closed"


def signal_itself() -> str:
    for number in SIGNALS:
        os.kill(os.getpid(), number)
    return "here"


def end_programs() -> list[int]:
    """Ask programs to end as soon as they are there; return how they have ended."""
    codes = []
    for number in SIGNALS:
        with subprocess.Popen(["sleep", "60"]) as program:
            program.send_signal(number)
            codes.append(program.wait(20))
    return codes


def end_forks() -> list[int]:
    """Ask forks to end as soon as they are there; return how they have ended."""
    codes = []
    for number in SIGNALS[1:]:
        if (pid := os.fork()) == 0:
            time.sleep(60)
        os.kill(pid, number)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    return codes


def interrupt_a_fork() -> int:
    """Interrupt a fork that sleeps; return how it has ended."""
    ours, theirs = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            os.write(theirs, b"x")
            time.sleep(60)
        except KeyboardInterrupt:
            os._exit(130)
    os.read(ours, 1)
    os.kill(pid, signal.SIGINT)
    os.close(ours)
    os.close(theirs)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def outlive_a_thread() -> int:
    """Fork in a thread that ends before its fork does; return how the fork has ended."""
    ours, theirs = socket.socketpair()
    found: list[int] = []

    def fork() -> None:
        if (pid := os.fork()) == 0:
            theirs.send(b"there")
            theirs.recv(10)
            os._exit(5)
        ours.recv(10)
        found.extend((threading.get_native_id(), pid))

    thread = threading.Thread(target=fork)
    thread.start()
    thread.join()
    thread_id, pid = found
    while os.path.exists(f"/proc/self/task/{thread_id}"):  # join comes a moment before its end
        pass
    ours.send(b"go on")
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def outlive_a_fork() -> bytes:
    """Fork twice, as daemons do; return what the second fork says when the first one has ended."""
    ours, theirs = os.pipe()
    if (pid := os.fork()) == 0:
        first = os.getpid()
        if os.fork() == 0:
            while os.getppid() == first:
                pass
            os.write(theirs, b"there")
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(theirs)
    return os.read(ours, 10)


def leave_a_fork() -> int:
    """Leave a process behind that has the socket and outlives this one; return its pid."""
    ours, theirs = os.pipe()
    if (pid := os.fork()) == 0:
        if os.fork() == 0:
            os.write(theirs, str(os.getpid()).encode())
            while True:
                time.sleep(1000)
        os._exit(0)
    os.waitpid(pid, 0)
    return int(os.read(ours, 10))


def spawn_processes() -> list[object]:
    """Have functions called in processes of its own; return what they have returned."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        first = pool.apply(give, (1,))
    with ProcessPoolExecutor(1, context) as executor:
        return [first, executor.submit(give, 2).result(60)]


def end_processes() -> list[int | None]:
    """Ask processes of multiprocessing to end as soon as they are there; return how they did."""
    codes = []
    for _ in range(10):
        process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        process.start()
        process.terminate()
        process.join(20)
        codes.append(process.exitcode)
    return codes


def large(mib: int) -> bytes:
    return bytes(mib * MIB)


def leave_threads() -> bytes:
    """Leave threads behind that print for ever."""

    def go_on() -> None:
        while True:
            print("of a thread " * 20)

    for _ in range(3):
        threading.Thread(target=go_on).start()
    return large(3)


def wait_for_ever() -> None:
    while True:
        time.sleep(1000)
