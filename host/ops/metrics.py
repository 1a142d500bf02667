"""The metrics of a host: the table of them, and where each is read in shared memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from host.interfaces import CloseReason
from host.ipc import scoreboard as board
from host.ipc.assignment import OpsAssignment
from host.ipc.host_counts import HostCounts, Restart
from host.ipc.totals import Totals
from host.metrics.hooks import HOOK_FAILURES, HOOK_SECONDS
from host.net.udp_losses import lost_datagrams
from host.ops import series
from host.ops.exposition import Metric, Sample, histogram
from host.runtime.processes import resident_bytes
from host.runtime.usage import cpu_seconds
from host.telemetry import events

Families = Iterator[tuple[Metric, list[Sample]]]
_LISTENER = ("listener", "plugin", "slot")


class _Counted(NamedTuple):
    """A counter of rows: the word that counts, and the value of one label more, if there is one."""

    metric: Metric
    word: int
    cause: str = ""


def _counter(name: str, help: str, labels: tuple[str, ...]) -> Metric:
    return Metric(f"prefork_{name}_total", "counter", help, labels)


_TURNED_AWAY = _counter(
    "connections_turned_away",
    "Connections that were accepted and not let in, by cause; they are among the accepted ones.",
    (*_LISTENER, "cause"),
)
_CLOSED = _counter(
    "connections_closed",
    "Connections that have ended, by reason; those of a worker that is killed are not among them.",
    (*_LISTENER, "reason"),
)
_LOST = _counter(
    "datagrams_lost",
    "Datagrams that the kernel has lost, since a queue was full or a checksum wrong.",
    ("listener",),
)
_TURNS = Metric(
    "prefork_worker_turn_seconds",
    "histogram",
    "How long turns of a worker's loop have taken: what waits meanwhile waits so long.",
    ("slot",),
)
_TASK_WAITS = Metric(
    "prefork_pool_task_wait_seconds",
    "histogram",
    "How long tasks of pools have waited before they began; of slots that have had any.",
    ("slot",),
)
_TASK_RUNS = Metric(
    "prefork_pool_task_run_seconds",
    "histogram",
    "How long tasks of pools have run, however they have ended; of slots that have had any.",
    ("slot",),
)
_TASKS = _counter(
    "pool_tasks",
    f"Tasks of pools that have ended, by outcome: {', '.join(board.OF_TASKS)}.",
    ("slot", "outcome"),
)

_OF_STREAMS = (
    _Counted(
        _counter("connections_claimed", "Connections that workers were told to accept.", _LISTENER),
        board.CLAIMED,
    ),
    _Counted(
        _counter("connections_accepted", "Connections that workers have accepted.", _LISTENER),
        board.ACCEPTED,
    ),
    _Counted(
        _counter("connections_spurious", "Accepts that found nobody waiting any more.", _LISTENER),
        board.SPURIOUS,
    ),
    _Counted(
        _counter(
            "connections_refused",
            "Accepts that failed, or were under way when the worker died.",
            _LISTENER,
        ),
        board.REFUSED,
    ),
    *(_Counted(_TURNED_AWAY, word, cause) for cause, word in board.OF_REFUSALS.items()),
    *(
        _Counted(_CLOSED, board.CLOSED + number, reason.name.lower())
        for number, reason in enumerate(CloseReason)
    ),
    _Counted(
        _counter(
            "writes_lost",
            "Connections whose plugin wrote what could not be sent any more.",
            _LISTENER,
        ),
        board.LOST_WRITES,
    ),
    _Counted(
        _counter("answers_cut", "Connections that ended with unsent bytes.", _LISTENER),
        board.CUT_ANSWERS,
    ),
)
_OF_DATAGRAMS = (
    _Counted(_counter("datagrams_received", "Datagrams read.", _LISTENER), board.DATAGRAMS),
    _Counted(_counter("datagram_replies", "Datagrams sent in reply.", _LISTENER), board.REPLIES),
    _Counted(
        _counter("datagram_replies_dropped", "Replies that the kernel did not take.", _LISTENER),
        board.DROPPED_REPLIES,
    ),
    _Counted(
        _counter(
            "datagram_replies_refused",
            "Replies that are larger than reply_factor lets them.",
            _LISTENER,
        ),
        board.REFUSED_REPLIES,
    ),
)
_OF_ALL = (
    _Counted(
        _counter("received_bytes", "Bytes that plugins have read.", _LISTENER), board.BYTES_IN
    ),
    _Counted(
        _counter("sent_bytes", "Bytes that the kernel has taken.", _LISTENER), board.BYTES_OUT
    ),
)
_BUS_DROPPED = _counter(
    "bus_messages_dropped",
    "Messages that the bus has not taken of workers, or not queued for them, as a queue was full.",
    ("slot", "at"),
)
_OF_SLOTS = (
    *(_Counted(_TASKS, word, outcome) for outcome, word in board.OF_TASKS.items()),
    _Counted(
        _counter(
            "worker_suspensions",
            "How often workers have missed a claim, and others were told.",
            ("slot",),
        ),
        board.SUSPENSIONS,
    ),
    _Counted(
        _counter("bus_messages_published", "Messages that the bus has taken.", ("slot",)),
        board.BUS_PUBLISHED,
    ),
    _Counted(
        _counter(
            "bus_messages_delivered",
            "Messages that were queued for workers that hear them.",
            ("slot",),
        ),
        board.BUS_DELIVERED,
    ),
    _Counted(_BUS_DROPPED, board.BUS_REFUSED, "publish"),
    _Counted(_BUS_DROPPED, board.BUS_DROPPED, "delivery"),
)
_LINES_DROPPED = _counter(
    "log_lines_dropped",
    "Lines that were not written to the log, as nobody has taken them in time, by slot; those of"
    " the supervisor are also its helper processes'.",
    ("slot",),
)


class _Gauge(NamedTuple):
    """A gauge of the workers that are alive, and how it is read of a row and a process."""

    metric: Metric
    read: Callable[[board.Row, int], float | None]


def _gauge(name: str, help: str, labels: tuple[str, ...] = ()) -> Metric:
    return Metric(f"prefork_{name}", "gauge", help, labels)


_OF_WORKERS = ("slot", "pid", "generation")
_GAUGES = (
    _Gauge(
        _gauge("worker_connections", "Connections that are open.", _OF_WORKERS),
        lambda row, _pid: row.get(board.ACTIVE),
    ),
    _Gauge(
        _gauge(
            "worker_suspended", "Whether it has missed a claim, so others are told.", _OF_WORKERS
        ),
        lambda row, _pid: row.get(board.SUSPENDED),
    ),
    _Gauge(
        _gauge("worker_refusing", "Whether it has run out of descriptors or memory.", _OF_WORKERS),
        lambda row, _pid: row.get(board.REFUSING),
    ),
    _Gauge(
        _gauge("worker_tasks_queued", "Tasks of its pools that wait.", _OF_WORKERS),
        lambda row, _pid: row.get(board.TASKS_WAITING),
    ),
    _Gauge(
        _gauge("worker_tasks_running", "Tasks of its pools that run.", _OF_WORKERS),
        lambda row, _pid: row.get(board.TASKS_RUNNING),
    ),
    _Gauge(
        _gauge("worker_resident_bytes", "Memory that it has resident.", _OF_WORKERS),
        lambda _row, pid: resident_bytes(pid),
    ),
    _Gauge(
        _counter("worker_cpu_seconds", "CPU time that its process has used.", _OF_WORKERS),
        lambda _row, pid: cpu_seconds(pid),
    ),
)
_INFO = _gauge("info", "Always 1; what the host is.", ("name", "version"))
_GENERATION = _gauge("generation", "The number of the newest generation that has workers.")
_STARTED = _gauge("start_time_seconds", "When the host was started, since the epoch.")
_RESTARTS = _counter("worker_restarts", "Workers that were replaced, by cause.", ("slot", "cause"))
_EVENTS = _counter("events", "Events that the supervisor has told in the log.", ("event",))

_BUS_CONNECTED = _gauge("bus_connected", "Whether the bus is connected to its broker.")
_BUS_QUEUED = _gauge("bus_queued_bytes", "Bytes that wait for the broker of the bus.")

SHOWN_FROM_ZERO = (
    events.HELPER_ENDED,
    events.RELOAD_FAILED,
    events.FORK_FAILED,
    events.BUS_AWAY,
    events.BUS_MISSED,
    events.CERTIFICATES_REFUSED,
    events.CERTIFICATES_NOT_TAKEN,
    events.HOST_BUG,
    events.HOST_RELOADING,
    events.GENERATION_READY,
)
"""Events that have a series before they are told: alerts of Prometheus wait for the first of them,
or somebody counts reloads, and it sees no increase of a series that begins with 1. The others are
shown once they are told."""

METRICS: tuple[Metric, ...] = tuple(
    dict.fromkeys(
        (
            _INFO,
            _STARTED,
            _GENERATION,
            *(each.metric for each in (*_OF_STREAMS, *_OF_DATAGRAMS, *_OF_ALL)),
            _LOST,
            *(each.metric for each in _OF_SLOTS),
            _TURNS,
            _TASK_WAITS,
            _TASK_RUNS,
            *(each.metric for each in _GAUGES),
            _RESTARTS,
            _EVENTS,
            _LINES_DROPPED,
            _BUS_CONNECTED,
            _BUS_QUEUED,
            series.shown(HOOK_SECONDS),
            series.shown(HOOK_FAILURES),
        )
    )
)
"""All metrics, in the order in which they are shown: the source of the page Metrics."""


def read(host: OpsAssignment) -> Families:
    """Read all metrics now, without asking any process.

    Args:
        host: where they are.
    """
    totals = host.ended.copy()
    for generation in host.generations:
        totals.add(generation.scoreboard, generation.listeners)
    yield _INFO, [Sample((host.name, host.version), 1)]
    yield _STARTED, [Sample((), host.started)]
    alive = [
        (generation.number, row, row.get(board.PID))
        for generation in host.generations
        for row in generation.scoreboard.rows
        if row.get(board.PID)
    ]
    yield _GENERATION, [Sample((), max(number for number, _, _ in alive))] if alive else []
    yield from _of_listeners(totals)
    if lost := _lost(host):
        yield _LOST, lost
    yield from _of_slots(totals)
    for gauge in _GAUGES:
        found = []
        for number, row, pid in alive:
            value = gauge.read(row, pid)
            if value is not None and row.slot is not None:  # else it has just ended
                found.append(Sample((row.slot, pid, number), value))
        yield gauge.metric, found
    yield _RESTARTS, _of_restarts(host.counts, {slot for slot, _ in totals.slots})
    told = dict.fromkeys((event.name for event in SHOWN_FROM_ZERO), 0) | host.counts.events
    told.pop(events.LINES_DROPPED.name, None)  # that is a number of lines
    yield _EVENTS, [Sample((name,), count) for name, count in told.items()]
    dropped: list[tuple[str | int, int]] = [("supervisor", host.counts.lines_dropped)]
    dropped += [(slot, words[board.LINES_DROPPED]) for slot, words in sorted(totals.slots)]
    yield _LINES_DROPPED, [Sample((slot,), count) for slot, count in dropped]
    if (bus := host.counts.bus) is not None:
        yield _BUS_CONNECTED, [Sample((), int(bus[0]))]
        yield _BUS_QUEUED, [Sample((), bus[1])]
    yield from series.read(host)


def _lost(host: OpsAssignment) -> list[Sample]:
    """Return what the kernel has lost of each UDP listener that there is; its sockets know that."""
    listeners = {view.address for each in host.generations for view in each.listeners}
    udp = sorted(each for each in listeners if each.startswith("udp://"))
    return [Sample((address,), count) for address, count in lost_datagrams(udp).items()]


def _of_restarts(counts: HostCounts, slots: set[int]) -> list[Sample]:
    """Return restarts by slot and cause; slots that there are have all causes, also those of 0."""
    found = dict.fromkeys(((slot, cause) for slot in sorted(slots) for cause in Restart), 0)
    found |= {(slot, Restart(cause)): count for slot, cause, count in counts.restarts}
    return [Sample((slot, cause.name.lower()), count) for (slot, cause), count in found.items()]


def _of_listeners(totals: Totals) -> Families:
    families: dict[Metric, list[Sample]] = {}
    for address, plugin, slot, words in sorted(totals.listeners):
        of_kind = _OF_DATAGRAMS if address.startswith("udp://") else _OF_STREAMS
        for metric, word, cause in (*of_kind, *_OF_ALL):
            labels = (address, plugin, slot, cause) if cause else (address, plugin, slot)
            families.setdefault(metric, []).append(Sample(labels, words[word]))
    yield from families.items()


def _of_slots(totals: Totals) -> Families:
    families: dict[Metric, list[Sample]] = {}
    for metric, word, outcome in _OF_SLOTS:
        more = (outcome,) if outcome else ()
        families.setdefault(metric, []).extend(
            Sample((slot, *more), words[word]) for slot, words in sorted(totals.slots)
        )
    yield from families.items()
    yield _TURNS, _times(totals, board.TURNS)
    for metric, first in ((_TASK_WAITS, board.TASK_WAITS), (_TASK_RUNS, board.TASK_RUNS)):
        yield metric, _times(totals, first, all_slots=False)


def _times(totals: Totals, first: int, *, all_slots: bool = True) -> list[Sample]:
    """Return a histogram for each slot, of buckets that begin with a word of its rows."""
    last = first + board.TURN_BUCKETS
    bounds = [(1 << 10 + number) / 1e9 for number in range(board.TURN_BUCKETS - 1)]
    found: list[Sample] = []
    for slot, words in sorted(totals.slots):
        counts = words[first:last]
        if all_slots or any(counts):
            found += histogram((slot,), counts, bounds, words[last] / 1e9)
    return found
