"""Protocols of asyncio whose tasks hang and raise, and that are reloaded while tasks run."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import ExitStack

from storm.hosts import StormHost, soon
from storm.rows import Trial, row
from support.address import connect
from support.hosting import SUPPORT

PLUGIN = f"{SUPPORT / 'asyncio_protocol.py'}:Plugin"
NOTICE_SECONDS = 5.0
FAILING = 200


@row(
    45,
    "asyncio: tasks that raise, a task that hangs, reloads with open connections and running tasks",
    "0 lost; what raised is told with plugin and task, and so is what hung, within 5 s",
)
def asyncio_tasks(trial: Trial) -> str:
    clients, answers, noticed = trial.pick(10, 100), 0, []
    host = trial.start(PLUGIN, workers=2)
    rounds = 0
    for _ in trial.rounds(range(2), range(100)):
        rounds += 1
        with ExitStack() as stack:
            old = [stack.enter_context(connect(host.address)) for _ in range(clients)]
            answers += ask(trial, old, "before")
            raise_in_tasks(trial, host, old[0])
            mark = host.mark()
            os.kill(host.pid, signal.SIGHUP)
            host.wait_for("generation_ready", since=mark)
            new = [stack.enter_context(connect(host.address)) for _ in range(clients)]
            answers += ask(trial, old, "after") + ask(trial, new, "new")
        noticed.append(hang_in_task(trial, host))
    return (
        f"{rounds} reloads, {answers:,} answers of tasks, 0 lost; "
        f"hangs noticed after {max(noticed):.1f} s at most"
    )


def ask(trial: Trial, clients: list[socket.socket], name: str) -> int:
    """Have a task answer each client, all at a time; return how many have answered rightly."""
    for client in clients:
        client.sendall(f"who {name}\n".encode())
    said = [client.recv(100) for client in clients]
    wrong = [each for each in said if each != f"{name}\n".encode()]
    trial.must(not wrong, f"{len(wrong)} of {len(said)} are lost or wrong, as {wrong[:1]}")
    return len(said) - len(wrong)


def raise_in_tasks(trial: Trial, host: StormHost, client: socket.socket) -> None:
    """Have many tasks of one connection raise."""
    mark = host.mark()
    client.sendall(b"fail\n" * FAILING)
    failed = host.wait_for("callback_failed", since=mark)
    told = failed["plugin"], failed["call"]
    trial.must(told == ("asyncio_protocol:Plugin", "task failing"), f"told of {told}")
    ask(trial, [client], "still")


def hang_in_task(trial: Trial, host: StormHost) -> float:
    """Have a task hang; return after how many seconds that was told."""
    mark = host.mark()
    seconds = NOTICE_SECONDS + (10.0 if trial.quick else 1.0)
    with connect(host.address) as client, connect(host.address) as other:
        ask(trial, [client, other], "here")
        client.sendall(b"hang_in_task\n")
        hung = soon(lambda: bool(host.events("worker_hung", since=mark)), seconds)
        trial.must(hung, f"a hang is not noticed within {seconds:g} s")
        for event in host.events("worker_hung", since=mark):
            trial.must("a task of asyncio" in event["message"], event["message"])
            trial.must("in hangs" in event["traceback"], "no stack that names the task")
            took = float(event["seconds"])
            trial.fast(took, NOTICE_SECONDS, "noticed after")
        back = soon(lambda: bool(host.events("worker_ready", since=mark)), 10.0)
        trial.must(back, "not replaced")
    return took if hung else seconds
