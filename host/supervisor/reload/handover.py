"""What a supervisor hands to itself across exec: everything it holds, as values.

The descriptors stay open across exec under their numbers; the rest is JSON in a memfd, whose
number is in the environment. The names of such variables begin with an underscore: no variable of a
setting does, so neither is ever taken for the other.
"""

import itertools
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from host.bus.hub import HubState
from host.bus.remote_state import RemoteState
from host.errors import HostError
from host.ipc.series import Family
from host.ipc.series_totals import FamilyCounts
from host.ipc.totals import ListenerCounts, SlotCounts
from host.net.listeners import Source
from host.net.socket_files import SocketFile
from host.runtime.rehearsal import KEPT, REHEARSAL
from host.settings import AppliedSetting, Problem, Settings, SettingsError
from host.settings.errors import show

VARIABLE = "_PREFORK_HANDOVER"
"""The number of the memfd, for the process that a reload executes anew."""
FORMAT = 21
"""Raised with every change of what is handed over: a reload to another format is refused."""


class _Value(BaseModel):
    # Built by a reload, and not by every start, which would take 8 ms more.
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        ser_json_bytes="base64",
        val_json_bytes="base64",
        defer_build=True,
    )


class Socket(_Value):
    """One bound socket: the address as the settings have it, as bound, and its socket file.

    A UDP listener has several with one address: `others` are their descriptors but for the first.
    """

    fd: int
    others: list[int] = []
    configured: str
    max_rate: float
    max_connections: int
    address: str
    file: SocketFile | None
    source: Source


class Series(_Value):
    """The memory of what was counted of plugins and by them, and what it is."""

    fd: int
    families: list[Family]


class Scores(_Value):
    """The scoreboard of one generation, and the listeners that its rows count for.

    `swapped` has what a scheduler has counted that was swapped in.
    """

    generation: int
    fd: int
    listeners: list[tuple[str, str]]  # address and plugin
    series: Series | None
    swapped: Series | None = None

    @property
    def descriptors(self) -> list[int]:
        """The memory of all of it."""
        series = (each.fd for each in (self.series, self.swapped) if each is not None)
        return [self.fd, *series]


class Ended(_Value):
    """What generations that have ended have counted, as `Totals` and `SeriesTotals` have it."""

    slots: list[SlotCounts]
    listeners: list[ListenerCounts]
    series: list[FamilyCounts]


class Serving(_Value):
    """The generation that is told of connections: its sockets by number, and its eventfd."""

    generation: int
    wake: int
    sockets: list[int]


class Bus(_Value):
    """The bus channel of a worker: its descriptor, and what is in its buffers."""

    fd: int
    rest: bytes
    queued: bytes
    dropped: int


class Worker(_Value):
    """One living worker, with the supervisor's ends of its channels."""

    slot: int
    pid: int
    generation: int
    row: int
    born: float
    state: str
    deadline: float | None
    was_ready: bool
    expected: bool
    retiring: bool
    served_before: int
    control: int
    rest: bytes
    stacks: int
    bus: Bus | None
    held: bool
    clients: int | None
    plugins: str  # JSON in ASCII: what a worker says may have characters that UTF-8 has not


class Service(_Value):
    """How the service manager is told, and what it has.

    Attributes:
        address: where it is told.
        watchdog_seconds: how often it must hear of the host; None if it need not.
        stored: the inode of each socket that it keeps, by its name there.
        unsent: messages that it has not taken yet.
    """

    address: str
    watchdog_seconds: float | None
    stored: dict[str, int]
    unsent: list[str]


class StandIn(_Value):
    """The process that hands out connections meanwhile, and the pipe whose end ends it.

    `written` is the memfd where it writes down how often each event was told.
    """

    pid: int
    pipe: int
    written: int


class Shard(_Value):
    """A socket of a UDP listener, the worker that reads it, and whether that was told to stop."""

    fd: int
    pid: int
    releasing: bool


class Handover(_Value):
    """All of it.

    Attributes:
        generation: the number of the generation that is about to start.
        started: when the host was started, in seconds of the monotonic clock.
        started_at: the same in seconds since the epoch.
        reloaded: when this reload began.
        restarts: how many workers have been replaced since the host was started.
        accepted: connections accepted by workers that are gone, by slot.
        ended: what generations that have ended have counted.
        events: how often each event was told, by its name.
        restarts_by_cause: slot, cause and number of the workers that were replaced.
        sockets: all bound sockets, those for the new generation alone among them.
        clients: the descriptor of the counts of clients, if there are any.
        ops: the bound sockets where it is shown how the host is: those where it was so far, then
            those that were opened for the new generation.
        ops_before: how many of them those are where it was so far.
        helper: the process that shows it, which ends by itself; None if there is none.
        topics: what the hub of the bus knows; None if there is a broker.
        remote: what its hub knows if there is one.
        bridge: the process that speaks to a broker, which ends by itself; None if there is none.
        feed: both ends of the socket for the events that it shows, the one to read from first.
        passed: name and descriptor of each socket that a service manager has passed.
        service: how the service manager is told, if there is one.
        control: name and descriptor of the control socket, if there is one.
        log: lines that wait to be written, and how many were dropped.
        log_descriptor: where they are written if they go to no file.
        log_file: the descriptor of the log file, if there is one.
        lineage: that of the memory which marks the host's processes, if there is any.
        settings: those that the host runs with, as `settings_as_text` writes them.
        kept: the descriptor of what root has read of certificates, if there is anything.
        max_connections: how many connections a worker may hold by them.
        applied: the settings as people see them, as JSON in ASCII.
    """

    format: int = FORMAT
    generation: int
    started: float
    started_at: float
    reloaded: float
    restarts: int
    accepted: dict[int, int]
    ended: Ended
    events: dict[str, int]
    restarts_by_cause: list[tuple[int, int, int]]
    sockets: list[Socket]
    ops: list[Socket] = []
    ops_before: int = 0
    helper: int | None = None
    feed: tuple[int, int] | None = None
    passed: list[tuple[str, int]]
    scores: list[Scores]
    serving: Serving
    workers: list[Worker]
    shards: list[Shard] = []
    topics: HubState | None = None
    remote: RemoteState | None = None
    bridge: int | None = None
    stand_in: StandIn | None
    service: Service | None
    clients: int | None
    control: tuple[str, int] | None
    log: tuple[list[bytes], int]
    log_descriptor: int
    log_file: int | None
    lineage: int | None
    kept: int | None = None
    hangs: list[dict[str, Any]]
    settings: str
    max_connections: int
    applied: str

    @property
    def settings_before(self) -> Settings:
        """The settings that the host has run with so far."""
        return Settings.model_validate(json.loads(self.settings))

    @property
    def applied_before(self) -> list[AppliedSetting]:
        """The settings that the host has run with so far, as people see them."""
        return [AppliedSetting(*each) for each in json.loads(self.applied)]

    @property
    def served(self) -> frozenset[tuple[str, str]]:
        """Address and plugin of each listener of the generation that serves."""
        number = self.serving.generation
        return frozenset(
            listener
            for scores in self.scores
            if scores.generation == number
            for listener in scores.listeners
        )

    def descriptors(self) -> Iterator[int]:
        """Yield every descriptor that must stay open across exec."""
        for each in (*self.sockets, *self.ops):
            yield from (each.fd, *each.others)
        yield from (descriptor for _name, descriptor in self.passed)
        yield from itertools.chain(*(scores.descriptors for scores in self.scores))
        yield self.serving.wake
        for worker in self.workers:
            yield from (worker.control, worker.stacks)
            if worker.bus is not None:
                yield worker.bus.fd
        if self.stand_in is not None:
            yield from (self.stand_in.pipe, self.stand_in.written)
        if self.clients is not None:
            yield self.clients
        if self.control is not None:
            yield self.control[1]
        yield from self.feed or ()
        yield self.log_descriptor
        if self.lineage is not None:
            yield self.lineage
        if self.kept is not None:
            yield self.kept
        if self.log_file is not None:
            yield self.log_file

    @contextmanager
    def inheritable(self, variables: Mapping[str, str]) -> Iterator[dict[str, str]]:
        """Let the descriptors and this record pass an exec; yield the environment for it.

        If the exec fails, everything is as it was before.

        Args:
            variables: what the environment has besides.
        """
        memfd = os.memfd_create("handover", os.MFD_CLOEXEC)
        passed = [*self.descriptors(), memfd]
        try:
            with open(memfd, "wb", closefd=False) as file:
                file.write(self.model_dump_json().encode())
            for descriptor in passed:
                os.set_inheritable(descriptor, True)
            kept = {} if self.kept is None else {KEPT: str(self.kept)}
            yield {**variables, VARIABLE: str(memfd), **kept}
        finally:
            for descriptor in passed:
                os.set_inheritable(descriptor, False)
            os.close(memfd)


def settings_as_text(settings: Settings) -> str:
    """Return settings as JSON in ASCII: a value may have characters that UTF-8 has not."""
    return json.dumps(settings.model_dump(), default=_plain)


def _plain(value: object) -> str:
    """Return a secret as it is, or an option that is a date of TOML."""
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def receive() -> Handover | None:
    """Return what this process was handed, or None if it was started anew.

    Raises:
        SettingsError: the variable is not of the host's making.
        HostError: what was handed over is no handover, or one of another format.
    """
    number = os.environ.pop(VARIABLE, None)
    if number is None:
        return None
    os.environ.pop(KEPT, None)  # it is in the record, too; it was there to be seen early
    try:
        with open(int(number), "rb") as file:
            file.seek(0)
            data = file.read()
    except (OSError, ValueError):
        raise _not_ours(VARIABLE, number) from None
    try:
        handed = Handover.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise HostError(
            f"what {VARIABLE} names is no handover ({place}: {first['msg']}): only a host that"
            " reloads sets this variable, otherwise unset it"
        ) from None
    if handed.format != FORMAT:
        raise HostError(
            f"what was handed over has the format {handed.format}, not {FORMAT}: restart the host"
        )
    for descriptor in handed.descriptors():
        os.set_inheritable(descriptor, False)
    return handed


def is_rehearsal() -> bool:
    """Tell whether this process tries a reload for the supervisor that has started it.

    Raises:
        SettingsError: the variable is not of the host's making, or the supervisor has died.
    """
    pid = os.environ.pop(REHEARSAL, None)
    if pid is None:
        return False
    if pid != str(os.getppid()):
        raise _not_ours(REHEARSAL, pid)
    return True


def take_kept() -> int | None:
    """Return what root has read of certificates, in a rehearsal; None if there is nothing.

    Programs that this process executes do not get it.

    Raises:
        SettingsError: the variable is not of the host's making.
    """
    number = os.environ.pop(KEPT, None)
    if number is None:
        return None
    try:
        descriptor = int(number)
        os.set_inheritable(descriptor, False)
    except (OSError, ValueError):
        raise _not_ours(KEPT, number) from None
    return descriptor


def _not_ours(name: str, text: str) -> SettingsError:
    message = "only a host that reloads sets this variable: unset it"
    return SettingsError([Problem(name, show(text), message, "from the environment")])
