"""Commands whose second word says what they do, such as CLIENT SETNAME."""

from __future__ import annotations

from prefork_resp.replies import CommandError, unknown_subcommand, wrong_number
from prefork_resp.session import Function, Session, Table, Words

NOT_WHILE_LISTENING = (
    b"ERR Can't execute '%b': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET"
    b" are allowed in this context"
)


class Subcommands:
    """Carries out the command that the second word names; a function of a command.

    Args:
        table: the commands by their second words. Their numbers of words count the first one, too.
        alone: carries out the first word alone, if that is a request.
    """

    def __init__(self, table: Table, alone: Function | None = None) -> None:
        self._table, self._alone = table, alone

    def __call__(self, session: Session, words: Words) -> bytes:
        """Carry out a request."""
        if len(words) == 1 and self._alone is not None:
            _refuse_while_listening(session, words[0].lower())
            return self._alone(session, words)
        found = self._table.get(words[1].upper())
        if found is None:
            return unknown_subcommand(words)
        name = b"%b|%b" % (words[0].lower(), words[1].lower())
        if not found.fewest <= len(words) <= found.most:
            return wrong_number(name)
        _refuse_while_listening(session, name)
        return found.function(session, words)


def _refuse_while_listening(session: Session, name: bytes) -> None:
    if session.only_listens:
        raise CommandError(NOT_WHILE_LISTENING % name)
