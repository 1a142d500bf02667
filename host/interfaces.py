"""What plugins are handed: frozen values and narrow protocols, never the host's own objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, overload


class CloseReason(StrEnum):
    """Why a connection ended; each member's value is the words used in log lines."""

    PEER_FINISHED = "peer finished sending"
    PLUGIN = "closed by the plugin"
    RESET = "reset by the peer"
    IDLE = "idle for too long"
    WRITE_TIMEOUT = "peer does not take what is sent"
    UNSENT_LIMIT = "too much unsent"
    WORKER_UNSENT_LIMIT = "too much unsent in this worker"
    PLUGIN_FAILED = "the plugin failed"
    DEADLINE = "still open at the drain deadline"
    OPERATOR = "closed by an operator"


@dataclass(frozen=True, slots=True)
class Listener:
    """One bound address and the plugin that serves it.

    Attributes:
        index: its number, 0 upwards, in the order of the settings.
        address: the bound address, `tcp://127.0.0.1:7000` or `unix:/run/x.sock`; never port 0.
        plugin: the name of the protocol plugin.
    """

    index: int
    address: str
    plugin: str


@dataclass(frozen=True, slots=True)
class ChildExit:
    """How a worker ended.

    Attributes:
        slot: its slot.
        pid: its process id, already reaped.
        generation: the generation it belonged to.
        exit_code: what it passed to exit, or None if a signal ended it.
        signal: the signal's number that ended it, or None. Both are None if a plugin in the
            supervisor has called waitpid(2) for all of its children.
        age_seconds: how long it lived.
        was_ready: whether it ever got ready to serve.
        expected: whether the host had asked it to go.
    """

    slot: int
    pid: int
    generation: int
    exit_code: int | None
    signal: int | None
    age_seconds: float
    was_ready: bool
    expected: bool


class WorkerView(Protocol):
    """A worker as a scheduler sees it: read-only, and live (each look reads the scoreboard)."""

    @property
    def slot(self) -> int:
        """Stable number, 0 … workers-1; a replacement takes it over."""

    @property
    def pid(self) -> int:
        """Process id."""

    @property
    def generation(self) -> int:
        """How many reloads came before this worker."""

    @property
    def active(self) -> int:
        """Connections open now."""

    @property
    def outstanding(self) -> int:
        """Notifications sent and not yet claimed."""

    @property
    def accepted(self) -> int:
        """Connections accepted so far in this slot, over all its workers."""

    @property
    def loop_lag_seconds(self) -> float:
        """How long the worker's present (or, while it waits, its last) loop turn has taken."""


BUS_LEFT = "bus.left"
"""The topic that tells of a member that is gone: the payload is its name."""
BUS_LOST = "bus.lost"
"""The topic that tells a member that it has lost messages: the payload is how many, in digits."""


@dataclass(frozen=True, slots=True)
class Message:
    """What was published on the bus.

    Attributes:
        topic: the topic.
        payload: what was published.
        sender: the member that published it.
        retained: whether it was published before this subscription.
    """

    topic: str
    payload: bytes
    sender: str
    retained: bool


class Bus(Protocol):
    """How workers talk: topics that are published to, and keys that have one owner.

    Nothing blocks. The messages that one member publishes on one topic arrive in that order, and
    those of a topic in the same order everywhere; the publisher hears its own as well. Queues are
    bounded: for a member that does not keep up messages are dropped, of which it is told on
    the topic `BUS_LOST` as soon as there is room. A member that ends gives up all its keys,
    and the others hear of it on the topic `BUS_LEFT`.
    """

    @property
    def member(self) -> str:
        """This worker's name among the members."""

    def publish(self, topic: str, payload: bytes, *, retain: int = 0) -> bool:
        """Send `payload` to all who have subscribed to `topic`.

        Args:
            topic: 1 to 512 bytes in UTF-8.
            payload: 1 MiB at most.
            retain: how many of the topic's messages, this one included, are kept for those who
                subscribe later; 0 to keep what is kept and not this one.

        Returns:
            False if it was dropped because too much waits; later is a good time to try again.
        """

    def subscribe(
        self,
        topic: str,
        callback: Callable[[Message], object],
        ready: Callable[[], object] | None = None,
    ) -> None:
        """Hear what is published on `topic`: what is retained, then `ready()`, then what comes.

        Raises:
            BlockingIOError: too much waits; nothing was subscribed.
        """

    def unsubscribe(self, topic: str) -> None:
        """Hear nothing more of `topic`; this ends all subscriptions of this worker to it."""

    def claim(self, key: str, done: Callable[[bool], object]) -> None:
        """Ask to be the one owner of `key` among all members.

        `done(True)` is called when this member owns it now, `done(False)` if it is owned already,
        even if this member is the owner.
        """

    def release(self, key: str) -> None:
        """Give up a key that this member owns."""


class Timer(Protocol):
    """A call that is due later."""

    def cancel(self) -> None:
        """Forget the call; harmless if it was made already."""


class Worker(Protocol):
    """The worker process that a hook runs in."""

    @property
    def slot(self) -> int:
        """Stable number, 0 … workers-1."""

    @property
    def pid(self) -> int:
        """Process id."""

    @property
    def generation(self) -> int:
        """How many reloads came before this worker."""

    @property
    def bus(self) -> Bus:
        """The bus to the other workers."""

    @property
    def connections(self) -> Iterable[Connection]:
        """The connections open in this worker, as a snapshot."""

    def call_later(self, seconds: float, function: Callable[[], object]) -> Timer:
        """Call `function` on the loop, once, after `seconds`; an exception ends up in the log."""

    def call_from_thread(self, function: Callable[[], object]) -> None:
        """Call `function` on the loop soon; the only method that other threads may use."""


class Host(Protocol):
    """The host as `on_host_start` sees it: bound, nothing forked yet."""

    @property
    def name(self) -> str:
        """The host's name from the settings."""

    @property
    def pid(self) -> int:
        """The supervisor's process id."""

    @property
    def workers(self) -> int:
        """How many workers will be started."""

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """The bound listeners."""

    @overload
    def hook(self, name: str, plugins: Sequence[str]) -> Callable[..., Any]: ...
    @overload
    def hook(
        self, name: str, plugins: Sequence[str], arguments: Sequence[str]
    ) -> Callable[..., Any] | None: ...
    def hook(
        self, name: str, plugins: Sequence[str], arguments: Sequence[str] | None = None
    ) -> Callable[..., Any] | None:
        """Bind a hook that this plugin brings (its `hookspecs`), for this plugin to call.

        The arguments are given by position. If the specification says `firstresult`, the first
        answer other than None ends the call. An exception passes through to the caller: in
        `on_readable` it ends the connection, and the plugin that raised it is named.

        Args:
            name: the hook's name.
            plugins: the plugins whose implementations are called, in this order.
            arguments: the names of the arguments that it will be called with, if these are not
                all: an implementation need not take what it does not use.

        Returns:
            What to call. None if an implementation takes more than `arguments`, or is wrapped.

        Raises:
            PluginError: one of them is not selected, or does not implement the hook.
        """


class Connection(Protocol):
    """One accepted connection, as a plugin sees it.

    Nothing here blocks. After the connection has ended every method is harmless: `read()`
    gives `b""`, and what is written is dropped, since a peer may go at any moment.
    """

    data: Any
    """The plugin's own state; None until the plugin sets it."""

    allow_half_open: bool
    """Set it to keep the connection after the peer has finished sending. Unless it is set, the
    host sends what is queued and closes. The plugin then has to call `close()` itself."""

    @property
    def id(self) -> str:
        """Unique among all connections of this host."""

    @property
    def peer(self) -> str:
        """The other end: `127.0.0.1:50211`, `[::1]:50211`, or `unix`."""

    @property
    def listener(self) -> Listener:
        """The listener that it came in on."""

    @property
    def worker(self) -> Worker:
        """The worker that serves it, for its whole life."""

    @property
    def closed(self) -> bool:
        """True as soon as it is closing: nothing more can be read or written."""

    @property
    def eof(self) -> bool:
        """True once `read()` has met the end of what the peer sends."""

    @property
    def unsent(self) -> int:
        """Bytes written and not yet taken by the kernel."""

    @property
    def congested(self) -> bool:
        """True while more than `high_water_bytes` are unsent: the host reads no more from it.

        What is unsent is found out by sending: after the handler, or earlier once it has written
        more than that in several pieces.
        """

    def read(self) -> bytes:
        """Return what has arrived, up to `read_size_bytes`.

        `b""` means that the peer has finished sending (`eof` is true from then on) or, on a
        second call for one `on_readable`, that there is nothing more yet.
        """

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Queue `data`; the host sends all that was queued once the handler has returned.

        A mutable buffer is copied. If more than `max_unsent_bytes` wait for a peer that does
        not read, the connection is closed with that reason.
        """

    def flush(self) -> None:
        """Send now as much of what is queued as the kernel takes."""

    def call_when_writable(self, function: Callable[[Connection], object]) -> None:
        """Call `function` with this connection once no more than `low_water_bytes` are unsent.

        That is at the end of the turn at the earliest. A plugin that makes much of little input
        stops at `congested` and goes on here. An exception counts as one of `on_readable`.
        """

    def call_next_turn(self, function: Callable[[Connection], object]) -> None:
        """Call `function` with this connection in the next turn of the loop.

        A plugin that has more to do for one connection than about a millisecond stops in between
        and goes on here, so that the other connections get their turn. Where many connections go on
        like this they have 1 ms of each turn together, one after the other. Nothing more is read
        from this one until then. The call is gone with the connection. An exception counts as one
        of `on_readable`.
        """

    def pause_reading(self) -> None:
        """Leave what arrives in the kernel until `resume_reading()`; the peer is held back."""

    def resume_reading(self) -> None:
        """Take up reading again after `pause_reading()`."""

    def close(self) -> None:
        """Send what is queued, then close. `on_close` follows, once."""
