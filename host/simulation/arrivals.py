"""Arrivals to simulate: drawn from a pattern, or read from a trace."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from host.text import reason

MAX_REQUESTS = 1000
"""Into how many requests a recorded connection is divided at most."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One connection.

    Attributes:
        at: when it arrives, in seconds.
        seconds: how long it is held.
        work: how many seconds a worker of speed 1 has to work for it.
        requests: in how many equal pieces the work comes, at least one.
        listener: the index of the listener it arrives on.
    """

    at: float
    seconds: float
    work: float
    requests: int = 1
    listener: int = 0


@dataclass(frozen=True, slots=True)
class Scenario:
    """What a scheduler has to cope with.

    Attributes:
        name: what it is called.
        arrivals: the connections in the order of their arrival.
        speeds: the speed of each worker; 1 does a second of work in a second.
        listeners: the addresses that the arrivals' listeners stand for.
    """

    name: str
    arrivals: Sequence[Arrival]
    speeds: Sequence[float]
    listeners: Sequence[str] = ("tcp://127.0.0.1:7000",)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A kind of traffic.

    Attributes:
        summary: what it is, in a few words.
        draw: draws how long a connection is held, its work and its requests.
        burst: how many connections arrive at a time.
        slow: the speed of worker 0.
    """

    summary: str
    draw: Callable[[random.Random], tuple[float, float, int]]
    burst: int = 1
    slow: float = 1.0


def _short(rng: random.Random) -> tuple[float, float, int]:
    return rng.expovariate(1 / 0.02), rng.expovariate(1 / 0.002), 1


def _session(seconds: float) -> tuple[float, float, int]:
    requests = max(1, round(seconds))
    return seconds, 0.04 * requests, requests


def _long(rng: random.Random) -> tuple[float, float, int]:
    return _session(rng.expovariate(1 / 20))


def _heavy(rng: random.Random) -> tuple[float, float, int]:
    return _session(4 * rng.paretovariate(1.5))


PATTERNS: dict[str, Pattern] = {
    "short": Pattern("held for 20 ms, one request of 2 ms (means, exponential)", _short),
    "long": Pattern("held for 20 s (mean, exponential), a request of 40 ms each second", _long),
    "heavy-tailed": Pattern("as long, but held for 4 s or more: Pareto, shape 1.5", _heavy),
    "bursts": Pattern("as short, but 32 at a time within 1 ms", _short, burst=32),
    "slow-worker": Pattern("as short, with worker 0 at a quarter of the speed", _short, slow=0.25),
}
"""The synthetic patterns by name."""

_BURST_SECONDS = 0.001


def synthetic(name: str, workers: int, connections: int, load: float, seed: int) -> Scenario:
    """Draw the arrivals of a pattern; the same arguments always give the same ones.

    Args:
        name: which of `PATTERNS`.
        workers: how many workers there are.
        connections: how many connections arrive.
        load: which share of what all workers can do the arrivals ask for.
        seed: where the random numbers start.
    """
    pattern, rng = PATTERNS[name], random.Random(f"{name} {seed}")
    speeds = [pattern.slow, *[1.0] * (workers - 1)]
    drawn = [pattern.draw(rng) for _ in range(connections)]
    # The mean of what was drawn, not of the distribution: a heavy tail is far from its mean.
    gap = fmean(work for _, work, _ in drawn) / (load * sum(speeds))
    times = sorted(_times(rng, connections, gap, pattern.burst))
    arrivals = [Arrival(at, *what) for at, what in zip(times, drawn, strict=True)]
    return Scenario(name, arrivals, speeds)


def _times(rng: random.Random, count: int, gap: float, burst: int) -> Iterator[float]:
    """Yield when connections arrive: bursts at random times, `gap` a connection on average."""
    at = 0.0
    for number in range(count):
        if number % burst == 0:
            at += rng.expovariate(1 / (gap * burst))
        yield at + (rng.random() * _BURST_SECONDS if burst > 1 else 0.0)


class TraceError(ValueError):
    """A trace cannot be used; the message names the file and the line."""


class TraceLine(BaseModel):
    """One line of a trace; `plugins/record_trace.py` writes them, and may write more than this."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    at: float
    seconds: float = Field(ge=0)
    busy: float = Field(default=0.0, ge=0)
    reads: int = Field(default=1, ge=0)
    listener: str = "tcp://127.0.0.1:7000"


def read_trace(path: Path, workers: int, least_work: float) -> Scenario:
    """Read recorded connections.

    Args:
        path: the file: a JSON object on each line.
        workers: how many workers the connections are to be distributed over.
        least_work: seconds of work that each connection takes on top of what was recorded: what
            the host itself does for it.

    Raises:
        TraceError: it cannot be read, or a line is not what it should be.
    """
    try:
        with path.open("rb") as lines:
            records = sorted(_trace_lines(path, lines), key=lambda record: record.at)
    except OSError as error:
        raise TraceError(f"{path}: {reason(error)}") from error
    if len(records) < 2:
        raise TraceError(f"{path}: expected two connections or more, found {len(records)}")
    listeners = {address: i for i, address in enumerate(dict.fromkeys(r.listener for r in records))}
    arrivals = [
        Arrival(
            record.at - records[0].at,
            record.seconds,
            record.busy + least_work,
            min(max(record.reads, 1), MAX_REQUESTS),
            listeners[record.listener],
        )
        for record in records
    ]
    return Scenario(f"trace {path}", arrivals, [1.0] * workers, tuple(listeners))


def _trace_lines(path: Path, lines: Iterable[bytes]) -> Iterator[TraceLine]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield TraceLine.model_validate(json.loads(line))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            key = ".".join(map(str, first["loc"]))
            cause = f"{key}: {first['msg']}" if key else first["msg"]
        except ValueError as error:  # no JSON, or no UTF-8
            cause = f"no JSON: {error}"
        else:
            continue
        raise TraceError(f"{path}:{number}: {cause}")
