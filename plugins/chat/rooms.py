"""The rooms as one worker knows them: those that it has users in, and what was said there last."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from itertools import count

from host import Bus, Message, Worker
from host.plugins.chat.reach import Reach

Write = Callable[[bytes], object]
Line = tuple[str, bytes, bytes]
"""What was said: the worker that it comes from, its head (see `Rooms`), and the line itself."""

_RETRY_SECONDS = 0.25


class Room:
    """A room that this worker has users in, or that one of them is about to enter.

    Attributes:
        writers: how those who are in it are written to, by their numbers.
        interest: the numbers of those and of the ones about to enter.
        ring: the last lines that were said in it.
        past: what a new subscription has brought so far; None while there is no subscription.
        ready: whether this worker hears what is said in it.
        waiting: what is called then.
    """

    __slots__ = ("interest", "name", "past", "ready", "ring", "topic", "waiting", "writers")

    def __init__(self, name: str, history: int) -> None:
        self.name, self.topic = name, f"chat.room.{name}"
        self.writers: dict[int, Write] = {}
        self.interest: set[int] = set()
        self.ring: deque[Line] = deque(maxlen=history)
        self.past: deque[Line] | None = None
        self.waiting: list[Callable[[], object]] = []
        self.ready = False


class Rooms:
    """Hears a room's topic as long as one of this worker's users is in the room.

    A message is its head, a space, and the line as everyone is sent it: the line is written once,
    by the worker of its sender, and only copied from there on. The head is the number of the user
    who says it, a dot, and a number that tells the messages of that worker apart.

    Args:
        worker: this worker.
        reach: publishes what is said.
        history: how many lines are kept of each room.
        echo: whether a message is also sent to the user who says it.
        on_sent: told how many bytes each of a room's users was just sent.
    """

    def __init__(
        self,
        worker: Worker,
        reach: Reach,
        history: int,
        echo: bool,
        on_sent: Callable[[int], object],
    ) -> None:
        self._worker, self._reach, self._history, self._echo = worker, reach, history, echo
        self._bus: Bus = worker.bus
        self._on_sent = on_sent
        self._rooms: dict[str, Room] = {}
        self._numbers = count(1)

    def get(self, name: str) -> Room | None:
        """Return a room that this worker knows."""
        return self._rooms.get(name)

    def open(self, name: str, uid: int, then: Callable[[], object]) -> None:
        """Call `then` as soon as this worker hears what is said in a room.

        Raises:
            BlockingIOError: the bus is overloaded; nothing was opened.
        """
        room = self._rooms.get(name)
        if room is None:
            room = Room(name, self._history)
            self._listen(room)
            self._rooms[name] = room
        room.interest.add(uid)
        if room.ready:
            then()
        else:
            room.waiting.append(then)

    def enter(self, name: str, uid: int, write: Write) -> Iterable[bytes]:
        """Write to a user what is said from now on; return what was said before."""
        room = self._rooms[name]
        room.writers[uid] = write
        return [line for _, _, line in room.ring]

    def leave(self, name: str, uid: int) -> None:
        """Take out a user who is in the room or about to enter; harmless if it is neither."""
        room = self._rooms.get(name)
        if room is None:
            return
        room.writers.pop(uid, None)
        room.interest.discard(uid)
        if not room.interest:
            del self._rooms[name]
            self._bus.unsubscribe(room.topic)

    def say(self, name: str, uid: int, line: bytes) -> bool:
        """Have a line sent to all in a room; False if the bus is overloaded."""
        payload = b"%d.%d %b" % (uid, next(self._numbers), line)
        return self._reach.publish(self._rooms[name].topic, payload, retain=self._history)

    def announce(self, names: Iterable[str], line: bytes) -> None:
        """Send a line once to each of this worker's users who is in one of the rooms."""
        rooms = [room for name in names if (room := self._rooms.get(name)) is not None]
        if not rooms:
            return
        writers = rooms[0].writers
        if len(rooms) > 1:
            writers = {uid: write for room in rooms for uid, write in room.writers.items()}
        for write in writers.values():
            write(line)
        self._on_sent(len(line))

    def renew(self) -> None:
        """Subscribe to all rooms anew: messages have been lost.

        A new subscription brings the messages that the bus has kept. Users are then shown those
        after the last one that came, and so also those of the time between two subscriptions.
        """
        for room in tuple(self._rooms.values()):
            self._bus.unsubscribe(room.topic)
            room.past = None
            self._renew(room)

    def _renew(self, room: Room) -> None:
        if self._rooms.get(room.name) is room and room.past is None:
            try:
                self._listen(room)
            except BlockingIOError:
                self._worker.call_later(_RETRY_SECONDS, lambda: self._renew(room))

    def _listen(self, room: Room) -> None:
        """Subscribe to a room's topic; what an earlier subscription still brings is ignored."""
        past: deque[Line] = deque(maxlen=self._history)

        def ready() -> None:
            if self._rooms.get(room.name) is room and room.past is past:
                self._begin(room, past)

        def heard(message: Message) -> None:
            head, _, line = message.payload.partition(b" ")
            if message.retained:
                past.append((message.sender, head, line))
            elif self._rooms.get(room.name) is room and room.past is past:
                room.ring.append((message.sender, head, line))
                self._pass_on(room, (message.sender, head, line))

        self._bus.subscribe(room.topic, heard, ready)
        room.past = past

    def _begin(self, room: Room, past: deque[Line]) -> None:
        """Take over the messages that a new subscription brought, and show those that are new."""
        known = set(room.ring)
        last = max((at for at, line in enumerate(past) if line in known), default=-1)
        for line in list(past)[last + 1 :]:
            self._pass_on(room, line)
        room.ring, room.ready = past, True
        waiting, room.waiting = room.waiting, []
        for then in waiting:
            then()

    def _pass_on(self, room: Room, said: Line) -> None:
        sender, head, line = said
        writers = room.writers
        own = None
        if not self._echo and sender == self._bus.member:
            own = writers.get(int(head.partition(b".")[0]))
        for write in writers.values():
            if write is not own:
                write(line)
        self._on_sent(len(line))
