"""The table of telemetry events: everything the host has to tell, with its fields."""

from __future__ import annotations

from enum import IntEnum
from string import Formatter
from typing import NamedTuple

from host.telemetry.tracing import TRACE_FIELDS


class Level(IntEnum):
    """How much an event matters; numbers as in the standard logging module."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


class Event(NamedTuple):
    """One kind of event.

    Attributes:
        name: its name, as in JSON log lines.
        level: how much it matters.
        sentence: one sentence; its `{fields}` are filled in for text log lines. A number may be
            followed by what it counts: `{workers:worker}` is "1 worker" or "2 workers".
        extra: fields that the sentence does not show; `traceback`, `details` and `recent` are
            printed below the line.
        asked_for: whether it is emitted only where a setting asks for it; it is written then
            whatever the lowest level is that is logged.
    """

    name: str
    level: Level
    sentence: str
    extra: tuple[str, ...] = ()
    asked_for: bool = False

    @property
    def fields(self) -> frozenset[str]:
        """The names of all fields that are emitted with the event."""
        return frozenset(name for _, name, _, _ in Formatter().parse(self.sentence) if name) | set(
            self.extra
        )


HOST_STARTING = Event(
    "host_starting", Level.INFO, "{name} {version} starting: pid {pid}, {workers:worker}"
)
VARIABLES_IGNORED = Event(
    "variables_ignored",
    Level.WARNING,
    "ignored variables: {names}; those of settings begin with PREFORK_",
)
LISTENING = Event("listening", Level.INFO, "listening on {address}, served by {plugin}")
BACKLOG_UNKNOWN = Event(
    "backlog_unknown",
    Level.WARNING,
    "{address}: the kernel does not tell how many connections wait ({cause}); "
    "handing them out one at a time, which is slower",
)
BACKLOG_CAPPED = Event(
    "backlog_capped",
    Level.WARNING,
    "{address}: backlog is {actual} instead of {wanted}: raise net.core.somaxconn",
)
SOCKET_FILE_LOST = Event(
    "socket_file_lost",
    Level.WARNING,
    "nobody can connect to {address}, whose socket file is gone or somebody else's, and another "
    "cannot be made: {cause}; mend it and reload again",
)
SOCKET_UNUSED = Event(
    "socket_unused",
    Level.WARNING,
    "nobody is served on {address}, a socket that the service manager has passed: listen on "
    "{name}, or have the service manager not open it",
)
DESCRIPTORS_CAPPED = Event(
    "descriptors_capped",
    Level.INFO,
    "{allowed} file descriptors are allowed, so a worker takes at most "
    "{connections:connection}: raise RLIMIT_NOFILE, or set limits.max_connections_per_worker",
)
MANAGER_NOT_TOLD = Event(
    "manager_not_told",
    Level.WARNING,
    "the service manager cannot be told at {address}: {cause}",
)
WATCHDOG_SHORT = Event(
    "watchdog_short",
    Level.WARNING,
    "the service manager wants to hear of the host every {seconds:g} s, and a reload may take "
    "longer: set WatchdogSec to {least:g} s or more",
)
HOST_READY = Event("host_ready", Level.INFO, "ready: {workers:worker} serving")
HOST_RELOADING = Event("host_reloading", Level.INFO, "reload on {cause}: trying the new settings")
RELOAD_FAILED = Event(
    "reload_failed", Level.ERROR, "reload failed, and nothing has changed: {reason}", ("details",)
)
GENERATION_STARTING = Event(
    "generation_starting",
    Level.INFO,
    "generation {generation} starting: {workers:worker}; those before it serve until it is ready",
)
GENERATION_FAILED = Event(
    "generation_failed",
    Level.ERROR,
    "generation {generation} cannot start, and those before it go on: {reason}; "
    "mend it and reload again",
    ("details",),
)
GENERATION_READY = Event(
    "generation_ready", Level.INFO, "generation {generation} ready after {seconds:.3f} s"
)
NOT_LISTENING = Event("not_listening", Level.INFO, "no longer listening on {address}")
WORKERS_SCALED = Event(
    "workers_scaled", Level.INFO, "{workers:worker} instead of {before} on {cause}"
)
SCHEDULER_SWAPPED = Event(
    "scheduler_swapped", Level.INFO, "{plugin} chooses the workers instead of {before}"
)
STOP_ASKED = Event("stop_asked", Level.INFO, "a plugin in process {pid} stops the host: {reason}")
HOST_STOPPING = Event(
    "host_stopping", Level.INFO, "stopping on {cause}: draining for at most {seconds:g} s"
)
HOST_STOPPING_NOW = Event("host_stopping_now", Level.WARNING, "stopping now on {cause}")
HOST_STOPPED = Event("host_stopped", Level.INFO, "stopped: exit code {code}, {meaning}")
SIGNAL_RECLAIMED = Event(
    "signal_reclaimed",
    Level.WARNING,
    "a plugin has taken or blocked {signal} in the supervisor: the host's own handler is back",
)
HOST_BUG = Event(
    "host_bug", Level.ERROR, "a fault of the host itself: {error}; please report it", ("traceback",)
)

WORKER_STARTED = Event("worker_started", Level.DEBUG, "worker {slot} started: pid {pid}")
WORKER_READY = Event(
    "worker_ready", Level.INFO, "worker {slot} (pid {pid}) ready after {seconds:.3f} s"
)
WORKER_EXITED = Event(
    "worker_exited", Level.INFO, "worker {slot} (pid {pid}) ended: {cause}", ("age_seconds",)
)
WORKER_DIED = Event(
    "worker_died",
    Level.ERROR,
    "worker {slot} (pid {pid}) died: {cause} {place}; {next}",
    ("age_seconds", "traceback", "recent"),
)
WORKER_START_FAILED = Event(
    "worker_start_failed", Level.ERROR, "worker {slot} failed to start: {cause}", ("traceback",)
)
WORKER_SUSPENDED = Event(
    "worker_suspended",
    Level.WARNING,
    "worker {slot} (pid {pid}) {cause}: others take {outstanding:connection} that it was told of",
)
WORKER_CAUGHT_UP = Event("worker_caught_up", Level.INFO, "worker {slot} (pid {pid}) has caught up")
WORKER_HUNG = Event(
    "worker_hung",
    Level.ERROR,
    "worker {slot} (pid {pid}) hangs: it has not got on for {seconds:.1f} s, {place}; "
    "it is made to end",
    ("traceback", "recent"),
)
WORKER_RECYCLED = Event(
    "worker_recycled", Level.INFO, "worker {slot} (pid {pid}) is to be replaced: {cause}"
)
WORKER_HELD = Event(
    "worker_held",
    Level.INFO,
    "worker {slot} (pid {pid}) gets no new connections: an operator holds it",
)
WORKER_RESUMED = Event(
    "worker_resumed", Level.INFO, "worker {slot} (pid {pid}) gets connections again"
)
WORKER_KILLED = Event(
    "worker_killed",
    Level.WARNING,
    "worker {slot} (pid {pid}) killed: {cause}; it was {place}",
    ("traceback", "recent"),
)
FORK_FAILED = Event(
    "fork_failed", Level.ERROR, "cannot start worker {slot}: {error}; trying again in {seconds:g} s"
)
FORKS_ENDED = Event(
    "forks_ended",
    Level.WARNING,
    "found after the end of {owner}: forks that plugins have left behind, which are ended now: "
    "{processes}",
)
PROGRAMS_FOUND = Event(
    "programs_found",
    Level.WARNING,
    "found after the end of {owner}: programs that were left behind, which go on: {processes}",
)
UNKNOWN_CHILD = Event(
    "unknown_child", Level.DEBUG, "reaped process {pid}, which is no worker: {cause}"
)

BUS_DROPPED = Event(
    "bus_dropped",
    Level.WARNING,
    "worker with pid {pid} does not take what is published on the bus: messages to it are dropped",
)

HOOK_FAILED = Event(
    "hook_failed",
    Level.ERROR,
    "hook {hook} of plugin {plugin} raised {error}; {consequence}",
    ("connection", "peer", *TRACE_FIELDS, "traceback"),
)

CALLBACK_FAILED = Event(
    "callback_failed",
    Level.ERROR,
    "{call} of plugin {plugin} raised {error}; the others go on",
    ("connection", "peer", *TRACE_FIELDS, "traceback"),
)

POOL_PROCESS_ENDED = Event(
    "pool_process_ended",
    Level.ERROR,
    "worker {slot}: a process of pool {pool} (pid {pid}) has ended: {cause}; another is started",
)
POOL_NOT_STARTED = Event(
    "pool_not_started",
    Level.ERROR,
    "worker {slot}: pool {pool} does not start: {cause}; trying again in {seconds:g} s",
    ("traceback",),
)
TASKS_CUT = Event(
    "tasks_cut", Level.WARNING, "worker {slot}: {count:task} cut at the drain deadline"
)

PLUGIN_LOGGED = Event(
    "plugin_logged",
    Level.INFO,
    "{source}: {text}",
    ("plugin", "logger", *TRACE_FIELDS, "traceback"),
)
PLUGIN_PRINTED = Event(
    "plugin_printed", Level.INFO, "{source}: {text}", ("plugin", "stream", *TRACE_FIELDS)
)
THREAD_FAILED = Event(
    "thread_failed",
    Level.ERROR,
    "{source}: thread {thread} has ended with {error}",
    ("plugin", "traceback"),
)
ERROR_IGNORED = Event(
    "error_ignored",
    Level.ERROR,
    "{source}: {error}, where nothing can hear of it: {place}",
    ("plugin", "traceback"),
)

PLUGIN_ENDS_HOST = Event(
    "plugin_ends_host",
    Level.ERROR,
    "plugin {plugin} has ended the host: it calls os._exit({code}) in the supervisor, at {place}, "
    "so all workers end at once; raise an exception there, or call host.stop()",
)
PROCESS_HARMED = Event(
    "process_harmed",
    Level.ERROR,
    "in the supervisor plugin {plugin} has harmed the host: {cause}; {consequence}. {advice}",
    ("traceback",),
)
PLUGIN_LEFT_OUT = Event(
    "plugin_left_out",
    Level.ERROR,
    "plugin {plugin} has failed {count:time}, last in {hook}: left out for {seconds:g} s "
    "in this process",
)
PLUGIN_CALLED_AGAIN = Event("plugin_called_again", Level.INFO, "plugin {plugin} is called again")

ADMIN_COMMAND = Event(
    "admin_command", Level.INFO, "command {command} from uid {uid}, pid {peer_pid}"
)
ADMIN_UNAVAILABLE = Event(
    "admin_unavailable",
    Level.WARNING,
    "no commands can reach this host, which cannot have the socket {address}: {cause}; "
    "give each host a --name of its own",
)

CONNECTION_CLOSED = Event(
    "connection_closed",
    Level.INFO,
    "connection {connection} from {peer} to {listener} ended in worker {slot} after "
    "{seconds:.3f} s, {bytes_in:byte} in, {bytes_out:byte} out: {reason}",
    TRACE_FIELDS,
    asked_for=True,
)
REQUEST_ANSWERED = Event(
    "request_answered",
    Level.INFO,
    "{method} {path} from {peer}: {status} after {seconds:.3f} s, {bytes_out:byte}; "
    "connection {connection} to {listener} in worker {slot}",
    TRACE_FIELDS,
    asked_for=True,
)
CONNECTIONS_CUT = Event(
    "connections_cut", Level.WARNING, "worker {slot}: {count:connection} cut at the drain deadline"
)
WRITES_LOST = Event(
    "writes_lost",
    Level.WARNING,
    "worker {slot}: {count:write} ({bytes:byte}) of plugin {plugin} lost, the last to"
    " connection {connection}: its peer had finished sending, and so the host had closed it; a"
    " plugin that answers later calls begin_answer(), or sets allow_half_open",
)
ANSWERS_CUT = Event(
    "answers_cut",
    Level.WARNING,
    "worker {slot}: {count:connection} of {address} reset with {bytes:byte} unsent, the last of"
    " them {connection}: {reason}",
)
ACCEPT_FAILED = Event(
    "accept_failed",
    Level.WARNING,
    "worker {slot}: accept on {address} failed: {error}; {consequence}",
)
CONNECTIONS_REFUSED = Event(
    "connections_refused",
    Level.WARNING,
    "worker {slot} has refused {count} on {address}, the last one from {peer}: {why}",
)
REPLIES_REFUSED = Event(
    "replies_refused",
    Level.WARNING,
    "{address}: a reply of {size:byte} to {peer}, which has sent {asked}, is dropped "
    "(reply_factor): its address may be forged, and nobody has called trust() for it",
)
PROFILE_LOST = Event(
    "profile_lost", Level.WARNING, "worker {slot} (pid {pid}) cannot write its profile: {cause}"
)

LOG_REOPENED = Event(
    "log_reopened", Level.INFO, "log file {file} opened anew on {cause}, by all processes"
)
LOG_NOT_REOPENED = Event(
    "log_not_reopened",
    Level.ERROR,
    "{process} has not opened log file {file} anew, and goes on with the one it has: {cause}",
)
CERTIFICATES_RENEWED = Event(
    "certificates_renewed",
    Level.INFO,
    "[tls.{table}]: new certificate for {names}, valid until {expires}, in all workers on {cause}",
)
CERTIFICATES_REFUSED = Event(
    "certificates_refused",
    Level.ERROR,
    "[tls.{table}]: the files have changed and cannot be used, so the certificates before them "
    "stay: {cause}",
)
CERTIFICATES_NOT_TAKEN = Event(
    "certificates_not_taken",
    Level.ERROR,
    "[tls.{table}]: a worker (pid {pid}) has not taken the new certificates, and is asked again: "
    "{cause}",
)
CERTIFICATE_EXPIRES = Event(
    "certificate_expires",
    Level.WARNING,
    "[tls.{table}]: the certificate for {names} {validity}: renew {certificate}",
)
KEYS_LOGGED = Event(
    "keys_logged",
    Level.WARNING,
    "the keys of all TLS sessions are written to {file} (--tls-keylog): whoever reads it can read "
    "all that is sent",
)
HELPER_STARTED = Event("helper_started", Level.DEBUG, "process for {name} started: pid {pid}")
HELPER_ENDED = Event(
    "helper_ended",
    Level.ERROR,
    "the process for {name} (pid {pid}) has ended, {cause}; another starts in {seconds} s",
)
OPS_LISTENING = Event(
    "ops_listening", Level.INFO, "metrics, health and a dashboard are served on {address}"
)
OPS_FAILED = Event("ops_failed", Level.ERROR, "a page of ops.listen failed: {error}")
BUS_CONNECTED = Event("bus_connected", Level.INFO, "the bus is connected to {broker}")
BUS_AWAY = Event("bus_away", Level.WARNING, "the bus has no connection to {broker}: {cause}")
BUS_MISSED = Event(
    "bus_missed", Level.WARNING, "messages of the bus were lost while there was no connection"
)
BUS_ENTRY_FOREIGN = Event(
    "bus_entry_foreign",
    Level.WARNING,
    "what is in the broker at {key} is not of the bus, but somebody else's: that table or those"
    " keys are refused, or nothing is retained of that topic, until it is deleted (DEL)",
)
BUS_ENTRY_USABLE = Event(
    "bus_entry_usable", Level.INFO, "the entry of the broker at {key} can be used again"
)
BUS_REFUSED = Event(
    "bus_refused",
    Level.WARNING,
    "somebody else publishes on the channels of the bus in the broker: what is no message of a host"
    " is dropped, from now on without a word",
)
LINES_DROPPED = Event(
    "lines_dropped", Level.WARNING, "{count:log line} dropped: the log was not taken fast enough"
)

EVENTS: tuple[Event, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Event)
)
