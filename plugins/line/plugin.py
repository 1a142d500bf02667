r"""The line protocol: one request a line, one reply a line; the base of other text protocols.

It brings the hook `on_line`. A new line protocol is a plugin that implements it, named in the
listener's options:

    plugins = ["line", "./greet.py"]
    listen = ["tcp://127.0.0.1:7000=line"]
    [options.line]
    commands = ["greet"]
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice, repeat
from typing import Any

from host import Connection, Counter, Host, Worker, hookimpl, hookspec
from host.plugins.encoding import harmless
from host.plugins.framing import FrameTooLongError, lines_left
from host.plugins.line.answerers import Answer, Answerers, OnLine
from host.plugins.line.arrays import (
    AT_ONCE_BYTES,
    MAX_WORDS,
    Words,
    cut_arrays,
    line_of,
    one_array,
)
from host.plugins.line.commands import QUIT, Commands
from host.plugins.line.options import Options
from host.plugins.line.session import Array, State
from host.plugins.line.share import Share

# A number: `b"*" in chunk` would first take the bytes for a number, and raise and clear an error.
_STAR, _CR = ord("*"), ord("\r")
_BYTES = (bytes, bytearray, memoryview)
_NO_WORDS: Iterator[Words | None] = repeat(None)
_SHARE_BYTES = 2048
"""How much is answered in one turn of the loop before the other connections get theirs: about half
a millisecond of the commands that ship."""
_PASS_BYTES = 64
"""What a block, or whatever else is no line, counts for at least."""

_REFUSED = {"cause": ("unknown", "too_long", "not_utf8", "bad_array")}


class Specs:
    """The hook that the line protocol brings."""

    @hookspec(firstresult=True)
    def on_line(self, connection: Connection, line: bytes | str, words: Words | None) -> Answer:
        r"""Tell that a line has arrived; the first plugin that answers has taken it.

        Runs in: the worker that serves the connection.
        Calls: once per line, in the plugins named by the option `commands`, in that order.
        Blocking: no.

        Args:
            connection: to write by itself, close, or have a state; `session(connection)`
                has more. Lines are answered faster if no plugin takes this argument.
            line: the line without its end; bytes, or str if the option `encoding` says so. Of an
                array it is the words with spaces between them.
            words: the words of an array, as they came, whatever bytes they hold; None for a line.
        Returns: the reply, with its end; True if the line has been dealt with otherwise; None to
            leave it to the next plugin. A line that nobody takes gets an error reply.
        Fails: the connection is closed, others go on.

        Example:
            from host import hookimpl

            @hookimpl
            def on_line(line: bytes) -> bytes:
                return b"+you said " + line + b"\r\n"
        """


def error(connection: Connection, text: str) -> None:
    """Write an error reply; what a client must not forge is taken out of `text`."""
    connection.write(b"-ERR " + harmless(text).encode() + b"\r\n")


class Line:
    """The protocol plugin; it answers the commands that ship, too."""

    hookspecs = Specs

    def __init__(self, options: Options) -> None:
        self._options = options
        self._decode, self._arrays = options.encoding == "utf-8", options.arrays
        self._at_once = 0 if self._decode else min(AT_ONCE_BYTES, options.max_line_bytes)
        self._commands, self._share = Commands(), Share()
        self._answerers: Answerers
        self._refused: Counter

    @hookimpl
    def on_host_start(self, host: Host) -> None:
        """Bind the plugins that answer."""
        self._answerers = Answerers(host, self._options.commands)
        self._refused = host.metrics.counter(
            "refused", "Lines and arrays that got an error reply of the host's own.", _REFUSED
        )

    @hookimpl
    def on_worker_start(self, worker: Worker) -> None:
        """Tell the commands which worker they run in."""
        self._commands.start(worker)

    @hookimpl
    def on_accept(self, connection: Connection) -> None:
        """Begin with lines."""
        connection.data = State(self._options.max_line_bytes)

    @hookimpl
    def on_readable(self, connection: Connection) -> None:
        """Have what has arrived answered: at once if it is a few whole requests, as most often."""
        data = connection.read()
        current: State = connection.data
        if current.between and len(data) <= self._at_once:
            if self._arrays and _STAR in data:
                if self._answer_arrays(connection, current, data):
                    return
            else:
                lines = self._cut_lines(data)
                if len(lines) == 1:
                    self._answer_one(connection, lines[0])
                    return
                if self._answerers.replies_alone and 0 < len(lines) <= current.at_once:
                    self._reply_together(connection, lines, _NO_WORDS)
                    return
        elif self._share.was_just_used_up():  # a turn in which many have their shares is long
            current.between = False
            current.framer.feed(data)
            connection.call_next_turn(self._go_on)
            return
        self._go_on(connection, data)

    @hookimpl
    def on_drain(self, connection: Connection) -> None:
        """Close as soon as every line that has come is answered."""
        current: State = connection.data
        current.ending = True
        self._go_on(connection, connection.read())

    @hookimpl
    def on_line(self, line: bytes | str, words: Words | None) -> Answer:
        """Answer the commands that ship, but for QUIT."""
        return self._commands.answer(line, words)

    def _go_on(self, connection: Connection, data: bytes = b"") -> None:
        """Deal with what waits, until there is no more or others are to have their turn.

        A peer that does not take its replies is held back, too.
        """
        current: State = connection.data
        current.between = False
        framer, share = current.framer, self._share
        stop = None
        share.began = share.clock()
        while not connection.closed:
            if connection.congested or current.handler is not None:
                framer.feed(data)
                if connection.congested:
                    connection.call_when_writable(self._go_on)
                    return
                more = current.hand_out_raw(connection)
            else:
                try:
                    lines = framer.cut(data)
                except FrameTooLongError as too_long:
                    self._too_long(connection, too_long)
                    more = True
                else:  # one that a plugin's own framer raises is the plugin's
                    more = self._hand_out_lines(connection, current, lines)
            if not more:
                break
            waiting = framer.waiting
            stop = (waiting - _SHARE_BYTES if stop is None else stop) + _PASS_BYTES
            if waiting <= stop or share.is_used_up(current):
                share.ended = share.clock()
                connection.call_next_turn(self._go_on)
                return
            data = b""
        if current.ending:
            connection.close()
        current.between = current.handler is None and current.array is None and framer.between

    def _cut_lines(self, data: bytes) -> list[bytes]:
        """Return the lines if `data` is whole ones, else an empty list."""
        if data[-1:] != b"\n":
            return []
        lines = data.split(b"\n")
        lines.pop()
        if _CR in data:
            return [line[:-1] if line[-1:] == b"\r" else line for line in lines]
        return lines

    def _answer_arrays(self, connection: Connection, current: State, data: bytes) -> bool:
        """Have `data` answered if it is a few whole arrays; tell whether it is."""
        words = one_array(data)
        if words is not None:
            self._answer_one(connection, line_of(words), words)
            return True
        if not self._answerers.replies_alone:
            return False
        lines, requests, places, pieces = cut_arrays(data, self._at_once)
        if 0 < len(lines) <= current.at_once and pieces[places[-1] :] == [b""]:
            self._reply_together(connection, lines, iter(requests))
            return True
        return False

    def _answer_one(self, connection: Connection, line: bytes, words: Words | None = None) -> None:
        """Have a line answered that has come by itself; `words` if it was an array."""
        self._commands.counted += 1
        answerers = self._answerers
        if answerers.reply is not None:
            answer = answerers.reply(line, words)
        elif words is None:
            answer = answerers.on_line(connection, line)
        else:
            answer = answerers.on_array(connection, line, words)
        if type(answer) is bytes:
            connection.write(answer)
        elif answer is not True:
            self._say(connection, line, answer)

    def _hand_out_lines(
        self,
        connection: Connection,
        current: State,
        lines: Iterator[bytes],
        arrays: Iterator[Words] | None = None,
    ) -> bool:
        """Have lines answered, one by one if need be; tell whether there is more to do.

        It stops after a line that begins raw bytes, congests the connection or closes it, and when
        the connection has used up its share.
        """
        framer = current.framer
        if self._decode or current.array is not None or (self._arrays and _STAR in framer.chunk):
            if current.array is None and not self._decode and framer.chunk[0] == _STAR:
                if self._hand_out_arrays(connection, current, lines):
                    return bool(framer.uncut)
                lines = framer.cut()
            on_line: OnLine = self._odd_line
        elif self._answerers.replies_alone:
            return self._reply_to_lines(connection, lines, arrays) or bool(framer.uncut)
        else:
            on_line = self._answerers.one_by_one(arrays)
            self._commands.count(lines)
        try:
            while True:
                for line in islice(lines, current.at_once):
                    answer = on_line(connection, line)
                    if answer is not True:
                        self._say(connection, line, answer)
                    if current.handler is not None or connection.congested or connection.closed:
                        return True
                if not lines_left(lines) or self._share.is_used_up(current):
                    break
        finally:
            self._commands.count_back()
        return bool(framer.uncut or lines_left(lines))

    def _hand_out_arrays(self, connection: Connection, current: State, cut: Iterator[bytes]) -> int:
        """Have the arrays answered that are whole; return how many there were.

        It stops as `_hand_out_lines` does; what is left goes back to the framer.
        """
        framer, max_bytes = current.framer, self._options.max_line_bytes
        lines, requests, places, pieces = cut_arrays(framer.chunk, max_bytes)
        is_all = requests and pieces[places[-1] :] == [b""]
        if is_all and lines_left(cut) == framer.chunk.count(b"\n"):
            deque(cut, 0)  # nothing of the chunk stays in the framer
        else:
            lines, requests, places, pieces = cut_arrays(framer.take(AT_ONCE_BYTES), max_bytes)
        left = iter(lines)
        framer.chunk = b""  # there is no array in these lines, whatever they hold
        try:
            self._hand_out_lines(connection, current, left, iter(requests))
        finally:
            rest = pieces[places[len(requests) - lines_left(left)] :]
            if rest != [b""]:
                framer.unread(b"\r\n".join(rest))
        return len(requests)

    def _reply_to_lines(
        self, connection: Connection, lines: Iterator[bytes], arrays: Iterator[Words] | None
    ) -> bool:
        """Have lines answered by plugins that take no connection; tell whether some are left."""
        share, current = self._share, connection.data
        while lines_left(lines):
            self._reply_to(connection, list(islice(lines, current.at_once)), arrays or _NO_WORDS)
            if connection.congested or connection.closed:
                return True
            if lines_left(lines) and share.is_used_up(current):
                return True
        return False

    def _reply_together(
        self, connection: Connection, lines: list[bytes], words: Iterator[Words | None]
    ) -> None:
        """Have a few lines answered at once; if they turn out to be slow, the next ones are not."""
        share = self._share
        share.began = share.clock()
        self._reply_to(connection, lines, words)
        share.is_used_up(connection.data)

    def _reply_to(
        self, connection: Connection, lines: list[bytes], words: Iterator[Words | None]
    ) -> None:
        """Have a few lines answered by plugins that take no connection."""
        left = iter(lines)
        answers: list[Any] = []
        self._commands.count(left)
        try:
            answers.extend(self._answerers.replies(left, words))
        except BaseException:
            self._commands.count_back()
            raise
        finally:  # what was answered before a failure is sent
            try:
                connection.write(b"".join(answers))
            except TypeError:  # not all of it are replies
                for line, answer in zip(lines, answers, strict=False):
                    self._say(connection, line, answer)

    def _say(self, connection: Connection, line: bytes, answer: object) -> None:
        """Send the reply that `on_line` returned, or an error if nobody took the line."""
        if isinstance(answer, _BYTES):
            connection.write(answer)
        elif answer is None or answer is False:
            word = line.split(maxsplit=1)[0] if line.strip() else b""
            if word.upper() == QUIT and "line" in self._options.commands:
                connection.write(b"+bye\r\n")
                connection.close()
            elif line or not self._arrays:  # redis-cli sends an empty line and expects no reply
                self._refuse(connection, "unknown", self._commands.unknown(word))
        elif answer is not True:
            names = " or ".join(self._options.commands)
            raise TypeError(
                f"on_line of {names} returned {type(answer).__name__}; it must be the reply as"
                " bytes, True for a line that is dealt with, or None for one that is not"
            )

    def _odd_line(self, connection: Connection, line: bytes | str) -> Answer:
        """Have a line answered that is to be decoded, or may belong to an array of words."""
        assert isinstance(line, bytes)
        current: State = connection.data
        if self._arrays and (current.array is not None or line[:1] == b"*"):
            self._array_line(connection, current, line)
            return True
        return self._answer(connection, line)

    def _answer(self, connection: Connection, line: bytes, words: Words | None = None) -> Answer:
        self._commands.counted += 1
        given: bytes | str = line
        if self._decode:
            try:
                given = line.decode()
            except UnicodeDecodeError:
                self._refuse(connection, "not_utf8", "the line is not UTF-8")
                return True
        if words is None:
            return self._answerers.on_line(connection, given)
        return self._answerers.on_array(connection, given, words)

    def _refuse(self, connection: Connection, cause: str, text: str) -> None:
        self._refused.add(1, cause)
        error(connection, text)

    def _too_long(self, connection: Connection, too_long: FrameTooLongError) -> None:
        self._refused.add(1, "too_long")
        if self._options.long_lines != "skip":
            error(connection, f"line longer than {too_long.limit} bytes")
        if self._options.long_lines == "close":
            connection.close()

    def _array_line(self, connection: Connection, current: State, line: bytes) -> None:
        array = current.array
        number = line[1:]
        if not number.isdigit() or len(number) > 7:
            self._bad_array(connection)
        elif array is None:
            count = int(number)
            if count > MAX_WORDS:
                self._bad_array(connection)
            elif count:
                current.array = Array(count, self._options.max_line_bytes)
        elif line[:1] != b"$" or int(number) > array.room:
            self._bad_array(connection)
        else:
            array.room -= int(number) + 1
            current.block(int(number) + 2, self._array_word)

    def _array_word(self, connection: Connection, block: bytes) -> None:
        current: State = connection.data
        array = current.array
        assert array is not None
        if block[-2:] != b"\r\n":
            self._bad_array(connection)
            return
        array.words.append(block[:-2])
        array.missing -= 1
        if array.missing:
            return
        current.array = None
        line = line_of(array.words)
        self._say(connection, line, self._answer(connection, line, array.words))

    def _bad_array(self, connection: Connection) -> None:
        """Give up: nothing says where the next request begins."""
        words = "an array is *COUNT, then $LENGTH and the word for each; too long or bad"
        self._refuse(connection, "bad_array", words)
        connection.close()
