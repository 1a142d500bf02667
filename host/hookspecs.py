"""The hooks: what a plugin may implement, and what it can rely on.

Grammar: `on_*` tells (answers are ignored, everyone entitled hears it), `choose_*` asks (the
first answer other than None wins). An implementation is marked with `hookimpl` and may leave
out arguments that it does not need. Arguments have no default values.

`TABLE`, at the end, has a row for each hook: where it runs, who hears it, what follows from a
failure. What calls the hooks, reports their failures and describes them is made from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

import pluggy

from host.interfaces import (
    ChildExit,
    CloseReason,
    Connection,
    Datagram,
    Host,
    Listener,
    Worker,
    WorkerView,
)

NAMESPACE = "host"
"""The project name that pluggy's markers and the plugin manager share."""

hookspec = pluggy.HookspecMarker(NAMESPACE)
"""Mark the specification of a hook that a plugin brings for others to implement.

`@hookspec(firstresult=True)` ends a call with the first answer other than None. See
`pluggy.HookspecMarker`.
"""
hookimpl = pluggy.HookimplMarker(NAMESPACE)
"""Mark a function or a method as the implementation of the hook whose name it has.

`@hookimpl(tryfirst=True)` and `@hookimpl(trylast=True)` move it within the order of plugins, and
`@hookimpl(wrapper=True)` runs it around the others. See `pluggy.HookimplMarker`.
"""


class Process(Enum):
    """The kinds of process that call hooks, as the specifications name them."""

    SUPERVISOR = "the supervisor"
    WORKER = "the worker"


class Audience(Enum):
    """Which plugins hear a hook, as the specifications say it."""

    EVERY = "in every plugin"
    LISTENER = "first the listener's protocol plugin, then every plugin that is no protocol"
    PROTOCOL = "the listener's protocol plugin alone"
    FIRST_ANSWER = "plugins in order until one answers"


OTHERS_HEAR_IT = "the others still hear it"
"""What follows from a failure that stops nothing."""


class Hook(NamedTuple):
    """What the host knows of a hook besides its specification.

    Attributes:
        specification: the function in this module that specifies it.
        process: the kind of process that calls it.
        audience: who hears it.
        call_number: what a worker writes into the scoreboard before it calls the hook, 1 to 255;
            None for a hook of the supervisor. Workers of two releases share a scoreboard during
            a reload, so a number is never given to another hook. 7 and 9 stand for no hook.
        guarded: whether the circuit breaker leaves out a plugin that keeps failing in it.
        in_turn: whether a worker calls it within a turn of its loop.
        consequence: what follows from a failure, for the log. None if the caller gives up because
            of the failure, and tells so itself.
    """

    specification: Callable[..., object]
    process: Process
    audience: Audience
    call_number: int | None = None
    guarded: bool = False
    in_turn: bool = True
    consequence: str | None = OTHERS_HEAR_IT

    @property
    def name(self) -> str:
        """The hook's name."""
        return self.specification.__name__


@hookspec
def on_host_start(host: Host) -> None:
    """Tell that the host is about to start.

    Runs in: the supervisor, with every listener bound and before the first worker is forked.
    Calls: once, in every plugin. A running host that is told to use another scheduler calls it
        in that one, before it asks it for the first time; workers are there already then.
    Blocking: allowed; nothing is served before it returns. Threads started here do not
        survive into the workers. In a scheduler that a running host is told to use it should be
        quick: nobody is let in meanwhile.

    Args:
        host: the host's name, pid, listeners and number of workers; its `metrics` declares what
            the plugin counts.
    Fails: the host does not start, and says which plugin failed and why. A running host goes on
        with the scheduler that it has.

    Example:
        from host import Host, hookimpl

        started = []

        @hookimpl
        def on_host_start(host: Host) -> None:
            started.append([listener.address for listener in host.listeners])
    """


@hookspec
def on_worker_start(worker: Worker) -> None:
    """Tell that a worker has begun: the place to open what each worker needs for itself.

    Runs in: the worker, before it is ready and thus before its first connection.
    Calls: once a worker, in every plugin.
    Blocking: allowed, up to `start_timeout_seconds`.

    Args:
        worker: the worker; keep it to call `call_later` and `call_from_thread`.
    Fails: the worker ends as failed to start. At first start the host stops and says why;
        later the slot is tried again, at growing intervals.

    Example:
        from host import Worker, hookimpl

        greeting = {}

        @hookimpl
        def on_worker_start(worker: Worker) -> None:
            greeting["text"] = f"served by worker {worker.slot}"
    """


@hookspec
def on_accept(connection: Connection) -> None:
    r"""Tell that a connection has been accepted: the place to set `connection.data` or to greet.

    Runs in: the worker that serves the connection.
    Calls: once a connection; first the listener's protocol plugin, then every plugin that is
        no protocol and not left out (see Fails).
    Blocking: no; it would hold up every connection of this worker.

    Args:
        connection: the connection; nothing has been read from it.
    Fails: this connection is closed, others go on; the remaining plugins still hear of it. A
        plugin that is no protocol and keeps failing, or taking long, is left out for a while:
        in this process it is not called for `on_accept`, `on_close`, `on_child_exit` and
        `choose_worker`. The section `[breaker]` of the settings says when.

    Example:
        from host import Connection, hookimpl

        @hookimpl
        def on_accept(connection: Connection) -> None:
            connection.data = {"lines": 0}
            connection.write(b"hello\r\n")
    """


@hookspec
def on_readable(connection: Connection) -> None:
    """Tell that bytes have arrived, or that the peer has finished sending.

    Runs in: the worker that serves the connection.
    Calls: as long as there is something to read; the listener's protocol plugin alone. It
        must call `connection.read()` (or pause, or close), else it would be called for ever.
    Blocking: no; it would hold up every connection of this worker.

    Args:
        connection: the connection to read from.
    Fails: this connection is closed, others go on.

    Example:
        from host import Connection, hookimpl

        @hookimpl
        def on_readable(connection: Connection) -> None:
            connection.write(connection.read().upper())
    """


@hookspec
def on_tls(connection: Connection) -> None:
    r"""Tell that a connection has TLS from now on, which its plugin has begun in the middle.

    Runs in: the worker that serves the connection.
    Calls: once after `connection.start_tls()`, when the handshake is done; the listener's protocol
        plugin alone. If it fails the connection ends, and `on_close` is told. A connection of
        a listener that has TLS had it before `on_accept`, and nothing is told here.
    Blocking: no; it would hold up every connection of this worker.

    Args:
        connection: the connection; `origin.tls` has what was agreed on. All that its client has
            said in plain text may have come from somebody on the way: forget it.
    Fails: this connection is closed, others go on.

    Example:
        from host import Connection, hookimpl

        @hookimpl
        def on_readable(connection: Connection) -> None:
            if connection.read() == b"STARTTLS\r\n" and connection.origin.tls is None:
                connection.write(b"go ahead\r\n")
                connection.start_tls("public")

        @hookimpl
        def on_tls(connection: Connection) -> None:
            connection.data = None
            connection.write(b"hello again\r\n")
    """


@hookspec
def on_datagram(datagram: Datagram) -> None:
    """Tell that a datagram has arrived at a UDP listener: the place to answer it.

    Runs in: the worker that reads the sender's datagrams at the moment.
    Calls: once a datagram, in the order in which one sender's arrive; the listener's protocol
        plugin alone. After 16 of them others go first.
    Blocking: no; it would hold up all datagrams and connections of this worker.

    Args:
        datagram: its bytes and its sender, whose address may be forged.
    Fails: logged; the sender gets no answer, others do.

    Example:
        from host import Datagram, hookimpl

        @hookimpl
        def on_datagram(datagram: Datagram) -> None:
            datagram.reply(datagram.data.upper())
    """


@hookspec
def on_close(connection: Connection, reason: CloseReason) -> None:
    """Tell that a connection has ended: the place to give back what belongs to it.

    Runs in: the worker that served the connection.
    Calls: exactly once per accepted connection; first the listener's protocol plugin, then
        every plugin that is no protocol, as for `on_accept`. Only a plugin that has been left
        out (see there) may miss one of the two and hear the other, so it should keep what
        belongs to a connection where it goes away with the connection.
    Blocking: no.

    Args:
        connection: the connection; nothing can be read or written any more.
        reason: why it ended.
    Fails: logged; the others still hear it. A plugin that keeps failing is left out for a
        while, as for `on_accept`.

    Example:
        from host import CloseReason, Connection, hookimpl

        ended = []

        @hookimpl
        def on_close(connection: Connection, reason: CloseReason) -> None:
            ended.append((connection.id, reason))
    """


@hookspec
def on_drain(connection: Connection, deadline: float) -> None:
    r"""Tell that the worker must go away: say goodbye, finish, close.

    Runs in: the worker that serves the connection.
    Calls: once per open connection when its worker starts to drain; the listener's protocol
        plugin alone. Until the deadline the connection goes on as before.
    Blocking: no.

    Args:
        connection: the open connection.
        deadline: when it will be closed in any case, in seconds of `time.monotonic()`.
    Fails: logged; the connection is closed at the deadline.

    Example:
        from host import Connection, hookimpl

        @hookimpl
        def on_readable(connection: Connection) -> None:
            connection.write(connection.read())

        @hookimpl
        def on_drain(connection: Connection, deadline: float) -> None:
            connection.write(b"going down, see you soon\r\n")
            connection.close()
    """


@hookspec
def on_worker_stop(worker: Worker) -> None:
    """Tell that a worker is about to end: the place to undo what `on_worker_start` did.

    Runs in: the worker, last, after its connections have ended. A worker that is killed
        never gets here.
    Calls: once a worker, in every plugin.
    Blocking: allowed; a worker that is not gone by the drain deadline is killed.

    Args:
        worker: the worker.
    Fails: logged; the others still hear it.

    Example:
        from host import Worker, hookimpl

        stopped = []

        @hookimpl
        def on_worker_stop(worker: Worker) -> None:
            stopped.append(worker.slot)
    """


@hookspec
def on_child_exit(child: ChildExit) -> None:
    """Tell that a worker has ended and has been reaped; its replacement is not yet started.

    Runs in: the supervisor.
    Calls: once per worker that ended, in every plugin, each isolated from the others.
    Blocking: no; the supervisor hands out no connections meanwhile.

    Args:
        child: which worker, and how it ended.
    Fails: logged; the others still hear it. A plugin that keeps failing is left out for a
        while, as for `on_accept`. What it takes away from the supervisor, or leaves behind in it,
        is put right, or ends the host: see "Plugins that keep failing" in the page on operations.

    Example:
        from host import ChildExit, hookimpl

        killed = []

        @hookimpl
        def on_child_exit(child: ChildExit) -> None:
            if child.signal is not None and not child.expected:
                killed.append((child.slot, child.signal))
    """


@hookspec(firstresult=True)
def choose_worker(listener: Listener, workers: Sequence[WorkerView]) -> WorkerView | None:
    """Ask which worker shall take the next connection.

    Runs in: the supervisor.
    Calls: once for each waiting connection; plugins in order until one answers.
    Blocking: no; every waiting connection waits for the answer.

    Args:
        listener: the listener that the connection waits on.
        workers: the candidates in order of their slots, never empty: ready, not suspended,
            below their connection limit.
    Returns: one of `workers`, or None to leave the choice to the next plugin.
    Fails: the plugin is named in the log and the next one is asked, in the end round-robin. An
        answer that is no candidate is named, too. A plugin that keeps raising, or taking long,
        is left out for a while, as for `on_accept`. What it does to the process of the supervisor
        is put right, or ends the host, as for `on_child_exit`.

    Example:
        from collections.abc import Sequence

        from host import Listener, WorkerView, hookimpl

        @hookimpl
        def choose_worker(listener: Listener, workers: Sequence[WorkerView]) -> WorkerView:
            return min(workers, key=lambda worker: worker.active + worker.outstanding)
    """


TABLE = (
    Hook(on_host_start, Process.SUPERVISOR, Audience.EVERY, consequence=None),
    Hook(
        on_worker_start,
        Process.WORKER,
        Audience.EVERY,
        call_number=5,
        in_turn=False,
        consequence=None,
    ),
    Hook(
        on_accept,
        Process.WORKER,
        Audience.LISTENER,
        call_number=2,
        guarded=True,
        consequence="the connection is closed",
    ),
    Hook(
        on_readable,
        Process.WORKER,
        Audience.PROTOCOL,
        call_number=1,
        consequence="the connection is closed",
    ),
    Hook(
        on_tls,
        Process.WORKER,
        Audience.PROTOCOL,
        call_number=10,
        consequence="the connection is closed",
    ),
    Hook(
        on_datagram,
        Process.WORKER,
        Audience.PROTOCOL,
        call_number=8,
        consequence="its sender gets no answer",
    ),
    Hook(on_close, Process.WORKER, Audience.LISTENER, call_number=3, guarded=True),
    Hook(
        on_drain,
        Process.WORKER,
        Audience.PROTOCOL,
        call_number=4,
        consequence="the connection is closed at the deadline",
    ),
    Hook(on_worker_stop, Process.WORKER, Audience.EVERY, call_number=6, in_turn=False),
    Hook(on_child_exit, Process.SUPERVISOR, Audience.EVERY, guarded=True),
    Hook(
        choose_worker,
        Process.SUPERVISOR,
        Audience.FIRST_ANSWER,
        guarded=True,
        consequence="the next scheduler is asked",
    ),
)
"""A row for each hook, in the order of the specifications."""

ROWS: Mapping[str, Hook] = {row.name: row for row in TABLE}
"""The same by name."""
