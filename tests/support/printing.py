"""A protocol that prints in the supervisor and in workers, and closes descriptors when told to.

It prints to the real standard output, and not to where the host has prints go.

It answers each read with what it has read. `close N` closes the descriptor N, which is a fault that
plugins have, and `take N` has a file opened in its place; `raise` raises. `read N` is answered with
what can be read from the descriptor N.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from host import Connection, Host, Worker, hookimpl


def say(*words: object) -> None:
    with suppress(OSError):  # a terminal that is gone refuses at once
        print(*words, file=sys.__stdout__)


@hookimpl
def on_host_start(host: Host) -> None:
    say(f"host {host.name} starts")


@hookimpl
def on_worker_start(worker: Worker) -> None:
    say(f"worker {worker.slot} starts")


@hookimpl
def on_readable(connection: Connection) -> None:
    data = connection.read()
    word, _, number = data.decode().partition(" ")
    if word == "close":
        os.close(int(number))
    if word == "take":
        with suppress(OSError):
            os.close(int(number))
        os.open("/dev/null", os.O_RDWR)
    if word == "read":
        data += b": " + (os.read(int(number), 100) or b"nothing")
    if word == "raise":
        raise ValueError("a secret")
    say("read", len(data))
    connection.write(data)
