"""(w) Idle TLS connections: the memory of each."""

from __future__ import annotations

import time

from bench.clients import LoadError
from bench.contenders import Contender
from bench.contest import Bench
from bench.proc import pss_kib
from bench.results import Comparison, Goal, Reading
from bench.servers import Server, ServerError
from bench.tls_clients import TlsClients
from bench.tls_servers import TlsServers, tls_servers

LETTER = "w"
TITLE = "Idle TLS connections"
NAME = "idle TLS connections"
COUNT, WARMING = 1000, 50
SETTLE_SECONDS = 1.0
UVLOOP = "uvloop TLS"
GOALS = (
    Goal(LETTER, NAME, "kib_each", "≤", 0.5, UVLOOP, "memory per connection"),
    Goal(LETTER, NAME, "kib_each", "≤", 1.1, "haproxy", "memory per connection"),
)


def memory(contender: Contender, authority: str, count: int) -> Reading:
    """Open connections that exchange a message and stay open; tell what each costs.

    Raises:
        ServerError, LoadError: it cannot be measured.
    """
    if contender.missing:
        raise ServerError(f"{contender.missing} is not installed")
    with Server(contender) as server, TlsClients(server, WARMING, 64, authority) as warming:
        warming.exchange()
        time.sleep(SETTLE_SECONDS)
        before = pss_kib(server.pid)
        with TlsClients(server, count, 64, authority) as clients:
            clients.exchange()
            time.sleep(SETTLE_SECONDS)
            return {"kib_each": (pss_kib(server.pid) - before) / count}


def _measure(bench: Bench, servers: TlsServers, result: Comparison) -> None:
    count, rounds = (100, 1) if bench.quick else (COUNT, min(3, bench.pairs))
    others = (servers.uvloop[0], servers.nginx, servers.haproxy)
    for number in range(rounds):
        bench.say(f"({LETTER}) {NAME}, {number + 1} of {rounds}")
        mine = memory(servers.host, servers.authority, count)
        found = False
        for other in filter(bench.takes_part, others):
            try:
                theirs = memory(other, servers.authority, count)
            except (ServerError, LoadError) as error:
                result.notes.append(f"{other.name}: {str(error).splitlines()[0]}")
            else:
                result.pairs.setdefault(other.name, []).append((mine, theirs))
                found = True
        if not found:
            result.solo.append(mine)


def run(bench: Bench) -> list[Comparison]:
    """Measure: each time with new servers."""
    with tls_servers() as servers:
        result = Comparison(LETTER, NAME, "connection", servers.host.name)
        _measure(bench, servers, result)
    return [result]
