"""(v) Sessions while others begin: 8 that echo, and 50 TLS handshakes at once, 4 times a second."""

from __future__ import annotations

from contextlib import ExitStack

from bench.clients import LoadError
from bench.contenders import Contender
from bench.contest import Bench
from bench.handshakes import bursts
from bench.results import Comparison, Goal, Reading
from bench.servers import Server, ServerError
from bench.tls_clients import TlsClients
from bench.tls_servers import UVLOOP, TlsServers, tls_servers

LETTER = "v"
TITLE = "TLS sessions beside bursts of handshakes"
NAME = "8 sessions, 50 handshakes four times a second"
CALM = "prefork, without handshakes"
SESSIONS, SIZE, AT_ONCE = 8, 64, 50
GOALS = (
    Goal(LETTER, NAME, "p99_us", "≤", 2.0, CALM, "p99"),
    Goal(LETTER, NAME, "p99_us", "≤", 1.0, UVLOOP, "p99"),
    Goal(LETTER, NAME, "p99_us", "≤", 1.0, "nginx", "p99"),
)


class _Sessions:
    """Sessions of one server, which are measured with and without bursts beside them."""

    def __init__(self, contender: Contender, authority: str, stack: ExitStack) -> None:
        self._server = stack.enter_context(Server(contender))
        self._authority = authority
        self._clients = stack.enter_context(TlsClients(self._server, SESSIONS, SIZE, authority))
        self.beside(0.2)

    def alone(self, seconds: float) -> Reading:
        return _of_sessions(self._clients.run(seconds))

    def beside(self, seconds: float) -> Reading:
        with bursts(self._server, AT_ONCE, self._authority):
            return _of_sessions(self._clients.run(seconds))


def _of_sessions(reading: Reading) -> Reading:
    """Return what is of the sessions alone: the CPU time is also that of handshakes."""
    return {key: value for key, value in reading.items() if key != "cpu_us"}


def _measure(bench: Bench, servers: TlsServers, result: Comparison, stack: ExitStack) -> None:
    host = _Sessions(servers.host, servers.authority, stack)
    others: dict[str, _Sessions] = {}
    for one in (*servers.uvloop, servers.nginx):
        if not bench.takes_part(one):
            continue
        try:
            if one.missing:
                raise ServerError(f"{one.missing} is not installed")
            others[one.name] = _Sessions(one, servers.authority, stack)
        except (ServerError, LoadError) as error:
            result.notes.append(f"{one.name}: {str(error).splitlines()[0]}")
    turns = {CALM: host.alone} | {name: one.beside for name, one in others.items()}
    for number in range(bench.pairs):
        for name, run in turns.items():
            first, second = (run, host.beside) if number % 2 else (host.beside, run)
            readings = first(bench.seconds), second(bench.seconds)
            mine, theirs = reversed(readings) if number % 2 else readings
            result.pairs.setdefault(name, []).append((mine, theirs))


def run(bench: Bench) -> list[Comparison]:
    """Measure."""
    bench.say(f"({LETTER}) {NAME}")
    with tls_servers() as servers, ExitStack() as stack:
        result = Comparison(LETTER, NAME, "message", servers.host.name)
        _measure(bench, servers, result, stack)
    return [result]
