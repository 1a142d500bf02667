"""Starts the servers of a case with their clients and lets them take turns, slice by slice."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Self

from bench.clients import Clients, Load, LoadError
from bench.contenders import FLOOR, Contender
from bench.handshakes import PROGRAM as HANDSHAKES
from bench.handshakes import Handshakes
from bench.redis_benchmark import PROGRAM, RedisBenchmark
from bench.results import Comparison, Reading
from bench.servers import Server, ServerError
from bench.tls_clients import PROGRAM as TLS_PROGRAM
from bench.tls_clients import TlsClients


@dataclass(frozen=True)
class Bench:
    """How much is measured.

    Attributes:
        seconds: how long a slice is.
        pairs: how many pairs of slices there are of each comparison.
        quick: whether cases are made smaller, to see whether everything works.
        families: the peers that take part; None for all.
    """

    seconds: float = 1.0
    pairs: int = 7
    quick: bool = False
    families: frozenset[str] | None = None

    def say(self, text: str) -> None:
        """Tell how far it is."""
        print(text, file=sys.stderr, flush=True)

    def takes_part(self, contender: Contender) -> bool:
        """Tell whether `--peers` selects a contender."""
        family = "c" if contender.name == FLOOR else contender.family
        return self.families is None or family in self.families


@dataclass(frozen=True)
class Case:
    """What is done to servers.

    Attributes:
        workload: the letter or name of the workload.
        name: what is done, in a few words.
        unit: what is counted.
        program: the load program, `redis-benchmark`, `tls` or `handshakes`.
        arguments: those of the load program.
        ours: the host.
        others: what it is compared with.
        series: see `Comparison`.
        x: see `Comparison`.
    """

    workload: str
    name: str
    unit: str
    program: str
    arguments: dict[str, Any]
    ours: Contender
    others: tuple[Contender, ...]
    series: str = ""
    x: float = 0.0


@dataclass
class Contest:
    """The servers of a case, running; a context manager that ends them.

    Attributes:
        servers: those that run, by name.
        result: what has been measured so far.
    """

    bench: Bench
    case: Case
    servers: dict[str, Server] = field(default_factory=dict)
    loads: dict[str, Clients] = field(default_factory=dict)

    def __post_init__(self) -> None:
        case = self.case
        self.result = Comparison(case.workload, case.name, case.unit, case.ours.name)
        self.result.series, self.result.x = case.series, case.x
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.bench.say(f"({self.case.workload}) {self.case.name}")
        try:
            self._start(self.case.ours)
            for other in self.case.others:
                if self.bench.takes_part(other):
                    self._try(self._start, other)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _try(self, do: Callable[..., None], other: Contender, *given: int) -> None:
        """Do something with one of the others; if that fails, it takes part no more."""
        name = other.name
        try:
            do(other, *given)
        except (ServerError, LoadError) as error:
            self.result.notes.append(f"{name}: {str(error).splitlines()[0]}")
            self.bench.say(f"  {name}: {error}")
            self.loads.pop(name, None)

    def _start(self, contender: Contender) -> None:
        if contender.missing:
            raise ServerError(f"{contender.missing} is not installed")
        server = self._stack.enter_context(Server(contender))
        self.servers[contender.name] = server
        program, arguments = self.case.program, self.case.arguments
        load: Clients
        if program == PROGRAM:
            load = RedisBenchmark(server, **arguments)
        elif program == TLS_PROGRAM:
            load = self._stack.enter_context(TlsClients(server, **arguments))
        elif program == HANDSHAKES:
            load = Handshakes(server, **arguments)
        else:
            load = self._stack.enter_context(Load(program, server, **arguments))
        load.run(min(self.bench.seconds / 4, 0.5))  # both warm up
        self.loads[contender.name] = load

    def fight(self) -> Comparison:
        """Measure in pairs: each other is next to ours in time, in turn before and after it."""
        ours = self.case.ours.name
        if set(self.loads) == {ours}:
            self.result.solo = [self._slice(ours) for _ in range(self.bench.pairs)]
        for number in range(self.bench.pairs):
            for other in self.case.others:
                if other.name in self.loads:
                    self._try(self._pair, other, number)
        return self.result

    def _pair(self, other: Contender, number: int) -> None:
        ours, name = self.case.ours.name, other.name
        if number % 2:
            theirs = self._slice(name)
            mine = self._slice(ours)
        else:
            mine = self._slice(ours)
            theirs = self._slice(name)
        self.result.pairs.setdefault(name, []).append((mine, theirs))

    def _slice(self, name: str) -> Reading:
        return self.loads[name].run(self.bench.seconds)


def fight(bench: Bench, case: Case) -> Comparison:
    """Start what a case needs, measure, end it."""
    with Contest(bench, case) as contest:
        return contest.fight()
