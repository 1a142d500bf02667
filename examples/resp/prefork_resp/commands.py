"""All commands in one table, and what becomes of it while a client listens."""

from __future__ import annotations

from collections.abc import Sequence

from host import Counter
from prefork_resp.replies import CommandError, unknown, wrong_number
from prefork_resp.session import ANY_NUMBER, Command, Function, QuickTable, Session, Table, Words
from prefork_resp.subcommands import NOT_WHILE_LISTENING, Subcommands

_WHILE_LISTENING = frozenset(
    (b"PING", b"QUIT", b"RESET", b"SUBSCRIBE", b"UNSUBSCRIBE", b"PSUBSCRIBE", b"PUNSUBSCRIBE")
)
_MAY_CHANGE = frozenset(
    (b"HELLO", b"RESET", b"SUBSCRIBE", b"UNSUBSCRIBE", b"PSUBSCRIBE", b"PUNSUBSCRIBE")
)
"""What may change which commands a client may give."""


class Commands:
    """The commands of all kinds.

    Args:
        tables: those of each kind, by their names.

    Attributes:
        every: all of them.
        table: what a new client may give.
    """

    def __init__(self, tables: Sequence[Table]) -> None:
        self.every = {name: row for table in tables for name, row in table.items()}
        for name in _MAY_CHANGE:
            row = self.every[name]
            self.every[name] = row._replace(function=self._with_its_table(row.function))
        self.table = _quick(self.every)
        self._while_listening = _quick(
            {name: _refused(name, row) for name, row in self.every.items()}
        )

    def _with_its_table(self, function: Function) -> Function:
        """Return what carries out a command and then sees which commands the client may give."""

        def carry_out(session: Session, words: Words) -> bytes:
            reply = function(session, words)
            table = self._while_listening if session.only_listens else self.table
            if table is not session.table:
                session.table = table
                session.pause()
            return reply

        return carry_out


def answer(session: Session, requests: Sequence[Words], answered: Counter) -> None:
    """Answer requests, up to the one that pauses or quits; write the replies in one piece.

    Args:
        session: the client.
        requests: its requests.
        answered: counts those that are answered, all at once: to count each would cost more than
            a tenth of what it takes to answer it.
    """
    replies: list[bytes] = []
    say = replies.append
    session.ahead = ahead = iter(requests)
    get = session.table.get
    for words in ahead:
        name = words[0]
        fewest, most, function = get(name) or get(name.upper(), _UNKNOWN)
        if fewest <= len(words) <= most:
            try:
                say(function(session, words))
            except CommandError as refused:
                say(refused.reply)
        else:
            say(wrong_number(name.lower()))
    answered.add(len(replies))
    session.connection.write(b"".join(replies))
    if session.quits:
        session.connection.close()


_UNKNOWN = (0, ANY_NUMBER, lambda _, words: unknown(words))


def _quick(table: Table) -> QuickTable:
    """Return the table in which commands are looked up."""
    rows = {name: tuple(row[:3]) for name, row in table.items()}
    return {**rows, **{name.lower(): row for name, row in rows.items()}}


def _refused(name: bytes, row: Command) -> Command:
    """Return what a command does while a client listens; subcommands see to it themselves."""
    if name in _WHILE_LISTENING or isinstance(row.function, Subcommands):
        return row

    def refuse(_session: Session, words: Words) -> bytes:
        raise CommandError(NOT_WHILE_LISTENING % words[0].lower())

    return row._replace(function=refuse)
