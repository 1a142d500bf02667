"""The plugins that answer lines, bound in the ways in which lines are given to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from host import Connection, Host
from host.plugins.line.arrays import Words

Answer = bytes | bool | None
"""What `on_line` returns."""
OnLine = Callable[[Connection, bytes | str], Answer]


class Answerers:
    """Those whom the option `commands` names.

    What costs something for each line is left out where nobody asks for it.

    Args:
        host: binds the hook `on_line`.
        commands: the names of the plugins.

    Attributes:
        on_line: has a line answered.
        on_array: has an array answered, given as a line and as its words.
        reply: returns the reply to a line, or to an array as a line and its words, where no plugin
            takes the connection; else None.
        replies_alone: whether that is so: they do nothing but reply.
    """

    __slots__ = (
        "_reply_to_line",
        "_takes_words",
        "on_array",
        "on_line",
        "replies_alone",
        "reply",
    )

    def __init__(self, host: Host, commands: Sequence[str]) -> None:
        self.on_array: Callable[[Connection, bytes | str, Words | None], Answer]
        self.on_array = on_array = host.hook("on_line", commands)
        plain = host.hook("on_line", commands, ("connection", "line"))
        self._takes_words = plain is None
        self.on_line: OnLine = plain or (lambda connection, line: on_array(connection, line, None))
        self._reply_to_line = host.hook("on_line", commands, ("line",))
        self.reply = host.hook("on_line", commands, ("line", "words"))
        self.replies_alone = self.reply is not None

    def one_by_one(self, arrays: Iterator[Words] | None) -> OnLine:
        """Return what has lines answered; the words of arrays are taken from `arrays` in turn."""
        if arrays is None or not self._takes_words:
            return self.on_line
        on_array = self.on_array
        return lambda connection, line: on_array(connection, line, next(arrays))

    def replies(self, lines: Iterator[bytes], arrays: Iterator[Words | None]) -> Iterator[Answer]:
        """Return the replies to lines, if plugins do nothing else."""
        if self._reply_to_line is not None:
            return map(self._reply_to_line, lines)
        assert self.reply is not None
        return map(self.reply, lines, arrays)
