"""The commands that a running host takes: a table of names, arguments and results."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import NamedTuple

from host.control.selection import ORDERS
from host.settings.models import MAX_WORKERS

_MAX_SHOWN = 60
_MAX_TEXT = 500
"""Characters of a name: an installed plugin's is short, a path to a file may be long."""


class CommandError(Exception):
    """A command that cannot be carried out; the text tells the client why."""


class Argument(NamedTuple):
    """One argument of a command.

    Attributes:
        name: its name.
        kind: int, str or bool.
        help: what it is, in a few words.
        default: what it is when it is not given; None for one that must be, or is optional.
        low, high: the limits of an int.
        form: the form of a str.
        example: a str of that form.
        optional: whether it may be missing; it is None then.
        by_place: whether people give it without its name although it may be missing.
        choices: the only values of a str, if it has no form.
    """

    name: str
    kind: type[int | str | bool]
    help: str
    default: int | str | bool | None = None
    low: int = 0
    high: int = 0
    form: re.Pattern[str] | None = None
    example: str = ""
    optional: bool = False
    choices: tuple[str, ...] = ()
    by_place: bool = False

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return self.default is None and not self.optional

    @property
    def expected(self) -> str:
        """What a value must be, in words."""
        if self.kind is bool:
            return "true or false"
        if self.kind is int:
            return f"a whole number from {self.low} to {self.high}"
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        return f'text such as "{self.example}"'

    def fits(self, value: object) -> bool:
        """Tell whether `value` is one that the command takes."""
        if type(value) is not self.kind:  # a bool is an int as well, and means something else
            return False
        if isinstance(value, bool):
            return True
        if isinstance(value, int):
            return self.low <= value <= self.high
        assert isinstance(value, str)
        if self.choices:
            return value in self.choices
        return self.form is None or self.form.fullmatch(value) is not None


class Command(NamedTuple):
    """One command.

    Attributes:
        name: its name.
        help: what it does, in one sentence.
        result: the names of the fields of its result.
        arguments: what it takes.
        changes: whether it changes anything; those that do are told in the log.
        sentence: what the command line prints of the result, with fields of the result in braces;
            empty for a command that the command line shows in a way of its own.
    """

    name: str
    help: str
    result: tuple[str, ...]
    arguments: tuple[Argument, ...] = ()
    changes: bool = True
    sentence: str = ""


_ID = Argument(
    "id",
    str,
    "Id of a connection, as `connections` and the log have it.",
    # The pid of the worker and the number that it has given the connection.
    form=re.compile(r"[0-9]{1,10}-[0-9]{1,20}", re.ASCII),
    example="1234-17",
)
MOST_CONNECTIONS = 100_000
"""How many are listed at the most."""
_SLOT = Argument("slot", int, "Slot of a worker.", low=0, high=MAX_WORKERS - 1)
_STATUS = (
    "name",
    "version",
    "pid",
    "generation",
    "uptime_seconds",
    "cpu_seconds",
    "state",
    "ready",
    "not_ready",
    "workers_wanted",
    "schedulers",
    "workers",
    "tasks",
    "listeners",
    "certificates",
    "plugins",
    "bus",
    "last_reload",
    "hangs",
    "restarts",
    "totals",
)
_WHY = (
    "id",
    "listener",
    "slot",
    "pid",
    "scheduler",
    "seconds_ago",
    "candidates",
    "omitted",
    "doing",
    "tasks",
)
_WHICH_CONNECTIONS = (
    Argument("limit", int, "How many at most.", default=1000, low=1, high=MOST_CONNECTIONS),
    Argument(
        "sort",
        str,
        "The first in this order: the oldest, those idle for longest, those with the most bytes; "
        "peers, listeners and workers by address or number.",
        optional=True,
        choices=tuple(ORDERS),
    ),
    Argument("reverse", bool, "The last in that order instead.", default=False),
    Argument(
        "listener",
        str,
        "Only those of this listener: its address, or a part of it.",
        form=re.compile(rf".{{1,{_MAX_TEXT}}}"),
        example="tcp://127.0.0.1:7000",
        optional=True,
    ),
    Argument(
        "peer",
        str,
        "Only those of this peer: an address, with its port or without, a network such as "
        "10.0.0.0/8, or a part of what is shown.",
        form=re.compile(rf".{{1,{_MAX_TEXT}}}"),
        example="10.0.0.0/8",
        optional=True,
    ),
    Argument(
        "worker",
        int,
        "Only those of the worker in this slot.",
        low=0,
        high=MAX_WORKERS - 1,
        optional=True,
    ),
)
_TABLE = (
    Command(
        "status",
        "Show how the host and its workers are.",
        _STATUS,
        (
            Argument(
                "ready",
                bool,
                "Only whether new connections should be sent here; the exit code is 0 or 1.",
                default=False,
            ),
        ),
        changes=False,
    ),
    Command(
        "generations",
        "List the generations; there are several during a reload.",
        ("generations",),
        changes=False,
    ),
    Command(
        "applied",
        "Show the settings that the host runs with.",
        ("settings",),
        changes=False,
    ),
    Command(
        "certificates",
        "List the certificates that are in use, and when they expire.",
        ("certificates",),
        changes=False,
    ),
    Command(
        "reload",
        "Take on new code, settings and plugins; no connection is lost.",
        ("generation", "certificates"),
        (
            Argument(
                "certificates",
                bool,
                "Take on new certificates alone, which replaces no worker.",
                default=False,
            ),
        ),
    ),
    Command(
        "stop",
        "Stop the host; open connections may finish until a deadline.",
        ("seconds",),
        (Argument("quick", bool, "Cut connections off instead.", default=False),),
    ),
    Command(
        "scale",
        "Have so many workers from now on, until the next reload.",
        ("workers", "before"),
        (Argument("workers", int, "How many workers.", low=1, high=MAX_WORKERS),),
        sentence="{workers:worker} instead of {before}",
    ),
    Command(
        "drain",
        "Replace a worker: another takes its slot, then it drains.",
        ("slot", "pid"),
        (_SLOT,),
        sentence="worker {slot} (pid {pid}) drains as soon as another has its place",
    ),
    Command(
        "hold",
        "Keep new connections from a worker; those it has go on.",
        ("slot", "pid"),
        (_SLOT,),
        sentence="worker {slot} (pid {pid}) gets no new connections until `resume {slot}`",
    ),
    Command(
        "resume",
        "Give a held worker new connections again.",
        ("slot", "pid"),
        (_SLOT,),
        sentence="worker {slot} (pid {pid}) gets new connections again",
    ),
    Command(
        "connections",
        "List the open connections.",
        ("connections", "unanswered", "truncated"),
        _WHICH_CONNECTIONS,
        changes=False,
    ),
    Command(
        "recent",
        "Show the last events of a worker, or of all.",
        ("events",),
        (_SLOT._replace(optional=True, by_place=True),),
        changes=False,
    ),
    Command(
        "close",
        "Close a connection.",
        ("id",),
        (_ID,),
        sentence="connection {id} is closed",
    ),
    Command(
        "why",
        "Show why a connection is with its worker and no other.",
        _WHY,
        (_ID,),
        changes=False,
    ),
    Command(
        "scheduler",
        "Have another plugin choose the workers, until the next reload.",
        ("scheduler", "before"),
        (
            Argument(
                "name",
                str,
                "An installed scheduler, package.module:Class, or ./file.py.",
                form=re.compile(rf".{{1,{_MAX_TEXT}}}"),
                example="least_connections",
            ),
        ),
        sentence="{scheduler} chooses instead of {before}",
    ),
)
COMMANDS: Mapping[str, Command] = {command.name: command for command in _TABLE}


def shown(value: object) -> str:
    """Return a value as it may stand in a message: short, and as JSON writes it."""
    # What comes out of json.loads is of these types, but for containers, which may be large.
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = json.dumps(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 3]}..."
