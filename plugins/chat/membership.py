"""Arriving, nicks, joining and leaving: all that needs an answer of the other workers.

A user waits until its own worker has heard on the bus that the step is done; the lines that it
sends meanwhile wait too. So each step begins when the one before is complete, and its effect shows
in whatever the user asks for next. What is granted after the wait is over is given back.
"""

from __future__ import annotations

from collections.abc import Callable

from host import Timer, Worker
from host.plugins.chat.names import key_of, nick_of, room_of
from host.plugins.chat.nicks import Nicks
from host.plugins.chat.options import Options
from host.plugins.chat.presence import Presence
from host.plugins.chat.reach import Reach
from host.plugins.chat.rooms import Rooms
from host.plugins.chat.roster import Arrived, Asked, Change, Joined, Left, Person, Quit, Renamed
from host.plugins.chat.users import User, Wait

PATIENCE_SECONDS = 10.0
"""After this a user is told that the bus does not answer, and is closed."""
_CUT_OFF = "no word from the other servers"


class Membership:
    """Serves the users of one worker.

    Args:
        worker: this worker.
        options: the limits.
        on_sent: told how many bytes some users were just sent.
        go_on: called with a user whose wait is over.

    Attributes:
        users: the users of this worker, by their numbers.
        reach: publishes on the bus, and knows whether that answers.
        rooms: the rooms that they are in.
        presence: what the workers tell each other.
    """

    def __init__(
        self,
        worker: Worker,
        options: Options,
        on_sent: Callable[[int], object],
        go_on: Callable[[User], object],
    ) -> None:
        self._worker, self._bus, self._options, self._go_on = worker, worker.bus, options, go_on
        self.users: dict[int, User] = {}
        self.reach = Reach(worker, self._reach_changed)
        self.rooms = Rooms(worker, self.reach, options.history, options.echo, on_sent)
        self.presence = Presence(worker, self.reach, self._changed, self._lost)
        self._nicks = Nicks(worker.bus, self._taken)

    def start(self) -> None:
        """Begin to hear the other workers."""
        self._nicks.start()
        self.presence.start()

    def arrive(self, user: User) -> None:
        """Take in a user, as a guest."""
        self.users[user.uid] = user
        wait = self._begin(user, Wait.ARRIVAL)
        if not self.reach.is_there:
            user.refuse(f"{_CUT_OFF}: wait")
        self.presence.call_when_known(lambda: self._name_guest(user, wait))

    def nick(self, user: User, given: str) -> None:
        """Give a user another nick, if nobody has it."""
        nick, problem = nick_of(given, self._options.max_nick_chars)
        if problem:
            user.refuse(problem)
        elif nick == user.nick:
            user.tell(f"you are {nick}")
        elif not self.reach.is_there:
            user.refuse(f"{_CUT_OFF}: try another nick later")
        elif key_of(nick) == key_of(user.nick):
            self._begin(user, Wait.NICK)
            user.nick = nick
            self.presence.rename(user.uid, nick)
        else:
            wait = self._begin(user, Wait.CLAIM)
            self._nicks.claim(nick, lambda owned: self._claimed(user, wait, nick, owned))

    def join(self, user: User, given: str) -> None:
        """Let a user enter a room; with one that it is in, plain text goes there from now on."""
        room, problem = room_of(given, self._options.max_room_chars)
        limit = self._options.max_rooms_per_user
        if problem:
            user.refuse(problem)
        elif room in user.rooms:
            user.current = room
            user.tell(f"you talk in {room} now")
        elif len(user.rooms) >= limit:
            user.refuse(f"you are in {limit} rooms, and more are not allowed: /leave one first")
        elif user.asking or not self.reach.is_there:
            user.refuse(f"{_CUT_OFF}: enter {room} later")
        else:
            self._begin(user, Wait.JOIN)
            user.asking = room
            try:
                self.rooms.open(room, user.uid, lambda: self._opened(user, room))
            except BlockingIOError:
                user.asking = ""
                user.refuse("the server is overloaded: try again")
                self._end(user)

    def leave(self, user: User, given: str) -> None:
        """Take a user out of a room, or of the present one."""
        room = room_of(given, self._options.max_room_chars)[0] if given else user.current
        if room not in user.rooms:
            user.refuse(f"you are not in {room}" if room else "you are in no room")
            return
        if self.reach.is_there:
            self._begin(user, Wait.LEAVE)
        else:
            user.refuse(f"{_CUT_OFF}: you leave {room} as soon as they answer")
        self.presence.leave(user.uid, room)

    def quit(self, user: User, why: str) -> None:
        """Take a user out of everything; harmless if that was done."""
        if user.gone:
            return
        user.gone = True
        self._stop_waiting(user)
        del self.users[user.uid]
        for room in (*user.rooms, user.asking):
            self.rooms.leave(room, user.uid)
        self.presence.quit(user.uid, why)
        if user.nick:
            self._nicks.take_back(user)

    def _begin(self, user: User, wait: Wait) -> Timer:
        user.connection.pause_reading()
        user.wait = wait
        user.timer = self._worker.call_later(PATIENCE_SECONDS, lambda: self._give_up(user))
        self.reach.probe()
        return user.timer

    def _end(self, user: User, *waits: Wait) -> None:
        """End the wait of a user, if it is one of these: it has gone on if nobody answered."""
        if waits and user.wait not in waits:
            return
        self._stop_waiting(user)
        user.connection.resume_reading()
        self._go_on(user)

    def _stop_waiting(self, user: User) -> None:
        if user.timer is not None:
            user.timer.cancel()
        user.wait = user.timer = None

    def _give_up(self, user: User) -> None:
        """Close a user that waited too long: a late answer would pass for that to its next step."""
        what = user.wait or Wait.GUEST
        user.refuse(f"no word of {what.value}: the server is overloaded, come back later")
        self.quit(user, "overload")
        user.connection.close()

    def _reach_changed(self, is_there: bool) -> None:
        """Tell all users whether the bus answers; those that wait for a step go on without it.

        What a worker has said is heard in its order, so what they do next comes after that step.
        Only who has no nick of its own cannot go on.
        """
        for user in tuple(self.users.values()):
            if is_there:
                user.tell("the other servers answer again")
                continue
            user.refuse(f"{_CUT_OFF}: what you say is passed on as soon as they answer")
            if user.wait is Wait.CLAIM:
                self._end_claim(user)  # should the nick be granted later, it is let go
            else:
                self._end(user, Wait.NICK, Wait.JOIN, Wait.LEAVE)

    def _name_guest(self, user: User, wait: Timer) -> None:
        def named(nick: str) -> None:
            if not nick:
                self._give_up(user)
                return
            self._nicks.give(user, nick)
            self.presence.arrive(user.uid, nick)

        self._nicks.claim_guest(lambda: user.timer is wait, named)

    def _taken(self, user: User) -> None:
        """Give a user another nick: its own belongs to somebody of another host by now."""
        if user.wait is Wait.CLAIM:
            return  # it gets the one that it wants, or else another
        if user.wait is None:
            self._begin(user, Wait.GUEST)
        self._rename_guest(user)

    def _rename_guest(self, user: User) -> None:
        old = user.nick

        def named(nick: str) -> None:
            if not nick:
                self._give_up(user)
                return
            user.refuse(f"{old} belongs to somebody else by now")
            self._nicks.give(user, nick)
            self.presence.rename(user.uid, nick)

        def is_wanted() -> bool:
            return not user.gone and user.nick == old and not self._nicks.is_owned(user)

        self._nicks.claim_guest(is_wanted, named)

    def _claimed(self, user: User, wait: Timer, nick: str, owned: bool) -> None:
        if user.timer is not wait:
            if owned:
                self._nicks.let_go(nick)
            return
        if owned:
            user.wait = Wait.NICK
            self._nicks.give(user, nick)
            self.presence.rename(user.uid, nick)
            return
        if self.presence.roster.find(nick) is not None:
            user.refuse(f"{nick} is taken: try another nick")
        else:  # somebody else has just got it, or there was no answer in time
            user.refuse(f"{nick} cannot be had now: try again, or another nick")
        self._end_claim(user)

    def _end_claim(self, user: User) -> None:
        """Let a user go on that has not got the nick that it wants, if it still has its own."""
        if self._nicks.is_owned(user):
            self._end(user)
        else:
            self._stop_waiting(user)
            self._begin(user, Wait.GUEST)
            self._rename_guest(user)

    def _opened(self, user: User, room: str) -> None:
        if user.asking == room and not user.gone:
            self.presence.ask(user.uid, room)

    def _lost(self) -> None:
        self.rooms.renew()
        for user in self.users.values():
            user.refuse("some messages were lost")

    def _changed(self, change: Change) -> None:
        person = change.person
        user = self.users.get(person.uid) if person.member == self._bus.member else None
        match change:
            case Arrived():
                if user is not None:
                    user.tell(f"you are {person.nick}; /nick NAME changes that")
                    self._end(user, Wait.ARRIVAL)
            case Renamed():
                self._renamed(change, user)
            case Asked():
                if user is not None:
                    self._decide(user, change)
            case Joined():
                self._joined(change.person, change.room, user)
            case Left():
                self._left(change.person, change.room, user)
            case Quit():
                text = f"-- {person.nick} has quit ({change.why})\r\n"
                self.rooms.announce(change.rooms, text.encode())

    def _renamed(self, change: Renamed, user: User | None) -> None:
        text = f"{change.old} is now {change.person.nick}"
        rooms = change.person.rooms
        self.rooms.announce((room for room in rooms if rooms[room]), f"-- {text}\r\n".encode())
        if user is not None:
            if not user.rooms:
                user.tell(text)
            if change.person.nick == user.nick:
                self._end(user, Wait.NICK, Wait.GUEST)

    def _decide(self, user: User, asked: Asked) -> None:
        limit = self._options.max_room_members
        if self.presence.is_known and asked.ahead < limit:
            self.presence.enter(user.uid, asked.room)
            return
        self.presence.leave(user.uid, asked.room)
        self.rooms.leave(asked.room, user.uid)
        user.asking = ""
        if self.presence.is_known:
            user.refuse(f"{asked.room} is full: {limit} are in it")
        else:  # nobody knows how many have asked before
            user.refuse("the server is overloaded: try again")
        self._end(user, Wait.JOIN)

    def _joined(self, person: Person, name: str, user: User | None) -> None:
        if user is not None:
            for line in self.rooms.enter(name, user.uid, user.connection.write):
                user.connection.write(line)
            user.asking, user.current = "", name
            user.rooms.append(name)
        here = self.presence.roster.rooms.get(name, 0)
        text = f"-- {person.nick} has joined {name} ({here} here)\r\n"
        self.rooms.announce((name,), text.encode())
        if user is not None:
            self._end(user, Wait.JOIN)

    def _left(self, person: Person, name: str, user: User | None) -> None:
        self.rooms.announce((name,), f"-- {person.nick} has left {name}\r\n".encode())
        if user is not None:
            self.rooms.leave(name, user.uid)
            user.leave(name)
            if user.current:
                user.tell(f"you talk in {user.current} now")
            self._end(user, Wait.LEAVE)
