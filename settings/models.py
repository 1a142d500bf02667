"""The settings of a host: what there is to set, its defaults and its limits."""

from typing import Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from host.settings.bus import BusSettings
from host.settings.cpus import usable_cpus
from host.settings.limits import ConnectionLimits, Limits
from host.settings.listen import DEFAULT_ADDRESS, Listen, Listens
from host.settings.ops import Metrics, Ops
from host.settings.plugin_selection import Plugins
from host.settings.pools import Pools
from host.settings.process import Process
from host.settings.section import Section
from host.settings.tls import TlsTables, check_names
from host.settings.validators import also_text

MAX_WORKERS = 1024
HOST_NAME = r"^[a-z0-9][a-z0-9._-]{0,63}$"
"""What the name of a host looks like."""


def default_workers() -> int:
    """Return how many workers there are if nothing is set: one for each usable CPU."""
    return min(usable_cpus(), MAX_WORKERS)


class Dispatch(Section):
    """How connections are handed to workers."""

    missed_claim_ms: int = Field(
        default=45,
        ge=1,
        le=60_000,
        description="Milliseconds a worker has to take a connection it was told of before others"
        " are asked. 45 is beyond any healthy turn of the loop; a long one makes clients wait for a"
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
    drain_spread_seconds: float = Field(
        default=1.0,
        ge=0,
        description="Seconds over which a draining worker spreads its goodbyes evenly, so that"
        " clients do not all return at once; 0 says them all at once. It takes no more than half"
        " of drain_timeout_seconds.",
    )
    shutdown_delay_seconds: float = Field(
        default=0.0,
        ge=0,
        description="Seconds for which new connections are taken after SIGTERM while the host says"
        " that it is not ready. As long as a load balancer needs to notice; 0 stops at once.",
    )
    quiet_seconds: float = Field(
        default=0.5,
        ge=0.05,
        le=60,
        description="Seconds without a new connection after which a stop closes the listeners: the"
        " longest round trip whose clients are not reset. 0.5 is beyond those between continents;"
        " satellites need 1. It takes no more than half of drain_timeout_seconds. Unix sockets and"
        " loopback addresses need 0.05.",
    )
    respawn_backoff_max_seconds: float = Field(
        default=30.0,
        gt=0,
        description="Longest pause in seconds before a worker that keeps dying is replaced. 30"
        " spares the machine; a longer one leaves a slot empty after the cause is gone.",
    )
    hang_seconds: float = Field(
        default=4.0,
        ge=0,
        description="Seconds a worker's loop may go without a turn before its stacks are logged and"
        " it is killed; 0 means never. 4 lets handlers be slow; raise it above the longest call"
        " that must be let finish.",
    )
    max_connections_served: int = Field(
        default=0,
        ge=0,
        description="Connections after which a worker is replaced, up to a tenth more; 0 means any"
        " number. It bounds what leaks; a small one costs a start each time.",
    )
    max_age_seconds: float = Field(
        default=0.0,
        ge=0,
        description="Seconds after which a worker is replaced, up to a tenth more; 0 means never."
        " Its open connections have drain_timeout_seconds to finish.",
    )
    max_memory_bytes: int = Field(
        default=0,
        ge=0,
        description="Resident memory in bytes above which a worker is replaced, up to a tenth more;"
        " 0 means any amount. Looked at once a second; a cgroup limit kills without a warning.",
    )


class Breaker(Section):
    """When a plugin that serves no listener is left out for a while because it keeps failing."""

    max_failures: int = Field(
        default=10,
        ge=1,
        le=1_000_000,
        description="Failures of a plugin in one worker, within window_seconds, after which it is"
        " left out there. 10 forgives hiccups; fewer turns one bad minute into an outage of the"
        " plugin.",
    )
    window_seconds: float = Field(
        default=10.0,
        gt=0,
        description="Seconds within which failures are counted. 10 catches what fails again and"
        " again; a longer one adds up unrelated failures.",
    )
    slow_call_ms: float = Field(
        default=100.0,
        gt=0,
        description="Milliseconds above which a call counts as a failure, since nothing else is"
        " served meanwhile. 100 is long for any observer; a short one blames a busy machine.",
    )
    open_seconds: float = Field(
        default=30.0,
        gt=0,
        description="Seconds for which the plugin is left out; then it gets another chance. 30"
        " lets what it depends on recover; a longer one keeps out a plugin that is well again.",
    )


class Admin(Section):
    """How a running host is asked and told things."""

    enabled: bool = Field(
        default=True,
        description="Whether `python -m host status` and its like can reach this host: an abstract"
        " Unix socket named after it, for the same user and root only. No file is written.",
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
        " `debug` tells of more that is usual, such as each fork.",
    )
    file: str = Field(
        default="",
        description="File that log lines are added to; it is made if need be, and opened anew on"
        " SIGUSR1 and by a reload, after it was rotated. Empty by default: the log goes to standard"
        " error, where a service manager or a container takes it.",
    )
    access: bool = Field(
        default=False,
        description="Whether each connection that ends is logged, whatever the level is, with peer,"
        " listener, worker, seconds, bytes in and out, and why it ended; and so is each request, if"
        " the protocol tells of them (`asgi` does). Off by default: a line"
        " takes 50 µs or more, about as much as all else that is done for a short connection.",
    )


class Profile(Section):
    """Where the time of the workers goes."""

    directory: str = Field(
        default="",
        description="Directory to which each worker writes, as it ends, what its hooks and its loop"
        " took; the host prints a table of it. It is made if need be. Empty by default: measuring"
        " costs half a microsecond for each call of a hook and each turn of the loop.",
    )


class Settings(Section):
    """All settings of a host."""

    name: str = Field(
        default="prefork",
        pattern=HOST_NAME,
        description="Name of this host in its log and process titles: up to 64 of a-z, 0-9, `.`,"
        " `_`, `-`. Give each host on a machine its own to tell them apart.",
    )
    workers: int = Field(
        default_factory=default_workers,
        ge=1,
        le=MAX_WORKERS,
        description="Worker processes. One for each usable CPU keeps them busy without contention;"
        " many more cost memory and context switches. A CPU quota of the cgroup counts, rounded"
        " up.",
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
    # Before `listen`, which names these tables.
    tls: TlsTables = Field(
        default={},
        description="A table [tls.NAME] for each set of certificates; listeners name theirs.",
    )
    listen: Listens = Field(
        default=(),
        json_schema_extra=also_text,
        description='Addresses to listen on: "ADDRESS", "ADDRESS=PLUGIN" or a [[listen]] table.'
        " Without any, tcp://127.0.0.1:7000: nothing is reachable from other machines unasked.",
    )
    limits: Limits = Field(default=Limits(), description="How much one worker takes on.")
    connection: ConnectionLimits = Field(
        default=ConnectionLimits(), description="How bytes move on one connection."
    )
    dispatch: Dispatch = Field(
        default=Dispatch(), description="How connections are handed to workers."
    )
    process: Process = Field(
        default=Process(),
        description="The user that a host becomes once it has opened what only root may open.",
    )
    lifecycle: Lifecycle = Field(
        default=Lifecycle(), description="How long starting, stopping and replacing may take."
    )
    breaker: Breaker = Field(
        default=Breaker(),
        description="When a plugin that serves no listener is left out for a while because it keeps"
        " failing.",
    )
    admin: Admin = Field(
        default=Admin(), description="How a running host is asked and told things."
    )
    log: Log = Field(default=Log(), description="What is logged and how.")
    ops: Ops = Field(
        default=Ops(), description="Where a host shows how it is: metrics, health, a dashboard."
    )
    bus: BusSettings = Field(
        default=BusSettings(), description="What workers talk through, in one host or over several."
    )
    metrics: Metrics = Field(
        default=Metrics(), description="What is measured of a host that shows how it is."
    )
    profile: Profile = Field(default=Profile(), description="Where the time of the workers goes.")
    pools: Pools = Field(
        default={},
        description="A table for each pool, [pools.NAME], that plugins give work to.",
    )
    # Not in the repr: which of these values are secret is known only to the plugin's own model.
    options: dict[str, dict[str, Any]] = Field(
        default={},
        repr=False,
        description="A table for each plugin, [options.NAME], checked against the plugin's own"
        " model when the plugin is loaded.",
    )

    @property
    def listens(self) -> tuple[Listen, ...]:
        """What to listen on: `listen`, or the default address if that is empty."""
        return self.listen or (Listen(address=DEFAULT_ADDRESS),)

    @property
    def counts_clients(self) -> bool:
        """Whether what one client may do is limited at any listener."""
        return any(map(self.limits.concern_clients_of, self.listens))

    @model_validator(mode="after")
    def _check_clients(self) -> Self:
        self.limits.check_clients(self.listens)
        return self

    @field_validator("listen")
    @classmethod
    def _check_tls(cls, value: Listens, info: ValidationInfo) -> Listens:
        # A table that is itself invalid is missing here and reported on its own.
        if (tables := info.data.get("tls")) is not None:
            check_names([each.tls for each in value], tables)
        return value

    @field_validator("ops")
    @classmethod
    def _check_ops(cls, value: Ops, info: ValidationInfo) -> Ops:
        admin: Admin | None = info.data.get("admin")
        if value.listen and admin is not None and not admin.enabled:
            raise ValueError("listen needs admin.enabled = true: the supervisor is asked that way")
        return value
