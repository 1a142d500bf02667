"""What a row of the table is: a function that does the harm, and how its result is judged."""

from __future__ import annotations

import math
import os
import random
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import host.settings as host_settings
from host.testing.machine import Stopwatch
from storm.hosts import StormHost, listen_address
from storm.load import CROWD, Clients, Load
from support.hosting import Load as Bursts

T = TypeVar("T")
GENEROSITY = 10.0
"""How many times slower things may be where a machine with other things to do judges them."""

Verdict = Literal["yes", "no", "skipped"]


class SkippedError(Exception):
    """The row cannot run here; the message says why."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its number, what is done, what must hold, and the function that does it."""

    number: int
    fault: str
    must: str
    run: Callable[[Trial], str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a row.

    Attributes:
        number: the row's number.
        fault: what was done.
        must: what must hold.
        measured: one line with figures.
        held: whether it held.
        reasons: what did not hold, or why it was skipped.
        seconds: how long it took.
        quick: whether this was the short form.
        reduced: what was left out of the long form because the time was up; "" for nothing.
    """

    number: int
    fault: str
    must: str
    measured: str
    held: Verdict
    reasons: tuple[str, ...]
    seconds: float
    quick: bool
    reduced: str = ""


ROWS: dict[int, Row] = {}


def row(
    number: int, fault: str, must: str
) -> Callable[[Callable[[Trial], str]], Callable[[Trial], str]]:
    """Enter a function into the table; it returns what was measured."""

    def enter(function: Callable[[Trial], str]) -> Callable[[Trial], str]:
        if number in ROWS:
            raise ValueError(f"there are two rows {number}: the other one is {ROWS[number].fault}")
        ROWS[number] = Row(number, fault, must, function)
        return function

    return enter


class Trial:
    """One run of one row: starts hosts and clients, ends them, and notes what does not hold.

    Attributes:
        quick: whether this is the short form.
        folder: a folder that is removed in the end.
        random: where chance comes from, by the row's number and the seed.
        broken: what has not held so far.
        reduced: what was left out of the long form because the time was up.
    """

    def __init__(
        self, number: int, *, quick: bool, folder: Path, minutes: float, seed: int = 0
    ) -> None:
        self.quick, self.folder = quick, folder
        self._began, self._seconds, self.reduced = time.monotonic(), 60 * minutes, ""
        self.random = random.Random(number + 1000 * seed)
        self.broken: list[str] = []
        self._stack = ExitStack()
        self._watch = Stopwatch()
        self._hosts = 0

    def pick(self, quick: T, long: T) -> T:
        """Return one of two sizes of a thing."""
        return quick if self.quick else long

    def rounds(self, quick: Sequence[T], long: Sequence[T], part: float = 1.0) -> Iterator[T]:
        """Return one of two plans, round by round; the long one until this part of the time is up.

        What is left out then is noted.
        """
        plan, until = self.pick(quick, long), self._began + part * self._seconds
        for done, each in enumerate(plan):
            if done and not self.quick and time.monotonic() >= until:
                self.reduced = f"{done:,} of {len(plan):,}"
                return
            yield each

    def seconds(self, quick: float, long: float) -> float:
        """Return one of two spans of time; of the long one, no more than there is."""
        if self.quick or long <= self._seconds:
            return self.pick(quick, long)
        self.reduced = f"{self._seconds / 60:.3g} of {long / 60:.3g} min"
        return self._seconds

    # Judging

    def must(self, holds: object, what: str) -> None:
        """Note `what` unless it holds."""
        if not holds:
            self.broken.append(what)

    def fast(self, measured: float, limit: float, what: str) -> None:
        """Note `what` if it took longer (or more) than the limit; the short form is generous.

        That is the more so, the longer somebody has waited for a CPU since the trial began.
        """
        allowed = self._watch.scaled(limit) * GENEROSITY if self.quick else limit
        self.must(measured <= allowed, f"{what}: {measured:.4g}, at most {allowed:.4g}")

    def in_time(self, seconds: float, limit: float, what: str) -> None:
        """Note `what` if it took longer than the limit, which the short form scales alone."""
        allowed = self._watch.scaled(limit) if self.quick else limit
        self.must(seconds <= allowed, f"{what}: {seconds:.2f} s, at most {allowed:.2f}")

    # Starting

    def start(
        self,
        plugin: str,
        *,
        workers: int = 4,
        listen: tuple[str, ...] = ("tcp4",),
        flags: tuple[str, ...] = (),
        settings: Mapping[str, Any] | None = None,
        ready: bool = True,
        **launch: Any,
    ) -> StormHost:
        """Start a host that is ended, and looked over, at the latest when the trial is over."""
        self._hosts += 1
        given = ["--log-format", "json", "--workers", str(workers), *flags, "--plugin", plugin]
        for number, kind in enumerate(listen):
            given += ["--listen", listen_address(kind, self.folder, f"{self._hosts}-{number}")]
        chosen = {"name": f"storm-{os.getpid()}-{self._hosts}", **(settings or {})}
        name = chosen["name"]
        for key, value in chosen.items():
            given += ["--set", f"{key}={value}"]
        host = StormHost(given, name=name, cwd=self.folder, slots=workers, **launch)
        self._stack.callback(self._look_over, host)
        if ready:
            host.wait_for("host_ready")
        return host

    def load(self, address: str, **plan: Any) -> Load:
        """Start the clients: 8 loops and 200 sessions unless the plan says otherwise."""
        load = Load(address, **plan)
        self._stack.callback(load.close)
        return load

    def crowd(self, do: str, address: str, *, script: Path = CROWD, **plan: Any) -> Clients:
        """Start many clients of one kind (a function of the script); `answer` has their result."""
        clients = Clients(script, do=do, address=address, **plan)
        self._stack.callback(clients.close)
        return clients

    def bursts(self) -> Bursts:
        """Start clients that open many connections at once."""
        clients = Bursts()
        self._stack.callback(clients.end)
        return clients

    def _look_over(self, host: StormHost) -> None:
        self.broken += host.finish()

    def close(self) -> None:
        """End all that was started."""
        self._stack.close()


def host_has(key: str) -> bool:
    """Tell whether this host has a setting, as `lifecycle.hang_seconds`."""
    model: Any = host_settings.Settings
    for part in key.split("."):
        field = model.model_fields.get(part)
        if field is None:
            return False
        model = field.annotation
    return True


def run_row(number: int, *, quick: bool, minutes: float = math.inf, seed: int = 0) -> Outcome:
    """Run one row in a folder of its own; whatever happens, nothing is left of it.

    Args:
        number: which row.
        quick: whether its short form is run.
        minutes: when no further round of its long form is begun.
        seed: another one has what is left to chance go otherwise.
    """
    entry = ROWS[number]
    began = time.monotonic()
    measured, held, reasons = "", None, ()
    with tempfile.TemporaryDirectory(prefix="storm-") as folder:
        trial = Trial(number, quick=quick, folder=Path(folder), minutes=minutes, seed=seed)
        try:
            try:
                measured = entry.run(trial)
            finally:
                trial.close()
        except SkippedError as skipped:
            held, reasons = "skipped", (str(skipped),)
        except Exception as error:
            trial.broken.append("".join(traceback.format_exception(error)))
    verdict: Verdict = "skipped" if held else "no" if trial.broken else "yes"
    return Outcome(
        number,
        entry.fault,
        entry.must,
        measured,
        verdict,
        reasons or tuple(trial.broken),
        time.monotonic() - began,
        quick,
        trial.reduced,
    )
