"""The process itself: from just after the fork to the exit code."""

from __future__ import annotations

import asyncio
import os
import random
import resource
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from host.asyncio.event_loop import HostEventLoop
from host.bridge.calls import Broker
from host.bridge.entries import Entries
from host.bridge.link import Link, LinkError
from host.bridge.opening import open_link
from host.bridge.session import Session
from host.bus.bridge_frames import Ask, Tell, pack_names
from host.bus.broker import BrokerSettings
from host.bus.frames import BadFrameError, Channel, Frame
from host.errors import ExitCode
from host.ipc.assignment import BridgeAssignment
from host.runtime.helpers import begin_helper
from host.runtime.loop import READ, WRITE, Loop
from host.telemetry.emitter import Telemetry
from host.telemetry.events import BUS_REFUSED

BEAT_SECONDS = 0.5
"""How often this process tells the supervisor that it is well."""
_GRACE_SECONDS = 1.0
"""How long the broker may take for what it was told last."""
_FIRST_PAUSE_SECONDS = 0.05
_LAST_PAUSE_SECONDS = 1.0
_LAST_PAUSE_REFUSED_SECONDS = 5.0
"""What the broker refuses it refuses until somebody does something about it."""
_MOST_EVENTS = 64
"""Few files are watched; a wait takes memory for so many events."""
_FULL_BYTES = 4_194_304
"""So much may wait for the supervisor: then nothing more is read from the broker."""
_END = int(Ask.END)  # a number is had faster than a member of an enumeration
_MOST_UNANSWERED = 256
"""So many commands may have no answer, then nothing more is read from the supervisor: a beat comes
behind them, and would come too late behind all that waits after a break.
"""
_MOST_MEMORY_BYTES = 2_147_483_648
"""More than this process ever needs: what claims to be a broker may announce an array of billions,
and `hiredis` takes the memory for it at once.
"""


def run(assignment: BridgeAssignment, settings: BrokerSettings, telemetry: Telemetry) -> int:
    """Connect hub and broker until the supervisor goes or has no more use for this process."""
    if not begin_helper(assignment.parent):
        return ExitCode.OK
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard == resource.RLIM_INFINITY or hard > _MOST_MEMORY_BYTES:
        resource.setrlimit(resource.RLIMIT_DATA, (_MOST_MEMORY_BYTES, hard))
    loop = Loop(_MOST_EVENTS)
    with asyncio.Runner(loop_factory=lambda: HostEventLoop(loop)) as runner:
        runner.run(_Bridge(assignment, settings, telemetry, loop).run())
    return ExitCode.OK


class _Bridge:
    """Connects the hub to a broker, anew whenever the connection ends.

    What comes and goes all the time is handled in the host's loop itself, the rest by asyncio's,
    which takes its turns there.
    """

    def __init__(
        self,
        assignment: BridgeAssignment,
        settings: BrokerSettings,
        telemetry: Telemetry,
        loop: Loop,
    ) -> None:
        self._assignment, self._settings, self._telemetry = assignment, settings, telemetry
        self._loop = loop
        self._channel = Channel(assignment.sock, 2**62)
        self._session: Session | None = None
        self._link: Link | None = None
        self._entries = Entries(settings.prefix, self._tell_entries)
        self._connections = self._refused = self._damages = 0
        self._is_writing = self._is_flushing = self._is_ending = self._is_held = False
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        """Do it until the supervisor closes one of its ends."""
        loop = asyncio.get_running_loop()
        self._loop.add(self._channel.fileno(), READ, self._on_event)
        loop.add_reader(self._assignment.stop, self._stop)
        tasks = [
            asyncio.ensure_future(each) for each in (self._stay_well(), self._stay_connected())
        ]
        stopped = asyncio.ensure_future(self._stopped.wait())
        await asyncio.wait((*tasks, stopped), return_when=asyncio.FIRST_COMPLETED)
        await self._finish()
        for task in (*tasks, stopped):
            if task.done() and not task.cancelled():
                task.result()  # a bug ends the process: another one is started
            task.cancel()

    def _stop(self) -> None:
        asyncio.get_running_loop().remove_reader(self._assignment.stop)
        self._stopped.set()

    async def _finish(self) -> None:
        """Tell the broker what the hub has said last, and wait until it has that."""
        loop = asyncio.get_running_loop()
        self._loop.remove(self._channel.fileno())
        was_stopped = self._stopped.is_set()
        self._stopped.set()
        link, session = self._link, self._session
        with suppress(OSError, BadFrameError):
            while self._channel.receive() > 0:
                self._pass_frames()
        self._pass_frames()
        if link is not None and session is not None:
            session.hear_no_more()
            if self._is_ending:
                session.end()
            link.hurry()
            due = loop.time() + _GRACE_SECONDS
            while (link.unanswered or link.unsent_bytes) and loop.time() < due:
                await asyncio.sleep(0.005)
            if was_stopped and not self._is_ending:
                await self._stay_alive_over_reload(session, link)
            link.close("this host ends")
        self._channel.close()
        os.close(self._assignment.stop)

    async def _stay_alive_over_reload(self, session: Session, link: Link) -> None:
        """Keep the node alive while the supervisor executes itself anew, for a lease at most.

        The next bridge joins in a session of its own, by which this one's ends.
        """
        due = asyncio.get_running_loop().time() + self._settings.lease_seconds
        while not link.has_ended and asyncio.get_running_loop().time() < due:
            session.beat()
            await asyncio.sleep(self._settings.beat_seconds / 4)

    async def _stay_well(self) -> None:
        while True:
            self._assignment.beat()
            if self._unanswered and self._link is not None:
                self._link.hurry()
            await asyncio.sleep(BEAT_SECONDS)

    async def _stay_connected(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while True:
            ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            try:
                began = asyncio.get_running_loop().time()
                await self._begin(ended)
                await self._beat_until(ended)
            except LinkError as error:
                cause = str(error)
            else:
                cause = ended.result()
            most = self._longest_pause()
            self._away(cause)
            if asyncio.get_running_loop().time() - began > self._settings.lease_seconds:
                pause = _FIRST_PAUSE_SECONDS
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, most)

    def _longest_pause(self) -> float:
        """Return how long to wait at most, after this session, until the next is tried."""
        if self._session is not None and self._session.scripts.is_refused:
            self._damages += self._session.scripts.is_damaged
            return _LAST_PAUSE_REFUSED_SECONDS
        # A pause as long as a beat, and the connection after it, would take most of the lease.
        return min(_LAST_PAUSE_SECONDS, self._settings.beat_seconds / 2)

    async def _begin(self, ended: asyncio.Future[str]) -> None:
        settings = self._settings

        def on_end(reason: str) -> None:
            if not ended.done():
                ended.set_result(reason)

        opened = await open_link(settings, self._push, on_end, self._flush, self._loop)
        self._connections += 1
        number = self._connections
        # What somebody else has put in the place of an entry has cost what that had: as of another
        # run, messages may be lost and keys are asked for again.
        run = opened.run + b"+%d" % self._damages if self._damages else opened.run
        broker = Broker(number, run, opened.digests, settings.prefix, settings.lease_seconds)
        self._link = link = opened.link
        self._session = Session(link, broker, self._put, self._flush_soon, self._entries)
        self._tell(Frame(Tell.UP, number, b"", str(settings.address).encode()))
        self._entries.tell()

    async def _beat_until(self, ended: asyncio.Future[str]) -> None:
        """Beat until the connection has ended: also if the broker has not answered one beat."""
        assert self._session is not None
        assert self._link is not None
        while not ended.done():
            await asyncio.wait((ended,), timeout=self._settings.beat_seconds)
            if ended.done():
                return
            if self._session.unanswered_beats or not self._session.has_joined:
                self._link.close(f"no answer for {self._settings.beat_seconds:g} s")
                await ended
                return
            self._session.beat()

    def _away(self, cause: str) -> None:
        self._session = self._link = None
        self._tell(Frame(Tell.AWAY, 0, b"", cause.encode(errors="replace")))

    def _tell_entries(self, keys: Iterable[bytes]) -> None:
        self._tell(Frame(Tell.FOREIGN, 0, b"", next(pack_names(keys), b"")))

    def _push(self, parts: list[Any]) -> None:
        if self._session is not None and not self._session.take_push(parts):
            self._refused += 1
            if self._refused == 1:
                self._telemetry.emit(BUS_REFUSED)

    def _tell(self, frame: Frame) -> None:
        self._put(frame.pack())

    def _put(self, packed: bytes) -> None:
        self._channel.put(packed)
        link = self._link
        if link is None or not link.is_reading:
            self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._is_flushing and not (self._link is not None and self._link.is_reading):
            self._is_flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """Send what waits for the hub; read nothing more from the broker if that is too much."""
        if self._session is not None and self._session.done:
            self._is_flushing = True  # what is told now is sent now, without another turn
            self._session.flush()
        self._is_flushing = False
        try:
            is_empty = self._channel.flush()
        except OSError:
            self._stopped.set()
            return
        if is_empty is self._is_writing:
            self._is_writing = not is_empty
            self._watch()
        link = self._link
        if link is not None and link.is_paused is not (self._channel.queued > _FULL_BYTES):
            link.pause(paused=not link.is_paused)
        if self._is_held:
            self._go_on()

    def _go_on(self) -> None:
        """Do what the hub has asked for and had to wait, as soon as enough has been answered."""
        if self._unanswered <= _MOST_UNANSWERED // 2 and not self._stopped.is_set():
            self._is_held = False
            self._watch()
            self._read(only_rest=True)

    def _on_event(self, mask: int) -> None:
        if mask & WRITE:
            self._flush()
        if mask & ~WRITE and not self._stopped.is_set():
            self._read()

    def _watch(self) -> None:
        """Watch the channel of the hub for what there is to do; it is not any more at the end."""
        if not self._stopped.is_set():
            reading, writing = 0 if self._is_held else READ, WRITE if self._is_writing else 0
            self._loop.modify(self._channel.fileno(), reading | writing)

    def _read(self, *, only_rest: bool = False) -> None:
        """Take what the hub says, or the rest of what it has said when that had to wait."""
        try:
            if not only_rest and self._channel.receive() < 0:
                raise BadFrameError("end of file")
            self._pass_frames()
        except (OSError, BadFrameError):
            self._loop.remove(self._channel.fileno())
            self._stopped.set()

    def _pass_frames(self) -> None:
        """Do what the hub asks for; some of it may have to wait until the broker has answered."""
        link, session = self._link, self._session
        if link is not None:
            link.is_gathering = True
        try:
            for frame in self._channel.frames():
                if frame.kind == _END:
                    self._is_ending = True
                elif session is not None:
                    session.handle(frame)
                is_full = link is not None and link.unanswered >= _MOST_UNANSWERED
                if is_full and not self._stopped.is_set():
                    self._is_held = True
                    self._watch()
                    break
        finally:
            if link is not None:
                link.flush()

    @property
    def _unanswered(self) -> int:
        return 0 if self._link is None else self._link.unanswered
