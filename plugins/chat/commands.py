"""What users of the chat can say: plain text, and commands that begin with a slash."""

from __future__ import annotations

import difflib
import heapq
import json
from collections.abc import Callable, Iterable

from host import Counter, Message, Worker
from host.plugins.chat.membership import Membership
from host.plugins.chat.names import room_of
from host.plugins.chat.options import Options
from host.plugins.chat.users import User

HELP = (
    "/nick NAME        be called NAME",
    "/join #ROOM       enter a room; what you type goes to the room that you joined last",
    "/leave [#ROOM]    leave this room, or another one",
    "/rooms            the rooms and how many are there",
    "/who [#ROOM]      who is in this room, or in another one",
    "/msg NICK TEXT    say something to one person only",
    "/me ACTION        say what you do",
    "/quit [WORDS]     go",
    "//TEXT            say something that begins with a slash",
)


class ChatCommands:
    """Carries out what the lines of users say.

    Args:
        worker: this worker.
        options: the limits.
        membership: does what needs an answer of the other workers.
        on_sent: told how many bytes a user was just sent on behalf of another one.
        messages: counts messages, to a room or to a user.
    """

    def __init__(
        self,
        worker: Worker,
        options: Options,
        membership: Membership,
        on_sent: Callable[[int], object],
        messages: Counter,
    ) -> None:
        self._bus, self._options, self._messages = worker.bus, options, messages
        self._membership, self._on_sent = membership, on_sent
        self._table: dict[str, Callable[[User, str], object]] = {
            "nick": self._nick,
            "join": self._join,
            "leave": membership.leave,
            "rooms": self._rooms,
            "who": self._who,
            "msg": self._msg,
            "me": self._me,
            "help": self._help,
            "quit": self._quit,
        }

    def start(self) -> None:
        """Begin to hear messages to single users of this worker."""
        self._bus.subscribe(_topic(self._bus.member), self._private)

    def do(self, user: User, text: str) -> None:
        """Carry out a line: a command, or plain text for the present room."""
        if text[0] != "/":
            self._say(user, f": {text}")
        elif text[1:2] == "/":
            self._say(user, f": {text[1:]}")
        else:
            word, _, rest = text[1:].partition(" ")
            verb = self._table.get(word.lower())
            if verb is None:
                near = difflib.get_close_matches(word.lower(), self._table, 1)
                hint = f"did you mean /{near[0]}?" if near else "try /help"
                user.refuse(f"there is no /{word[:20]}: {hint}")
            else:
                verb(user, rest.strip())

    def _say(self, user: User, text: str, mark: str = "") -> None:
        room = user.current
        if not room:
            user.refuse("you are in no room: /join #lobby, for example")
            return
        line = f"[{room}] {mark}{user.nick}{text}\r\n".encode()
        if self._membership.rooms.say(room, user.uid, line):
            self._messages.add(1, "room")
        else:
            user.refuse("the server is overloaded: that was not sent")

    def _me(self, user: User, rest: str) -> None:
        if rest:
            self._say(user, f" {rest}", mark="* ")
        else:
            user.refuse("what do you do? /me ACTION")

    def _nick(self, user: User, rest: str) -> None:
        if rest:
            self._membership.nick(user, rest)
        else:
            user.tell(f"you are {user.nick}; /nick NAME changes that")

    def _join(self, user: User, rest: str) -> None:
        if rest:
            self._membership.join(user, rest)
        else:
            user.refuse("which room? /join #ROOM; /rooms lists them")

    def _help(self, user: User, _rest: str) -> None:
        for line in HELP:
            user.tell(line)

    def _quit(self, user: User, rest: str) -> None:
        user.tell("goodbye")
        self._membership.quit(user, rest or "goodbye")
        user.connection.close()

    def _rooms(self, user: User, _rest: str) -> None:
        rooms = self._membership.presence.roster.rooms
        limit = self._options.max_listed
        largest = heapq.nsmallest(limit, rooms.items(), key=lambda room: (-room[1], room[0]))
        names = (f"{name} ({count})" for name, count in largest)
        user.tell(f"rooms: {self._list(names, len(rooms))}" if rooms else "there are no rooms yet")

    def _who(self, user: User, rest: str) -> None:
        room, problem = user.current, "" if user.current else "you are in no room: /who #ROOM"
        if rest:
            room, problem = room_of(rest, self._options.max_room_chars)
        if problem:
            user.refuse(problem)
            return
        people = tuple(self._membership.presence.roster.people(room))
        names = (person.nick for person in people[: self._options.max_listed])
        user.tell(f"{room}: {self._list(names, len(people))}" if people else f"{room} is empty")

    def _list(self, names: Iterable[str], count: int) -> str:
        more = count - self._options.max_listed
        return ", ".join(names) + (f" and {more} more" if more > 0 else "")

    def _msg(self, user: User, rest: str) -> None:
        nick, _, text = rest.partition(" ")
        text = text.strip()
        if not text:
            user.refuse("say what to whom: /msg NICK TEXT")
            return
        person = self._membership.presence.roster.find(nick)
        if person is None:
            user.refuse(f"nobody is called {nick[:64]}")
        elif self._send(person.member, "say", person.uid, user.uid, user.nick, text):
            self._messages.add(1, "user")
            user.connection.write(f"[to {person.nick}] {text}\r\n".encode())
        else:
            user.refuse("the server is overloaded: that was not sent")

    def _send(self, member: str, *what: object) -> bool:
        return self._membership.reach.publish(_topic(member), json.dumps(what).encode())

    def _private(self, message: Message) -> None:
        match json.loads(message.payload):
            case ["say", uid, sender, nick, text]:
                user = self._membership.users.get(uid)
                if user is None:
                    self._send(message.sender, "gone", sender)
                    return
                line = f"[from {nick}] {text}\r\n".encode()
                user.connection.write(line)
                self._on_sent(len(line))
            case ["gone", uid]:
                user = self._membership.users.get(uid)
                if user is not None:
                    user.refuse("that did not arrive: its reader has just gone")


def _topic(member: str) -> str:
    return f"chat.to.{member}"
