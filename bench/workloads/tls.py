"""(t) Echo over TLS 1.3: 64 bytes and 16 KiB on 8 connections, one worker."""

from __future__ import annotations

from bench.contest import Bench, Case, fight
from bench.results import Comparison, Goal
from bench.tls_clients import PROGRAM
from bench.tls_servers import UVLOOP, tls_servers

LETTER = "t"
TITLE = "Echo over TLS"
SMALL = "64 B × 8"
CASES = {SMALL: 64, "16 KiB × 8": 16 * 1024}
GOALS = (
    Goal(LETTER, SMALL, "cpu_us", "≤", 0.85, UVLOOP, "CPU per message"),
    Goal(LETTER, SMALL, "cpu_us", "≤", 0.75, "nginx", "CPU per message"),
    Goal(LETTER, "16 KiB × 8", "cpu_us", "≤", 1.0, UVLOOP, "CPU per message"),
)


def run(bench: Bench) -> list[Comparison]:
    """Measure."""
    with tls_servers() as servers:
        return [
            fight(
                bench,
                Case(
                    LETTER,
                    case,
                    "message",
                    PROGRAM,
                    {"connections": 8, "size": size, "authority": servers.authority},
                    servers.host,
                    (*servers.uvloop, servers.nginx),
                ),
            )
            for case, size in CASES.items()
        ]
