"""Runs scripts in the broker, and tells an answer from what is none."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import Any, NamedTuple

import hiredis

from host.bridge.entries import Entries, foreign
from host.bridge.link import Link, LinkError, Reply

_STALE = -1
"""The answer of a script to a node that is taken for dead, or has another session."""
_FOREIGN = -2
"""The answer of a script that meets somebody else's entry without which nothing goes on."""
_NO_ANSWER = (
    *(LinkError, struct.error),
    *(TypeError, ValueError, LookupError, AttributeError, OverflowError),
)
"""What reading an answer raises that is not as the scripts give it: a broker may say anything."""


class Broker(NamedTuple):
    """What a session knows of the broker.

    Attributes:
        connection: the number of the connection.
        run: the run of the server: what it has kept over a restart may be old. Another one, too, if
            somebody else's entry was where one of the bus was.
        digests: the digest of each script.
        prefix: how all keys begin.
        lease_seconds: how long a node is taken for alive without a beat.
    """

    connection: int
    run: bytes
    digests: Mapping[str, str]
    prefix: str
    lease_seconds: float


class ScriptCalls:
    """Runs the scripts of a session; whatever goes wrong ends that, and the next begins anew.

    Args:
        link: the connection.
        broker: what is at its end.
        entries: the entries of tables and topics that are somebody else's.

    Attributes:
        node: the name of the node, as soon as it is known.
        is_refused: whether the broker is there, but does not do what it is asked for.
        is_damaged: whether that is since an entry of the bus is somebody else's.
    """

    def __init__(self, link: Link, broker: Broker, entries: Entries) -> None:
        self._link, self._broker, self._entries = link, broker, entries
        self.node = b""
        self.is_refused = self.is_damaged = False

    def run(
        self,
        script: str,
        done: Callable[[Any], object],
        *arguments: bytes | str | int,
        misled: Callable[[], object] | None = None,
        is_urgent: bool = True,
    ) -> None:
        """Run a script.

        Args:
            script: its name.
            done: takes its answer.
            arguments: what it is given.
            misled: called if it has met somebody else's entry; None if nothing goes on then.
            is_urgent: whether somebody waits for the answer.
        """
        take = self.taking(script, done, misled)
        self._link.call(take, *self._words(script, arguments), is_urgent=is_urgent)

    def head(self, script: str, *arguments: bytes | str | int, more: int) -> bytes:
        """Return how a command is written that runs a script; so many more words follow it."""
        words: tuple[Any, ...] = self._words(script, arguments)
        written: bytes = hiredis.pack_command(words)
        return b"*%d\r\n" % (len(words) + more) + written.partition(b"\r\n")[2]

    def taking(
        self, script: str, done: Callable[[Any], object], misled: Callable[[], object] | None = None
    ) -> Reply:
        """Return what takes the reply to a script, and passes on what is an answer; see `run`."""

        def take(reply: Any) -> None:
            if isinstance(reply, hiredis.ReplyError):
                cause = f"it refuses {script}: {reply}"
                if not str(reply).startswith("WRONGTYPE"):
                    self._refuse(cause)
                elif misled is None:
                    self._find_foreign(cause)
                else:
                    misled()
            elif reply == _STALE:
                self._link.close("it took this node for dead")
            elif reply == _FOREIGN:
                self._find_foreign(f"it refuses {script}")
            elif not isinstance(reply, LinkError):
                try:
                    done(reply)
                except _NO_ANSWER as error:
                    self._link.close(f"its answer to {script} is none: {error}")

        return take

    def suspect(self, name: bytes, kind: str) -> None:
        """Look whether an entry is somebody else's, which is told then."""
        if not self._entries.knows(name):
            self._probe([(name, kind)])

    def look_again(self) -> None:
        """Look whether those that are known still are."""
        if known := self._entries.known:
            self._probe(known)

    def _words(
        self, script: str, arguments: Iterable[bytes | str | int]
    ) -> tuple[bytes | str | int, ...]:
        return ("EVALSHA", self._broker.digests[script], 1, self._broker.prefix, *arguments)

    def _probe(self, entries: Iterable[tuple[bytes, str]]) -> None:
        asked = tuple(entries)

        def found(reply: Any) -> None:
            for (name, kind), is_foreign in zip(asked, reply, strict=True):
                (self._entries.add if is_foreign else self._entries.remove)(name, kind)

        words: Iterable[bytes | str] = chain.from_iterable(asked)
        self.run("probe", found, *words)

    def _find_foreign(self, cause: str) -> None:
        """End the session, and tell which entry is somebody else's, if it still is."""

        def found(reply: Any) -> None:
            self.is_damaged = True
            self._refuse(foreign(self._broker.prefix, *reply) if reply else cause)

        self.run("foreign", found, self.node, misled=lambda: self._refuse(cause))

    def _refuse(self, cause: str) -> None:
        self.is_refused = True
        self._link.close(cause)
