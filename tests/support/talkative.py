"""A protocol that prints and logs wherever it can, and fails where nobody hears of it.

It answers each read with what it has read; `fail` makes a thread and a destructor fail, `raw`
writes to a descriptor, `fork` prints in a child of its own, and `flood N` prints N lines.
"""

from __future__ import annotations

import logging
import os
import sys
import threading

from host import Connection, Host, Worker, hookimpl

logging.basicConfig(level=logging.DEBUG, force=False)
log = logging.getLogger("talkative.log")
print("imported")


class Faulty:
    def __del__(self) -> None:
        raise ValueError("in a destructor")


def fail() -> None:
    raise ValueError("in a thread")


def talk(where: str) -> None:
    print(f"printed in {where}")
    print(f"complained in {where}", file=sys.stderr)
    log.warning("logged in %s", where)


def in_a_fork() -> None:
    pid = os.fork()
    if not pid:
        print("printed in a fork", flush=True)
        os._exit(0)
    os.waitpid(pid, 0)


@hookimpl
def on_host_start(host: Host) -> None:
    talk("on_host_start")


@hookimpl
def on_worker_start(worker: Worker) -> None:
    talk("on_worker_start")
    print("no end of line", end="")


@hookimpl
def on_worker_stop(worker: Worker) -> None:
    talk("on_worker_stop")


@hookimpl
def on_readable(connection: Connection) -> None:
    data = connection.read()
    match data.decode().split():
        case ["fail"]:
            thread = threading.Thread(target=fail, name="doomed")
            thread.start()
            thread.join()
            Faulty()
        case ["raw"]:
            os.write(1, b"raw\n")
        case ["fork"]:
            in_a_fork()
        case ["flood", count]:
            for number in range(int(count)):
                print(f"line {number} {'x' * 100}")
        case ["say", *words]:
            print(*words)
    connection.write(data)
