"""The settings of a host: what there is to set, its defaults and its limits."""

from __future__ import annotations

import os
from typing import Any, Literal, LiteralString

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from settings.section import Section
from settings.selection import Listens, Plugins, also_text

_MIB = 1024 * 1024
_MAX_WORKERS = 1024


def usable_cpus() -> int:
    """Return how many CPUs this process may run on, which a container can make fewer than exist."""
    return min(len(os.sched_getaffinity(0)), _MAX_WORKERS)


def _misfit(message: LiteralString, high: int) -> PydanticCustomError:
    # The other key is part of the error, so that the report can tell where its value came from.
    return PydanticCustomError(
        "misfit", message, {"other": "connection.high_water_bytes", "high": high}
    )


class Limits(Section):
    """How much one worker takes on."""

    max_connections_per_worker: int = Field(
        default=65536,
        ge=1,
        le=1_048_576,
        description="Connections one worker holds; more wait in the backlog. 65536 is beyond most"
        " descriptor limits; a value beyond the process's own ends in failing accepts.",
    )
    max_events: int = Field(
        default=10_000,
        ge=1,
        le=1_000_000,
        description="Events taken from the kernel in one turn of the loop. 10000 keeps system calls"
        " rare; a larger one lets timers and signals wait longer.",
    )
    idle_timeout_seconds: float = Field(
        default=0.0,
        ge=0,
        description="Seconds without a byte received or sent after which a connection is closed;"
        " 0 means never, since many protocols are silent for long. Without it, peers that vanish"
        " keep their places.",
    )


class Connection(Section):
    """How bytes move on one connection."""

    read_size_bytes: int = Field(
        default=65536,
        ge=1,
        le=16 * _MIB,
        description="Bytes one read takes at most. 65536 empties a usual receive buffer in one or"
        " two calls; a larger one lets a fast peer hold up the others.",
    )
    high_water_bytes: int = Field(
        default=262_144,
        ge=1,
        description="Unsent bytes above which the host stops reading from the peer. 256 KiB keeps a"
        " fast network busy; times the number of connections, it is the memory slow peers cost.",
    )
    low_water_bytes: int = Field(
        default=65536,
        ge=0,
        validate_default=True,
        description="Unsent bytes below which reading resumes. A quarter of the high-water mark"
        " avoids stopping and starting at every turn.",
    )
    max_unsent_bytes: int = Field(
        default=16 * _MIB,
        ge=1,
        validate_default=True,
        description="Unsent bytes above which the connection is closed. 16 MiB admits large"
        " answers; without a cap one peer that never reads could take all memory.",
    )
    write_timeout_seconds: float = Field(
        default=60.0,
        gt=0,
        description="Seconds a peer may take nothing of what is unsent before it is closed. 60"
        " outlasts a lost route; a longer one keeps the memory of dead peers.",
    )

    @field_validator("low_water_bytes")
    @classmethod
    def _check_low(cls, value: int, info: ValidationInfo) -> int:
        # A mark that is itself invalid is missing here and reported on its own.
        high = info.data.get("high_water_bytes")
        if high is not None and value > high:
            raise _misfit("must not exceed {other}, which is {high}", high)
        return value

    @field_validator("max_unsent_bytes")
    @classmethod
    def _check_cap(cls, value: int, info: ValidationInfo) -> int:
        high = info.data.get("high_water_bytes")
        if high is not None and value < high:
            raise _misfit("must not be below {other}, which is {high}", high)
        return value


class Dispatch(Section):
    """How connections are handed to workers."""

    missed_claim_ms: int = Field(
        default=50,
        ge=1,
        le=60_000,
        description="Milliseconds a worker has to take a connection it was told of before others"
        " are asked. 50 is beyond any healthy turn of the loop; a long one makes clients wait for a"
        " worker that hangs.",
    )


class Lifecycle(Section):
    """How long starting, stopping and replacing may take."""

    start_timeout_seconds: float = Field(
        default=60.0,
        gt=0,
        description="Seconds a worker has to become ready. 60 leaves room for slow imports; a"
        " longer one delays the report that a start hangs.",
    )
    drain_timeout_seconds: float = Field(
        default=30.0,
        ge=0,
        description="Seconds open connections have to finish when a worker stops; 0 closes them at"
        " once. 30 is what service managers and orchestrators grant; a longer one may end in their"
        " SIGKILL.",
    )
    respawn_backoff_max_seconds: float = Field(
        default=30.0,
        gt=0,
        description="Longest pause in seconds before a worker that keeps dying is replaced. 30"
        " spares the machine; a longer one leaves a slot empty after the cause is gone.",
    )


class Log(Section):
    """What is logged and how."""

    format: Literal["text", "json"] = Field(
        default="text",
        description="`text` for people, `json` (one object a line) for collectors.",
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="Least severity that is logged. `info` tells of starts, stops and failures;"
        " `debug` costs throughput, since it speaks of every connection.",
    )


class Settings(Section):
    """All settings of a host."""

    name: str = Field(
        default="prefork",
        pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$",
        description="Name of this host in its log and process titles: up to 64 of a-z, 0-9, `.`,"
        " `_`, `-`. Give each host on a machine its own to tell them apart.",
    )
    workers: int = Field(
        default_factory=usable_cpus,
        ge=1,
        le=_MAX_WORKERS,
        description="Worker processes. One for each usable CPU keeps them busy without contention;"
        " many more cost memory and context switches.",
    )
    respawn: bool = Field(
        default=True,
        description="Whether a worker that dies is replaced. Turn it off to study a crash; a host"
        " without it shrinks until nothing serves.",
    )
    plugins: Plugins = Field(
        default=(),
        description="Plugins in order: a name, `package.module:Class`, `./file.py`, or `no:NAME` to"
        " leave out a default one. Empty by default: only what is selected is imported.",
    )
    listen: Listens = Field(
        default=(),
        json_schema_extra=also_text,
        description='Addresses to listen on: "ADDRESS", "ADDRESS=PLUGIN" or a [[listen]] table.'
        " Without any, tcp://127.0.0.1:7000: nothing is reachable from other machines unasked.",
    )
    limits: Limits = Field(default=Limits(), description="How much one worker takes on.")
    connection: Connection = Field(
        default=Connection(), description="How bytes move on one connection."
    )
    dispatch: Dispatch = Field(
        default=Dispatch(), description="How connections are handed to workers."
    )
    lifecycle: Lifecycle = Field(
        default=Lifecycle(), description="How long starting, stopping and replacing may take."
    )
    log: Log = Field(default=Log(), description="What is logged and how.")
    # Not in the repr: which of these values are secret is known only to the plugin's own model.
    options: dict[str, dict[str, Any]] = Field(
        default={},
        repr=False,
        description="A table for each plugin, [options.NAME], checked against the plugin's own"
        " model when the plugin is loaded.",
    )
