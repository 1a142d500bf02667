"""(x) Full TLS handshakes: connect, handshake, close; one worker."""

from __future__ import annotations

from bench.contest import Bench, Case, fight
from bench.handshakes import PROGRAM
from bench.results import Comparison, Goal
from bench.tls_servers import UVLOOP, tls_servers

LETTER = "x"
TITLE = "Full TLS handshakes"
AT_ONCE = (1, 50)
LIMIT = 1.1


def _name(at_once: int) -> str:
    return f"{at_once} at a time"


GOALS = tuple(
    Goal(LETTER, _name(at_once), "cpu_us", "≤", LIMIT, peer, "CPU per handshake")
    for at_once in AT_ONCE
    for peer in (UVLOOP, "nginx")
)


def run(bench: Bench) -> list[Comparison]:
    """Measure."""
    with tls_servers() as servers:
        return [
            fight(
                bench,
                Case(
                    LETTER,
                    _name(at_once),
                    "handshake",
                    PROGRAM,
                    {"at_once": at_once, "authority": servers.authority},
                    servers.host,
                    (*servers.uvloop, servers.nginx),
                ),
            )
            for at_once in AT_ONCE
        ]
