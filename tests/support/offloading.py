"""A plugin, selected by its file, whose lines are done by the pool `default`: one task each."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from host import Connection, PoolError, Worker, hookimpl

TEN_MIB = 10 * 1024 * 1024


def _die(_text: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _leave(text: str) -> None:
    os._exit(int(text))


def _stop(_text: str) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _sleep(text: str) -> str:
    time.sleep(float(text))
    return "slept"


def _nap(text: str) -> str:
    """Sleep for the first word; return the second one."""
    seconds, _, number = text.partition(" ")
    time.sleep(float(seconds))
    return number


def _raise(text: str) -> None:
    raise ValueError(text)


def _print(text: str) -> str:
    print(text)
    print(f"{text} again", file=sys.stderr)
    return "printed"


def _lend(_text: str) -> Callable[[], int]:
    return lambda: 1


def _fork(_text: str) -> str:
    """Leave a process behind that holds the pool's end of the socket."""
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
    return str(pid)


def _eat(_text: str) -> str:
    import resource  # noqa: PLC0415

    resource.setrlimit(resource.RLIMIT_AS, (2**29, 2**29))
    return str(len(bytes(2**30)))


def _fill(_text: str) -> None:
    """Take memory until there is none."""
    pieces = []
    while True:
        pieces.append(bytearray(TEN_MIB))


WORDS: dict[str, Callable[[str], Any]] = {
    "pid": lambda _: os.getpid(),
    "module": lambda _: __name__,
    "host": lambda _: "host.supervisor.process" in sys.modules,
    "echo": lambda text: text,
    "big": lambda _: TEN_MIB * "x",
    "die": _die,
    "leave": _leave,
    "stop": _stop,
    "sleep": _sleep,
    "nap": _nap,
    "raise": _raise,
    "print": _print,
    "lend": _lend,
    "fork": _fork,
    "eat": _eat,
    "fill": _fill,
}


def work(line: str) -> Any:
    """Do what a line says: it is called in the pool."""
    word, _, text = line.partition(" ")
    return WORDS[word](text)


def answer(connection: Connection, value: object) -> None:
    """Write what a task has returned."""
    connection.write(f"{value}\n".encode())


def apologize(connection: Connection, error: BaseException) -> None:
    """Write what it has raised."""
    connection.write(f"{type(error).__name__}: {error}\n".encode())


@hookimpl
def on_worker_start(worker: Worker) -> None:
    """Have the pool started."""
    worker.pool()


@hookimpl
def on_accept(connection: Connection) -> None:
    """Keep what is no whole line yet."""
    connection.data = b""


@hookimpl
def on_readable(connection: Connection) -> None:
    """Have each line done in the pool, but for those that are for the worker."""
    *lines, connection.data = (connection.data + connection.read()).split(b"\n")
    pool = connection.worker.pool()
    for line in lines:
        text = line.decode()
        try:
            if text == "worker":
                connection.write(f"{os.getpid()}\n".encode())
            elif text == "apply":
                pool.apply(work, ("pid",))
            elif text == "unsendable":
                pool.apply_async(work, (sys.stdout,))
            elif text.startswith("loose "):  # nobody's: it goes on when the client has gone
                pool.apply_async(work, (text.removeprefix("loose "),))
            else:
                pool.apply_async(
                    work, (text,), callback=answer, error_callback=apologize, connection=connection
                )
        except PoolError as error:
            apologize(connection, error)
