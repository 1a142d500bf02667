"""The hub of a bus that a broker orders: who hears, owns and asks what on this host. No I/O.

Frames of workers and of the bridge go in (`receive`), frames for them come out through `send`. A
message of a worker goes to the broker and is heard by others of its host when it comes back: so
there is one order of all messages for all hosts. All that has to outlive a connection to the
broker, or the bridge, is here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from heapq import merge
from operator import itemgetter
from typing import Protocol

from host.bus.bridge_frames import (
    JOINED,
    SERIAL,
    TRUST,
    Ask,
    Tell,
    pack_names,
    unpack_names,
    unpack_serials,
)
from host.bus.claims import Claims
from host.bus.frames import BRIDGE, TIME, Frame, Kind, packed, with_sender
from host.bus.hearers import Hearers
from host.bus.outbox import NOBODY, Outbox, Unconfirmed
from host.bus.questions import Questions
from host.bus.remote_state import RemoteLimits, RemoteState, Stage
from host.bus.tables import READS, Answer, Request

_HALF = 2**32 - 1
_PUBLISH = int(Ask.PUBLISH)  # a number is had faster than a member of an enumeration
_PUBLISH_TOLD = int(Ask.PUBLISH_TOLD)
_MESSAGE = int(Kind.MESSAGE)

Send = Callable[[int, bytes], object]


class Clock(Protocol):
    """What tells the time, and calls something later."""

    @property
    def now(self) -> float:
        """The time, in seconds."""

    def call_at(self, when: float, callback: Callable[[], object]) -> object:
        """Call something then."""


_LIMITS = RemoteLimits()


class RemoteHub:
    """Knows the members of this host (workers, by pid), and speaks for them through the bridge.

    Args:
        send: takes the number of a member, or `BRIDGE`, and a packed frame for it.
        node: the name of this node, which no other has.
        clock: tells the time, and calls something later: the supervisor's loop.
        told: called with the stage and its cause whenever that changes.
        limits: how much it keeps.
        told_foreign: called with `foreign_entries`, those before and those from now on.

    Attributes:
        stage: how far the bridge is.
        foreign_entries: the keys in the broker that are somebody else's, of tables and topics.
    """

    def __init__(
        self,
        send: Send,
        node: bytes,
        clock: Clock,
        told: Callable[[Stage, str], object],
        limits: RemoteLimits = _LIMITS,
        told_foreign: Callable[[list[str], list[str]], object] = lambda _before, _now: None,
    ) -> None:
        self._send, self._node, self._clock, self._told = send, node, clock, told
        self._limits, self._expecting, self._told_foreign = limits, False, told_foreign
        self.stage = Stage.AWAY
        self.foreign_entries: list[str] = []
        self._members: set[int] = set()
        self._senders: dict[int, bytes] = {}  # how messages of members begin, as they are asked for
        self._hearers = Hearers()
        self._outbox = Outbox(partial(send, BRIDGE), self._tell_end)
        self._claims = Claims(send, self._ask, self._give_up, self._name, limits.asked_at_once)
        self._questions = Questions(send, self._ask, limits.queued_bytes)
        self._position: tuple[int, bytes] | None = None
        self._known_since = self._alive_since = 0
        self._is_full = False
        self._trusted_until = 0.0
        self._from_workers: dict[int, Callable[[int, Frame], object]] = {
            Kind.SUBSCRIBE: self._subscribe,
            Kind.SUBSCRIBE_PREFIX: self._subscribe_prefix,
            Kind.UNSUBSCRIBE: self._unsubscribe,
            Kind.UNSUBSCRIBE_PREFIX: self._unsubscribe_prefix,
            Kind.PUBLISH: self._publish,
            Kind.PUBLISH_TOLD: lambda member, frame: self._publish(member, frame, member),
            Kind.OWN: self._claim,
            Kind.RELEASE: lambda member, frame: self._claims.release(member, frame.name),
            Kind.TABLE: self._ask_table,
            Kind.READ: self._read,
            Kind.READ_PREFIX: self._read,
        }
        self._from_bridge: dict[int, Callable[[Frame], object]] = {
            Tell.UP: self._bridge_up,
            Tell.AWAY: lambda frame: self.lose_bridge(frame.payload.decode(errors="replace")),
            Tell.JOINED: self._joined,
            Tell.OWNED: lambda frame: self._claims.take_answer(*SERIAL.unpack(frame.payload)),
            Tell.OWNED_AGAIN: lambda frame: self._claims.take_again(unpack_serials(frame.payload)),
            Tell.MESSAGE: self._hear,
            Tell.RESUMED: self._resumed,
            Tell.RETAINED: self._questions.take_retained,
            Tell.HEARD: self._questions.end_retained,
            Tell.DONE: self._confirm,
            Tell.REFUSED: lambda frame: self._outbox.refuse(unpack_serials(frame.payload)),
            Tell.ITEMS: self._questions.take_items,
            Tell.ANSWER: self._questions.take_answer,
            Tell.TRUST: self._trust,
            Tell.FOREIGN: self._note_foreign,
        }

    @property
    def node(self) -> str:
        """The name of this host among the others, as long as it runs."""
        return self._node.decode()

    @property
    def queued(self) -> int:
        """How many bytes wait for the broker."""
        return self._outbox.size

    def join(self, member: int) -> None:
        """Take in a member."""
        is_known = member in self._members
        if not is_known:
            self._members.add(member)
            self._outbox.add(Ask.ENTER, b"", self._name(member))
        self._send(member, Frame(Kind.TRUST, 0, b"", TIME.pack(self._trusted_until)).pack())
        if self._is_full or is_known:  # the hub before may have said something else
            self._send(member, Frame(Kind.FULL, int(self._is_full), b"").pack())

    def leave(self, member: int) -> None:
        """Forget a member: what it owns becomes free, and the others are told (`BUS_LEFT`)."""
        if member not in self._members:
            return
        self._members.discard(member)
        self._senders.pop(member, None)
        self._claims.leave(member)
        self._questions.leave(member)
        self._outbox.forget(member)
        topics, prefixes = self._hearers.leave(member)
        self._listen(Ask.UNLISTEN, topics)
        self._listen(Ask.UNLISTEN_PREFIX, prefixes)
        self._outbox.add(Ask.LEAVE, b"", self._name(member))

    def receive(self, member: int, frame: Frame) -> None:
        """Do what a member asks for, or take what the bridge says.

        Raises:
            BadFrameError: a question is none.
        """
        if member == BRIDGE:
            take = self._from_bridge.get(frame.kind)
            if take is not None:
                take(frame)
        elif (ask := self._from_workers.get(frame.kind)) is not None:
            ask(member, frame)

    def lose_bridge(self, cause: str) -> None:
        """Wait for another connection: this one has ended, or the bridge has."""
        self._outbox.open = False
        self._claims.close()
        self._questions.close()
        self._enter(Stage.AWAY, cause)

    def end(self) -> None:
        """Have the bridge tell the broker that this host ends."""
        self._send(BRIDGE, Frame(Ask.END, 0, b"").pack())

    def state(self) -> RemoteState:
        """Return all that is known, for the hub that takes over."""
        hearers, prefix_hearers = self._hearers.state()
        owned, claims = self._claims.state()
        return RemoteState(
            node=self._node,
            members=list(self._members),
            hearers=hearers,
            prefix_hearers=prefix_hearers,
            outbox=self._outbox.state(),
            owned=owned,
            claims=claims,
            confirming=self._questions.subscriptions(),
            asking=self._questions.tables(),
            position=self._position,
            known_since=self._known_since,
            alive_since=self._alive_since,
            trusted_until=self._trusted_until,
        )

    def restore(self, state: RemoteState) -> None:
        """Take over what the hub before has known; its members join again, before or after."""
        self._node = state.node
        self._senders.clear()
        self._members.update(state.members)
        self._hearers.restore(state.hearers, state.prefix_hearers)
        self._outbox.restore(*state.outbox)
        self._claims.restore(state.owned, state.claims)
        self._questions.restore(state.confirming)
        self._is_full = self._outbox.size > self._limits.queued_bytes
        self._position = state.position
        self._known_since, self._alive_since = state.known_since, state.alive_since
        self._trusted_until = state.trusted_until
        self._expecting = True
        self._clock.call_at(self._clock.now, lambda: self._answer_late(state.asking))

    def _answer_late(self, asking: list[tuple[int, int]]) -> None:
        """Answer what the hub before was asked: by now the members have their channels."""
        for member, number in asking:
            self._send(member, Frame(Kind.NO_ANSWER, number, b"").pack())
        self._expire()

    def _name(self, member: int) -> bytes:
        return b"%s:%d" % (self._node, member)

    def _ask(self, frame: Frame) -> None:
        self._send(BRIDGE, frame.pack())

    def _enter(self, stage: Stage, cause: str) -> None:
        self.stage = stage
        self._told(stage, cause)

    def _publish(self, member: int, frame: Frame, told: int = NOBODY) -> None:
        sender = self._senders.get(member)
        if sender is None:
            sender = self._senders[member] = with_sender(self._name(member), b"")
        kind = _PUBLISH if told == NOBODY else _PUBLISH_TOLD
        self._outbox.add(kind, frame.name, sender + frame.payload, frame.number, told)
        self._check_room()

    def _ask_table(self, member: int, frame: Frame) -> None:
        """Read a table now or not at all; changes wait their turn, as messages do."""
        if Request.unpack(frame.payload).op in READS:
            self._questions.ask_table(member, frame)
        elif self._outbox.size > 2 * self._limits.queued_bytes:  # messages fill half of it
            self._send(member, Frame(Kind.NO_ANSWER, frame.number, b"").pack())
        else:
            self._outbox.change(frame.name, frame.payload, member, frame.number)
            self._check_room()

    def _check_room(self) -> None:
        """Tell the members when nothing more can be published, and when it can again."""
        most = self._limits.queued_bytes
        is_full = self._outbox.size > (most // 2 if self._is_full else most)
        if is_full != self._is_full:
            self._is_full = is_full
            self._send_all(Frame(Kind.FULL, int(is_full), b""))

    def _claim(self, member: int, frame: Frame) -> None:
        due = self._clock.now + self._limits.claim_seconds
        self._claims.claim(member, frame.name, due)
        if not self._expecting:
            self._expecting = True
            self._clock.call_at(due, self._expire)

    def _expire(self) -> None:
        """Answer claims whose time is over, and do so again when that of the next is."""
        due = self._claims.expire(self._clock.now)
        self._expecting = due is not None
        if due is not None:
            self._clock.call_at(due, self._expire)

    def _tell_end(self, entry: Unconfirmed, done: bool | None) -> None:
        if entry.question is None:
            frame = Frame(Kind.ORDERED, int(done is True), b"")
        elif done is None:
            frame = Frame(Kind.NO_ANSWER, entry.question, b"")
        else:
            frame = Frame(Kind.ANSWER, entry.question, b"", Answer(done).pack())
        self._send(entry.member, frame.pack())

    def _confirm(self, frame: Frame) -> None:
        self._outbox.confirm(frame.number)
        self._check_room()

    def _send_all(self, frame: Frame) -> None:
        told = frame.pack()
        for member in self._members:
            self._send(member, told)

    def _give_up(self, member: int, key: bytes) -> None:
        self._outbox.add(Ask.RELEASE, key, self._name(member))

    def _listen(self, kind: Ask, names: Iterable[bytes]) -> None:
        """Have the bridge listen, or not any more; a turn has no time for a frame for each name."""
        if self.stage in (Stage.CATCHING_UP, Stage.READY):
            for piece in pack_names(names):
                self._ask(Frame(kind, 0, b"", piece))

    def _subscribe(self, member: int, frame: Frame) -> None:
        if self._hearers.add(frame.name, member):
            self._listen(Ask.LISTEN, (frame.name,))
        self._read(member, frame)

    def _subscribe_prefix(self, member: int, frame: Frame) -> None:
        if self._hearers.add_prefix(frame.name, member):
            self._listen(Ask.LISTEN_PREFIX, (frame.name,))
        self._read(member, frame)

    def _read(self, member: int, frame: Frame) -> None:
        last = self._outbox.last
        self._questions.ask_retained(member, frame.number, frame.name, frame.kind, last)

    def _unsubscribe(self, member: int, frame: Frame) -> None:
        self._questions.forget(member, frame.name, Kind.SUBSCRIBE)
        if self._hearers.remove(frame.name, member):
            self._listen(Ask.UNLISTEN, (frame.name,))

    def _unsubscribe_prefix(self, member: int, frame: Frame) -> None:
        self._questions.forget(member, frame.name, Kind.SUBSCRIBE_PREFIX)
        if self._hearers.remove_prefix(frame.name, member):
            self._listen(Ask.UNLISTEN_PREFIX, (frame.name,))

    def _note_foreign(self, frame: Frame) -> None:
        keys = unpack_names(frame.payload) if frame.payload else ()
        before, self.foreign_entries = (
            self.foreign_entries,
            [key.decode(errors="replace") for key in keys],
        )
        self._told_foreign(before, self.foreign_entries)

    def _bridge_up(self, frame: Frame) -> None:
        self._enter(Stage.JOINING, frame.payload.decode(errors="replace"))
        members = b" ".join(map(self._name, self._members))
        self._ask(Frame(Ask.JOIN, frame.number, self._node, members))

    def _joined(self, frame: Frame) -> None:
        last, known_since, alive_since = JOINED.unpack(frame.payload)
        has_forgotten = self._known_since not in (0, known_since)
        was_alive = self._alive_since == alive_since
        self._known_since, self._alive_since = known_since, alive_since
        if not was_alive:  # others may own keys from now on: nobody here is to trust that it does
            self._set_trust(0.0)
        self._outbox.join(-1 if has_forgotten else last)
        self._check_room()
        if not was_alive or self._claims.is_unsure:
            self._claims.ask_again(self._catch_up)
        else:
            self._catch_up()

    def _catch_up(self) -> None:
        """Listen to all that is heard here, and ask what was missed."""
        self._enter(Stage.CATCHING_UP, "")
        self._listen(Ask.LISTEN, self._hearers.topics)
        self._listen(Ask.LISTEN_PREFIX, self._hearers.prefixes)
        place = b""
        if self._position is not None:
            place = SERIAL.pack(self._position[0]) + self._position[1]
        self._ask(Frame(Ask.RESUME, 0, b"", place))

    def _resumed(self, frame: Frame) -> None:
        (number,) = SERIAL.unpack_from(frame.payload)
        epoch = frame.payload[SERIAL.size :]
        is_another = self._position is not None and epoch != self._position[1]
        self._position = number, epoch
        if frame.number:
            self._send_all(Frame(Kind.LOST, 0, b""))
        if is_another:
            # What the broker has kept over its restart may be older than what it had granted.
            self._set_trust(0.0)
            self._claims.ask_again(lambda: self._be_ready(lost=frame.number > 0))
        else:
            self._be_ready(lost=frame.number > 0)

    def _be_ready(self, *, lost: bool) -> None:
        """Say and ask all that waits."""
        self._ask(Frame(Ask.READY, 0, b""))  # before claims: a fence counts when it is granted
        # What was asked for is said in that order: who subscribes does not hear what it has
        # published before, but is told of it if it is retained.
        waiting = merge(self._outbox.begin(), self._questions.begin(), key=itemgetter(0))
        for _, frame in waiting:
            self._send(BRIDGE, frame)
        self._claims.begin()
        self._enter(Stage.READY, "messages were lost" if lost else "")

    def _hear(self, frame: Frame) -> None:
        if self._position is not None:
            number, epoch = self._position
            self._position = number + ((frame.number - number) & _HALF), epoch
        if hearers := self._hearers.of(frame.name):
            message = packed(_MESSAGE, 0, frame.name, frame.payload)
            for member in hearers:
                self._send(member, message)

    def _trust(self, frame: Frame) -> None:
        until, number = TRUST.unpack(frame.payload)
        if self._position is not None:
            self._position = max(number, self._position[0]), self._position[1]
        self._set_trust(until)

    def _set_trust(self, until: float) -> None:
        self._trusted_until = until
        self._send_all(Frame(Kind.TRUST, 0, b"", TIME.pack(until)))
