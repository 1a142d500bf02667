"""The control channel between supervisor and worker: what is said, and how it is written.

Downwards go records of four bytes: (listener, n) says that n connections are to be accepted from
that listener. A record with the listener `_ORDER` is an order; the deadline that it carries takes
the two records after it, a question has its length in the record after it and then so many bytes
of JSON. Orders about a shard have its descriptor in the record after it. Upwards go lines of JSON,
since they are few.
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass, field, replace
from typing import Any

_RECORD = struct.Struct("<HH")
notification = _RECORD.pack
"""Writes a notification: the listener, and of how many connections, 1 to 65535."""
_DEADLINE = struct.Struct("<d")
_ORDER = 0xFFFF
_DRAIN, _ASK, _TAKE_SHARD, _RELEASE_SHARD = 1, 2, 3, 4
_LENGTH = struct.Struct("<I")
MAX_LISTENERS = _ORDER
REOPEN_LOG = "reopen_log"
"""A question; its answer is one item, whose `error` says why the log file was not opened, or ""."""
TAKE_CERTIFICATES = "take_certificates"
"""A question with the descriptor of certificates for the table `name`; its answer is one item,
whose `error` says why they cannot be used, or ""."""
MAX_LINE_BYTES = 65_536
ANSWER_SECONDS = 1.0
"""How long a worker has for an answer, and for each further part of one: what it does meanwhile
comes first."""
LONGEST_ANSWER_SECONDS = 5.0
"""How long all parts may take: some 100,000 connections."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Order: take nothing new, be gone by `deadline` (seconds of the monotonic clock)."""

    deadline: float


@dataclass(frozen=True, slots=True)
class Ask:
    """Order: answer a question; the answer is one or more reports of the kind `answer`.

    Attributes:
        number: by which the answer is recognised.
        question: what is asked.
        args: with which arguments.
        deadline: when nobody waits any more for an answer that has not begun, in seconds of the
            monotonic clock. Each part gives the next `ANSWER_SECONDS` from then on.
    """

    number: int
    question: str
    args: dict[str, Any]
    deadline: float


@dataclass(frozen=True, slots=True)
class ShardOrder:
    """Order: read a shard of a UDP listener from now on, or no longer; that is to be reported.

    Attributes:
        shard: its descriptor.
        takes: whether the worker is to read it.
    """

    shard: int
    takes: bool


Order = Drain | Ask | ShardOrder
Instruction = tuple[int, int] | Order
"""What a worker is told: a notification, or an order."""


def drain_order(deadline: float) -> bytes:
    """Write an order to drain."""
    return _RECORD.pack(_ORDER, _DRAIN) + _DEADLINE.pack(deadline)


def ask_order(ask: Ask) -> bytes:
    """Write a question."""
    body = json.dumps(asdict(ask)).encode()
    return _RECORD.pack(_ORDER, _ASK) + _LENGTH.pack(len(body)) + body


def shard_order(shard: int, *, takes: bool) -> bytes:
    """Write an order about a shard."""
    kind = _TAKE_SHARD if takes else _RELEASE_SHARD
    return _RECORD.pack(_ORDER, kind) + _LENGTH.pack(shard)


class OrderParser:
    """Takes apart what comes down, in whatever pieces it comes."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Instruction]:
        """Return the notifications and orders that are complete, in order."""
        data = self._rest + data if self._rest else data
        taken: list[Instruction] = []
        at = 0
        while at + 4 <= len(data):
            listener, count = _RECORD.unpack_from(data, at)
            if listener != _ORDER:
                taken.append((listener, count))
                at += 4
                continue
            order, end = _order(data, at + 4, count)
            if order is None:
                break
            taken.append(order)
            at = end
        self._rest = data[at:]
        return taken


def _order(data: bytes, at: int, kind: int) -> tuple[Order | None, int]:
    """Take one order apart; return it, or None if it is not complete, and where it ends."""
    if kind == _DRAIN:
        end = at + _DEADLINE.size
        return (Drain(*_DEADLINE.unpack_from(data, at)) if end <= len(data) else None), end
    start = at + _LENGTH.size
    if start > len(data):
        return None, at
    value: int = _LENGTH.unpack_from(data, at)[0]
    if kind in (_TAKE_SHARD, _RELEASE_SHARD):
        return ShardOrder(value, kind == _TAKE_SHARD), start
    end = start + value
    return (Ask(**json.loads(data[start:end])) if end <= len(data) else None), end


@dataclass(frozen=True, slots=True)
class Report:
    """What a worker says.

    Attributes:
        kind: `ready`; `failed` to start; `leaving`: somebody asked this worker to go; `plugins`:
            some of them are left out, or no longer; `released`: shards that it reads no longer; or
            `answer`: part of one.
        cause: for `failed`, what happened.
        traceback: for `failed`, where, or "".
        data: for `plugins`, `released` and `answer`, what there is to tell.
    """

    kind: str
    cause: str = ""
    traceback: str = ""
    data: dict[str, Any] = field(default_factory=dict)

    def line(self) -> bytes:
        """Write it as a line, cut where it is too long: of a traceback the end says most."""
        cause, traceback = self.cause, self.traceback
        # Not `asdict`, which would copy the data, and every part of them, first.
        fields = {"kind": self.kind, "cause": cause, "traceback": traceback, "data": self.data}
        line = json.dumps(fields).encode() + b"\n"
        if len(line) <= MAX_LINE_BYTES:
            return line
        if not cause and not traceback:  # the caller keeps the data short
            raise ValueError(f"a report of {len(line)} bytes")
        if len(traceback) >= len(cause):
            shorter = replace(self, traceback=traceback[len(traceback) // 2 + 1 :])
        else:
            shorter = replace(self, cause=cause[: len(cause) // 2])
        return shorter.line()


class ReportParser:
    """Takes apart what comes up. A worker is not trusted: its plugins may write anywhere.

    Attributes:
        rest: what has come and is no whole report yet.
    """

    def __init__(self, rest: bytes = b"") -> None:
        self.rest = rest

    def feed(self, data: bytes) -> list[Report]:
        """Return the reports that are complete; what is no report is left out."""
        *lines, self.rest = (self.rest + data).split(b"\n")
        if len(self.rest) > MAX_LINE_BYTES:
            self.rest = b""
        reports = []
        for line in lines:
            try:
                fields = json.loads(line)
                kind, cause, trace = (str(fields[key]) for key in ("kind", "cause", "traceback"))
                reports.append(Report(kind, cause, trace, dict(fields["data"])))
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
        return reports
