"""The load of a storm: closed loops and long sessions, each kind in a process of its own."""

from __future__ import annotations

import json
import select
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host.testing.machine import patience
from support.hosting import environment

CLIENTS = Path(__file__).parent / "clients.py"
CROWD = Path(__file__).parent / "crowd.py"
ANSWER_SECONDS = 60.0
Span = tuple[float, float]
"""Beginning and end, on the monotonic clock."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed exchange.

    Attributes:
        at: when, on the monotonic clock.
        cause: `refused`, `reset`, `empty` (the end before any answer), `cut` (the end of a
            session), `timeout`, `wrong`, or the name of an errno.
        kind: `loop` or `session`.
        owner: the pid of the worker that served the connection, if it ever answered.
        waited: seconds since the exchange began.
    """

    at: float
    cause: str
    kind: str
    owner: int | None
    waited: float


@dataclass(frozen=True, slots=True)
class Waits:
    """How long exchanges took, in seconds."""

    count: int
    median: float
    p99: float
    longest: float


@dataclass(frozen=True, slots=True)
class Result:
    """What clients have met with.

    Attributes:
        served: exchanges that went well.
        refused: clients that were refused and ended with that, if that was the plan.
        farewells: sessions that the host has said goodbye to.
        counts: failures by cause.
        failures: each of them (up to a million a process).
        loops: waits of the loops.
        sessions: waits of the sessions.
    """

    served: int
    refused: int
    farewells: int
    counts: Counter[str]
    failures: tuple[Failure, ...]
    loops: Waits
    sessions: Waits

    @property
    def failed(self) -> int:
        """How many exchanges failed."""
        return sum(self.counts.values())

    @property
    def longest(self) -> float:
        """The longest wait of one that was served."""
        return max(self.loops.longest, self.sessions.longest)

    def causes(self) -> str:
        """Return the failures in words."""
        return ", ".join(f"{count} {cause}" for cause, count in sorted(self.counts.items())) or "0"


class Clients:
    """One process of clients: `clients.py` or `crowd.py`, with its plan.

    Args:
        script: which of the two.
        wrapper: a command that runs theirs, as `nsenter`.
        plan: what they read as JSON.
    """

    def __init__(self, script: Path, *, wrapper: Sequence[str] = (), **plan: Any) -> None:
        self._process = subprocess.Popen(
            [*wrapper, sys.executable, "-S", str(script), json.dumps(plan), str(patience(1.0))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
        )

    def tell(self, **command: Any) -> None:
        """Give a command."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        self._process.stdin.flush()

    def answered(self, seconds: float) -> bool:
        """Wait at most so many seconds; tell whether there is an answer."""
        # One answer at a time: nothing is left in the buffer when this is called.
        return bool(select.select([self._process.stdout], [], [], seconds)[0])

    def answer(self, seconds: float = ANSWER_SECONDS) -> Any:
        """Wait for the next answer, which takes at most `seconds` on an idle machine."""
        stdout = self._process.stdout
        assert stdout is not None
        assert self.answered(patience(seconds)), "the clients do not answer"
        line = stdout.readline()
        assert line, "the clients have ended"
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.kill()
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


class Load:
    """Loops and sessions against one address.

    Args:
        address: where.
        loops: how many connect, exchange a line and close, again and again.
        sessions: how many stay.
        pause: seconds a loop waits before it begins again.
        every: seconds between two lines of a session.
        patience: seconds after which an exchange has failed.
        plain: whether the host answers with the line alone, as `echo` does.
        end_when_refused: whether a client that is refused has ended well: the host stops.
        wrapper: a command that runs the clients'.
    """

    def __init__(
        self,
        address: str,
        *,
        loops: int = 8,
        sessions: int = 200,
        pause: float = 0.0,
        every: float = 0.2,
        patience: float = 10.0,
        plain: bool = False,
        end_when_refused: bool = False,
        wrapper: Sequence[str] = (),
    ) -> None:
        plan: dict[str, Any] = {
            "address": address,
            "pause": pause,
            "every": every,
            "patience": patience,
            "plain": plain,
            "end_when_refused": end_when_refused,
        }
        self._kinds = {}
        for kind, count in (("loops", loops), ("sessions", sessions)):
            if count:
                counts = {"loops": 0, "sessions": 0, kind: count}
                self._kinds[kind] = Clients(CLIENTS, wrapper=wrapper, **plan, **counts)
        self._waiting = True
        self._result: Result | None = None

    def under_way(self, seconds: float = ANSWER_SECONDS) -> None:
        """Wait until every client was served."""
        if self._waiting:
            for clients in self._kinds.values():
                clients.answer(seconds)
            self._waiting = False

    def waits(self, kind: str, spans: Sequence[Span]) -> list[Waits]:
        """Return the waits of `loops` or `sessions` within each span."""
        return self.pooled(kind, [[span] for span in spans])

    def pooled(self, kind: str, groups: Sequence[Sequence[Span]]) -> list[Waits]:
        """Return the waits of `loops` or `sessions` within all spans of each group."""
        self.under_way()
        self._kinds[kind].tell(do="spans", spans=groups)
        return [Waits(*each) for each in self._kinds[kind].answer()]

    def end(self, drain: float = 0.0) -> Result:
        """End the load and return what it has met with.

        Args:
            drain: seconds for clients to end by themselves: those that `end_when_refused` go on
                until then; others finish what they have begun.
        """
        if self._result is None:
            self.under_way()
            for clients in self._kinds.values():
                clients.tell(do="end", drain=drain)
            results = {kind: each.answer(drain + 30.0) for kind, each in self._kinds.items()}
            self._result = _merged(results)
            self.close()
        return self._result

    def close(self) -> None:
        """End the clients."""
        for clients in self._kinds.values():
            clients.close()
        self._kinds = {}


def _merged(results: dict[str, Any]) -> Result:
    counts: Counter[str] = Counter()
    failures: list[Failure] = []
    for each in results.values():
        counts.update(each["counts"])
        failures += [Failure(*failure) for failure in each["failures"]]
    nothing = {"waits": [0, 0.0, 0.0, 0.0]}
    return Result(
        served=sum(each["served"] for each in results.values()),
        refused=sum(each["refused"] for each in results.values()),
        farewells=sum(each["farewells"] for each in results.values()),
        counts=counts,
        failures=tuple(sorted(failures, key=lambda failure: failure.at)),
        loops=Waits(*results.get("loops", nothing)["waits"]),
        sessions=Waits(*results.get("sessions", nothing)["waits"]),
    )


def pass_time(seconds: float) -> Span:
    """Let the load go on for so long; return the span that this was."""
    began = time.monotonic()
    time.sleep(seconds)
    return began, time.monotonic()
