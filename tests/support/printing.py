"""A protocol that prints in the supervisor and in workers, and closes descriptors when told to.

It answers each read with what it has read. `close N` closes the descriptor N, which is a fault that
plugins have; `raise` raises.
"""

from __future__ import annotations

import os

from host import Connection, Host, WorkerView, hookimpl


@hookimpl
def on_host_start(host: Host) -> None:
    print(f"host {host.name} starts")


@hookimpl
def on_worker_start(worker: WorkerView) -> None:
    print(f"worker {worker.slot} starts")


@hookimpl
def on_readable(connection: Connection) -> None:
    data = connection.read()
    word, _, number = data.decode().partition(" ")
    if word == "close":
        os.close(int(number))
    if word == "raise":
        raise ValueError("a secret")
    print("read", len(data))
    connection.write(data)
