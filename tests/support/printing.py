"""A protocol that prints in the supervisor and in workers, and closes descriptors when told to.

It prints to the real standard output, and not to where the host has prints go.

It answers each read with what it has read. `close N` closes the descriptor N, which is a fault that
plugins have; `raise` raises.
"""

from __future__ import annotations

import functools
import os
import sys

from host import Connection, Host, WorkerView, hookimpl

say = functools.partial(print, file=sys.__stdout__)


@hookimpl
def on_host_start(host: Host) -> None:
    say(f"host {host.name} starts")


@hookimpl
def on_worker_start(worker: WorkerView) -> None:
    say(f"worker {worker.slot} starts")


@hookimpl
def on_readable(connection: Connection) -> None:
    data = connection.read()
    word, _, number = data.decode().partition(" ")
    if word == "close":
        os.close(int(number))
    if word == "raise":
        raise ValueError("a secret")
    say("read", len(data))
    connection.write(data)
