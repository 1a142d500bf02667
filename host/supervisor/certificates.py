"""Certificates of a running host: takes over new ones, and warns of those that expire."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from host.ipc.protocol import TAKE_CERTIFICATES
from host.runtime.loop import Loop
from host.supervisor.generations import Generations
from host.supervisor.workers.handles import Workers
from host.supervisor.workers.queries import Item, WorkerQueries
from host.telemetry.emitter import Telemetry
from host.telemetry.events import (
    CERTIFICATE_EXPIRES,
    CERTIFICATES_NOT_TAKEN,
    CERTIFICATES_REFUSED,
    CERTIFICATES_RENEWED,
)

if TYPE_CHECKING:
    from host.tls.kept import Seen
    from host.tls.tables import TlsContexts

_AGAIN_SECONDS = 1.0
_DAY_SECONDS = 86_400.0

Done = Callable[[list[str], list[str]], object]
"""Called with the tables whose certificates were renewed, and with what cannot be used."""


@dataclass(slots=True, eq=False)
class _Watch:
    """What was seen of the files of one table.

    Attributes:
        settled: how the files looked whose certificates are in use. What is of no use is read
            again at each look: what keeps it from being read may be over, and no file changed.
        is_wrong: whether the last look has found something of no use: a certificate may be there
            a moment before its key, so it is told at the second one.
        told: what was told of that.
        round: counts the certificates that workers were sent.
    """

    settled: tuple[Seen, ...] | None = None
    is_wrong: bool = False
    told: str = ""
    round: int = 0


class RotationParts(NamedTuple):
    """What the rotation of certificates works with.

    Attributes:
        before: the tables that workers of a generation before this process have; it had a
            process of its own.
    """

    loop: Loop
    telemetry: Telemetry
    generations: Generations
    workers: Workers
    queries: WorkerQueries
    before: frozenset[str] = frozenset()


class CertificateRotation:
    """Looks whether files of certificates have changed, and has all workers take over new ones.

    Sessions that there are go on, and so do tickets, unless clients need certificates of other
    authorities. What cannot be used changes nothing.

    Args:
        tls: the certificates of this process; None if there are none: nothing is done then.
        parts: what it works with.
    """

    def __init__(self, tls: TlsContexts | None, parts: RotationParts) -> None:
        self._tls, self._parts = tls, parts
        self._watches = {name: _Watch() for name in tls.tables} if tls else {}

    def begin(self) -> None:
        """Begin to look, and to warn."""
        if self._tls is None:
            return
        for name, table in self._tls.tables.items():
            if table.check_seconds:
                self._look_later(name, table.check_seconds)
        self._warn()

    def listing(self) -> list[dict[str, Any]]:
        """Return what each certificate says that is in use."""
        tls, now = self._tls, time.time()
        if tls is None:
            return []
        return [
            {
                "tls": name,
                "certificate": tls.tables[name].certificates[number].certificate,
                "names": list(each.names),
                "key_type": each.key_type,
                "not_after": each.expiry,
                "seconds_left": round(each.not_after - now),
                "fingerprint": each.fingerprint,
            }
            for name, number, each in tls.all()
        ]

    def renew_all(self, cause: str, done: Done) -> None:
        """Look at all files now, whether they have changed or not.

        Args:
            cause: why, for the log.
            done: called when all workers have what is new.
        """
        errors: list[str] = []
        renewed: list[str] = []
        missing = set(self._watches)

        def settle(name: str) -> None:
            missing.discard(name)
            if not missing:
                done(sorted(renewed), errors)

        for name in self._watches:
            error, is_new = self._renew(name, cause, functools.partial(settle, name))
            if not is_new:
                error = error or self._not_read_again(name)
            if error:
                errors.append(error)
            if is_new:
                renewed.append(name)
            else:
                missing.discard(name)
        if not renewed:
            done([], errors)

    def _not_read_again(self, name: str) -> str:
        """Say what may be new and cannot be read; somebody who asks for it must hear of that."""
        assert self._tls is not None
        return self._tls.not_read_again(name)

    def _look_later(self, name: str, seconds: float) -> None:
        def look() -> None:
            self._look(name)
            self._look_later(name, seconds)

        self._parts.loop.call_at(self._parts.loop.now + seconds, look)

    def _look(self, name: str) -> None:
        """Take over what has changed; what is wrong is told if it is so at two looks."""
        assert self._tls is not None
        watch = self._watches[name]
        if watch.settled == self._tls.look(name):
            return
        was_wrong = watch.is_wrong
        error, _ = self._renew(name, "a change of its files", lambda: None)
        if error and was_wrong and error != watch.told:
            watch.told = error
            self._parts.telemetry.emit(CERTIFICATES_REFUSED, table=name, cause=error)

    def _renew(self, name: str, cause: str, done: Callable[[], object]) -> tuple[str, bool]:
        """Read the files of a table; return what is wrong, and whether workers are sent something.

        `done` is called then, when they have it, and not before this returns.
        """
        assert self._tls is not None
        watch = self._watches[name]
        seen = self._tls.look(name)
        found = self._tls.renew(name)
        watch.is_wrong, watch.settled = bool(found.error), None if found.error else seen
        if not found.error:
            watch.told = ""
        if found.descriptor is None:
            return found.error, False
        watch.round += 1
        sent = _Sent(name, watch.round, found.descriptor, cause, done)
        self._parts.loop.call_at(self._parts.loop.now, lambda: self._send(sent, self._users(name)))
        return "", True

    def _users(self, name: str) -> list[int]:
        """Return the workers that have a table and make sessions; older ones take none any more."""
        generations = self._parts.generations
        using = {generations.current}
        if name in self._parts.before:
            using.add(generations.serving)
        return [each.record.pid for each in self._parts.workers if each.generation in using]

    def _send(self, sent: _Sent, pids: Iterable[int]) -> None:
        """Send certificates to those who have not got them, unless there are newer ones."""
        if sent.round != self._watches[sent.name].round:
            sent.end()
            return
        alive = [pid for pid in pids if self._parts.workers.get(pid) is not None]
        self._parts.queries.ask(
            alive,
            TAKE_CERTIFICATES,
            {"name": sent.name},
            functools.partial(self._handle_answers, sent),
            descriptor=sent.descriptor,
        )

    def _handle_answers(
        self, sent: _Sent, items: dict[int, list[Item]], late: Sequence[int]
    ) -> None:
        parts = self._parts
        failed = [*late]
        for pid, answer in items.items():
            if error := str(answer[0].get("error", "")) if answer else "no answer":
                failed.append(pid)
                parts.telemetry.emit(CERTIFICATES_NOT_TAKEN, pid=pid, table=sent.name, cause=error)
        if failed:
            due = parts.loop.now + _AGAIN_SECONDS
            parts.loop.call_at(due, lambda: self._send(sent, failed))
            return
        assert self._tls is not None
        for each in self._tls.certificates(sent.name):
            parts.telemetry.emit(
                CERTIFICATES_RENEWED,
                table=sent.name,
                names=", ".join(each.names),
                expires=each.expiry,
                cause=sent.cause,
            )
        sent.end()

    def _warn(self) -> None:
        """Warn once a day of certificates that should have been replaced."""
        assert self._tls is not None
        now, loop = time.time(), self._parts.loop
        for name, number, each in self._tls.all():
            if each.is_early(now) or each.expires_soon(now):
                path = self._tls.tables[name].certificates[number].certificate
                self._parts.telemetry.emit(
                    CERTIFICATE_EXPIRES,
                    table=name,
                    certificate=path,
                    names=", ".join(each.names),
                    validity=each.validity(now),
                )
        loop.call_at(loop.now + _DAY_SECONDS, self._warn)


@dataclass(slots=True, eq=False)
class _Sent:
    """Certificates that are on their way to the workers; the descriptor is closed at the end."""

    name: str
    round: int
    descriptor: int
    cause: str
    done: Callable[[], object]

    def end(self) -> None:
        """Tell that all have them, or that newer ones are on their way."""
        os.close(self.descriptor)
        self.done()
