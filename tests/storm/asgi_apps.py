"""Apps of ASGI that are reloaded under load, and whose requests hang."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from storm.hosts import StormHost, soon
from storm.reloading import reload_once
from storm.rows import Trial, row
from support import address
from support.hosting import SUPPORT
from support.http_clients import Clients

OPTIONS = {"options.asgi.app": "asgi_app:app", "options.asgi.app_folder": SUPPORT}
SPREAD_SECONDS = 2
LAST_WORDS_SECONDS = 2.0
"""What a WebSocket may take beyond the spread: both frames of the goodbye, on two busy cores."""
NOTICE_SECONDS = 5.0
GOING_AWAY = 1001


@row(
    58,
    "asgi: reloads under load, with clients that keep their connections and with WebSockets",
    "0 requests fail; each WebSocket is told 1001, within drain_spread_seconds and 2 s",
)
def asgi_reloads(trial: Trial) -> str:
    settings = {**OPTIONS, "lifecycle.drain_spread_seconds": SPREAD_SECONDS}
    host = trial.start("asgi", workers=2, settings=settings)
    clients, sockets = Clients(host.port), trial.pick(10, 50)
    url = f"ws://127.0.0.1:{host.port}/echo"
    rounds, told, latest = 0, 0, 0.0
    with clients.running():
        for _ in trial.rounds(range(2), range(50)):
            rounds += 1
            clients.answered(trial.pick(50, 500))
            with ExitStack() as stack:
                old = [
                    stack.enter_context(connect(url, ping_interval=None)) for _ in range(sockets)
                ]
                for each in old:
                    each.send("hello")
                    trial.must(each.recv(timeout=20.0) == "hello", "a wrong answer")
                reload_once(host)
                began = time.monotonic()
                told += sum(is_told(trial, each) for each in old)
                latest = max(latest, time.monotonic() - began)
    trial.in_time(latest, SPREAD_SECONDS + LAST_WORDS_SECONDS, "the last WebSocket was told after")
    trial.must(not clients.failures, f"{len(clients.failures)} failed: {clients.failures[:3]}")
    trial.must(told == rounds * sockets, f"{told} of {rounds * sockets} WebSockets were told")
    trial.must(not host.events("worker_died"), "a worker died")
    return (
        f"{rounds} reloads, {clients.count:,} requests, {len(clients.failures)} failed; "
        f"{told:,} WebSockets told, the last after {latest:.1f} s at most"
    )


def is_told(trial: Trial, client: ClientConnection) -> bool:
    """Wait until a WebSocket is closed; tell whether it was told that the server goes away."""
    try:
        said: Any = client.recv(timeout=20.0)
    except ConnectionClosed as closed:
        code = None if closed.rcvd is None else closed.rcvd.code
        trial.must(code == GOING_AWAY, f"closed with {code}")
        return code == GOING_AWAY
    except TimeoutError:
        said = "nothing"
    trial.must(False, f"a WebSocket got {said}")
    return False


@row(
    59,
    "asgi: requests that hang in the app, one after the other, beside clients of the other worker",
    "told within 5 s with method, path, connection and stack; replaced; no other worker's fail",
)
def asgi_hangs(trial: Trial) -> str:
    host = trial.start("asgi", workers=2, settings=OPTIONS)
    clients, took = Clients(host.port), []
    with clients.running():
        for number in trial.rounds(range(1), range(20)):
            clients.answered(trial.pick(50, 500))
            took.append(hang(trial, host, number))
        clients.answered(trial.pick(50, 500))
    died = {event["pid"] for event in host.events("worker_died")}
    foreign = [each for each in clients.failures if each.worker not in died | {None}]
    trial.must(not foreign, f"{len(foreign)} failed of other workers: {foreign[:3]}")
    trial.must(len(died) == len(took), f"{len(died)} workers have died")
    return (
        f"{len(took)} hangs, told after {max(took):.1f} s at most; {clients.count:,} others, of "
        f"which {len(clients.failures)} failed with their workers, {len(foreign)} of other workers"
    )


def hang(trial: Trial, host: StormHost, number: int) -> float:
    """Have a request hang; return after how many seconds that was told."""
    mark, path = host.mark(), f"/hang/{number}"
    with address.connect(host.address) as client:
        began = time.monotonic()
        client.sendall(f"GET {path}?secret HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        seconds = NOTICE_SECONDS + (10.0 if trial.quick else 1.0)
        noticed = soon(lambda: bool(host.events("worker_hung", since=mark)), seconds)
        took = time.monotonic() - began
        trial.must(noticed, f"a hang is not told within {seconds:g} s")
        trial.fast(took, NOTICE_SECONDS, "told after")
    for event in host.events("worker_hung", since=mark):
        trial.must(f", GET {path}, task " in event["place"], f"told as {event['place']}")
        trial.must(f"connection {event['pid']}-" in event["place"], "no connection is named")
        trial.must("in hang" in event["traceback"], "no stack that names the handler")
    back = soon(lambda: bool(host.events("worker_ready", since=mark)), 10.0)
    trial.must(back, "not replaced")
    return took
