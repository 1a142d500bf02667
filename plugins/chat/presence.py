"""Presence: how the workers tell each other of their users, on one topic of the bus.

Each worker says what happens to its own users, and hears it itself like all others: a change
counts when it is heard. It also keeps what it has said (`_own`), and tells all of it again as one
list when a worker begins (`hello`), and when something of it may have been lost.

A host that was cut off from the others for too long is taken for dead though it lives on: the
others have dropped its users, and its workers hear that they have left themselves. They tell their
lists again, and ask for those of the others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

from host import BUS_LEFT, BUS_LOST, Message, Worker
from host.plugins.chat.reach import Reach
from host.plugins.chat.roster import Change, Roster

TOPIC = "chat.presence"

_PART = 500
"""Users in one message of a list: some 50 KB, far below the limit of a message."""
_GATHER_SECONDS = 0.01
"""Workers that begin together say hello together: one list answers all of them."""
_RETRY_SECONDS = 0.25
_FIRST_LISTS_SECONDS = 0.05
"""How long a worker that begins waits for the lists of the others before it has users itself."""
_CALM_SECONDS = 0.1
"""How long losses are gathered before everyone is asked for its list."""
_ANSWER_SECONDS = 5.0
"""After a loss, a worker whose list does not come in this time has ended: that message was lost.

A broker that starts again is noticed within 2 s by each host."""


class _Own:
    """What has been said of one of this worker's own users."""

    __slots__ = ("nick", "rooms")

    def __init__(self, nick: str) -> None:
        self.nick = nick
        self.rooms: dict[str, bool] = {}


class Presence:
    """Says what happens to this worker's users, and keeps the roster of all.

    Args:
        worker: this worker.
        reach: publishes what is said.
        on_change: told of each change of the roster.
        on_loss: called when messages of the bus have been lost.

    Attributes:
        roster: who is there, over all workers.
        is_known: whether it has what the other workers had to tell: not at the start, and not after
            a loss, until they have told it again.
    """

    def __init__(
        self,
        worker: Worker,
        reach: Reach,
        on_change: Callable[[Change], object],
        on_loss: Callable[[], object],
    ) -> None:
        self._worker, self._bus, self._reach = worker, worker.bus, reach
        self._on_change, self._on_loss = on_change, on_loss
        self.roster = Roster()
        self._own: dict[int, _Own] = {}
        self._list_due = False
        self._unheard: set[str] = set()
        self._rounds = 0
        self._round_due = self._has_lost = False
        self._gathering = True
        self.is_known = False
        self._waiting: list[Callable[[], object]] = []

    def start(self) -> None:
        """Begin to listen; what this worker says counts as soon as it hears itself."""
        self._bus.subscribe(BUS_LEFT, self._left)
        self._bus.subscribe(BUS_LOST, lambda _: self._lost())
        self._bus.subscribe(TOPIC, self._heard, self._ask_for_lists)

    def call_when_known(self, function: Callable[[], object]) -> None:
        """Call `function` once the roster has what the other workers have to tell."""
        if self.is_known:
            function()
        else:
            self._waiting.append(function)

    def arrive(self, uid: int, nick: str) -> None:
        """Say that a user is there."""
        self._own[uid] = _Own(nick)
        self._say("new", uid, nick)

    def rename(self, uid: int, nick: str) -> None:
        """Say that a user has another nick."""
        self._own[uid].nick = nick
        self._say("nick", uid, nick)

    def ask(self, uid: int, room: str) -> None:
        """Say that a user wants to enter a room: `Asked` follows, unless it has asked already."""
        self._own[uid].rooms[room] = False
        self._say("ask", uid, room)

    def enter(self, uid: int, room: str) -> None:
        """Say that a user is in a room."""
        self._own[uid].rooms[room] = True
        self._say("in", uid, room)

    def leave(self, uid: int, room: str) -> None:
        """Say that a user is not in a room any more, or does not get in."""
        self._own[uid].rooms.pop(room, None)
        self._say("out", uid, room)

    def quit(self, uid: int, why: str) -> None:
        """Say that a user is gone; harmless if it has not arrived."""
        if self._own.pop(uid, None) is not None:
            self._say("quit", uid, why)

    def _say(self, *event: object) -> bool:
        said = self._reach.publish(TOPIC, json.dumps(event, separators=(",", ":")).encode())
        if not said:
            self._list_soon(_RETRY_SECONDS)
        return said

    def _list_soon(self, seconds: float) -> None:
        if not self._list_due:
            self._list_due = True
            self._worker.call_later(seconds, self._say_list)

    def _say_list(self) -> None:
        """Tell all of this worker's users in one list, which replaces what was told before."""
        self._list_due = False
        rows = [(uid, own.nick, own.rooms) for uid, own in self._own.items()]
        for at in range(0, max(len(rows), 1), _PART):
            if not self._say("all", at == 0, at + _PART >= len(rows), rows[at : at + _PART]):
                return

    def _asked(self) -> None:
        """Give the others time for their lists: from now, when they hear the question as well."""
        this = self._rounds
        self._worker.call_later(_FIRST_LISTS_SECONDS, lambda: self._gathered(this))
        self._worker.call_later(_ANSWER_SECONDS, lambda: self._drop_unheard(this))

    def _gathered(self, asked_in: int) -> None:
        if asked_in == self._rounds:
            self._gathering = False
            self._look_whether_known()

    def _look_whether_known(self) -> None:
        if self.is_known or self._round_due or self._gathering or self._unheard:
            return
        self.is_known = True
        waiting, self._waiting = self._waiting, []
        for function in waiting:
            function()

    def _ask_for_lists(self) -> None:
        if self._say("hello"):
            self._say_list()
        else:
            self._worker.call_later(_RETRY_SECONDS, self._ask_for_lists)

    def _heard(self, message: Message) -> None:
        event = json.loads(message.payload)
        if event[0] == "hello":
            if message.sender == self._bus.member:
                self._asked()
            else:
                self._list_soon(_GATHER_SECONDS)
            return
        if event[0] == "all" and event[2]:
            self._unheard.discard(message.sender)
        self._tell(self.roster.apply(message.sender, event))
        self._look_whether_known()

    def _left(self, message: Message) -> None:
        member = message.payload.decode()
        if member == self._bus.member:  # its users are there, but nobody else knows that
            self._ask_soon()
            return
        self._unheard.discard(member)
        self._tell(self.roster.drop(member))
        self._look_whether_known()

    def _lost(self) -> None:
        self._has_lost = True
        self._ask_soon()

    def _ask_soon(self) -> None:
        self.is_known = False
        if not self._round_due:
            self._round_due = True
            self._worker.call_later(_CALM_SECONDS, self._ask_all)

    def _ask_all(self) -> None:
        """Ask all workers for their lists; one that does not answer has ended."""
        self._round_due = False
        if self._has_lost:
            self._has_lost = False
            self._on_loss()
        self._unheard = set(self.roster.members) - {self._bus.member}
        self._rounds += 1
        self._gathering = True
        self._ask_for_lists()

    def _drop_unheard(self, asked_in: int) -> None:
        if asked_in != self._rounds:  # everyone has been asked again since
            return
        unheard, self._unheard = self._unheard, set()
        for member in unheard:
            self._tell(self.roster.drop(member))
        self._look_whether_known()

    def _tell(self, changes: Iterable[Change]) -> None:
        for change in changes:
            self._on_change(change)
