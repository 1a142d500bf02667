"""Succession: how one supervisor follows another in the same process, and what it takes over."""

from __future__ import annotations

import functools
import os
import socket
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from host.bus.hub import HubState
from host.bus.supervisor_end import BusRouter
from host.interfaces import Listener
from host.ipc.scoreboard import Scoreboard
from host.net.listeners import ListeningSocket
from host.net.quiesce import PATIENCE_SECONDS, Gate
from host.runtime.loop import Loop
from host.runtime.signals import Signals
from host.supervisor.generations import Generation
from host.supervisor.reload import handover, stand_in
from host.supervisor.reload.handover import Handover
from host.supervisor.reload.rehearsal import Plan, ReloadError
from host.supervisor.reload.sockets import open_missing
from host.supervisor.shutdown import Shutdown
from host.supervisor.workers.exits import ExitReports
from host.supervisor.workers.handles import WorkerHandle, Workers
from host.supervisor.workers.states import WorkerRecord, WorkerState
from host.telemetry.emitter import Telemetry
from host.telemetry.events import GENERATION_FAILED, GENERATION_READY, NOT_LISTENING
from host.telemetry.logs import LogWriter


class Outcome(NamedTuple):
    """How a reload went, or goes: to which generation, `state`, why, and since when."""

    generation: int
    state: str
    reason: str
    time: float

    @property
    def failed(self) -> bool:
        """Whether the generation cannot start, as far as is known."""
        return self.state == "failed"


class Office(Protocol):
    """What succession needs of the supervisor."""

    loop: Loop
    log: LogWriter
    telemetry: Telemetry
    crew: Workers
    exchange: BusRouter
    signals: Signals
    obituaries: ExitReports
    serving: Generation
    coming: Generation | None
    started: float
    ending: Shutdown | None

    @property
    def admin(self) -> tuple[str, int] | None:
        """The name and descriptor of the admin socket, if there is one."""

    @property
    def current(self) -> Generation:
        """The newest generation."""

    def succeeded(self) -> None:
        """Have the generations before drain: the new one has taken over."""

    def prepare(self, generation: Generation, wake: int | None = None) -> None:
        """Have a generation ready to hand out what waits."""


class Succession:
    """Knows the older generations, hands everything over, and takes it on again.

    Attributes:
        older: generations that only drain.
        accepted: connections accepted by workers that are gone, by slot.
        outcome: how the last reload went, if there was one.
    """

    def __init__(self, office: Office) -> None:
        self._office = office
        self.outcome: Outcome | None = None
        self.older: list[Generation] = []
        self.accepted: dict[int, int] = {}

    @property
    def all_generations(self) -> list[Generation]:
        """All generations with anything open, oldest first."""
        office = self._office
        coming = [office.coming] if office.coming else []
        return [*self.older, office.serving, *coming]

    def bury(self, hand: WorkerHandle) -> None:
        """Let go of a worker that has ended, and of its generation if it was the last."""
        slot = hand.member.slot
        self.accepted[slot] = self.accepted.get(slot, 0) + hand.served
        self._office.crew.let_go(hand)
        mine = hand.generation
        mine.decisions.forget(hand.member.pid)
        if mine in self.older and all(each.generation is not mine for each in self._office.crew):
            self.older.remove(mine)
            mine.close()

    def note_outcome(self, state: str, reason: str = "") -> None:
        """Remember how the reload goes: `starting`, `ready` or `failed`."""
        office = self._office
        self.outcome = Outcome(office.current.number, state, reason, office.loop.now)

    @property
    def next_number(self) -> int:
        """The number of the generation that a reload would start."""
        return max(each.number for each in self.all_generations) + 1

    def note_refusal(self, error: ReloadError) -> None:
        """Remember why a reload did not happen."""
        reason = "\n".join(filter(None, [error.reason, error.details]))
        self.outcome = Outcome(self.next_number, "failed", reason, self._office.loop.now)

    def note_failure(self, reason: str) -> None:
        """Remember, and tell the first time, that the newest generation does not start."""
        if self.outcome is None or not self.outcome.failed:
            first, _, details = reason.partition("\n")
            self._office.telemetry.emit(
                GENERATION_FAILED,
                generation=self._office.current.number,
                reason=first,
                details=details,
            )
        self.note_outcome("failed", reason)

    # Taking over

    def come(self) -> None:
        """Have the coming generation take over: all its workers are ready."""
        office = self._office
        assert office.coming is not None
        self.note_outcome("starting")  # it may have failed before
        kept = {listener.fileno() for listener in office.coming.sockets}
        gone = [each for each in office.serving.sockets if each.fileno() not in kept]
        if not gone:
            self._switch()
            return
        # Nobody who was let in is cut off: what waits there is handed out before it is closed.
        passes = office.serving.passes
        assert passes is not None
        indexes = [listener.view.index for listener in gone]
        for listener in gone:
            office.telemetry.emit(NOT_LISTENING, address=listener.view.address)
        quiet = functools.partial(passes.quiet, indexes)
        gate = Gate(office.loop, gone, quiet=quiet, done=self._switch)
        gate.shut(office.loop.now, PATIENCE_SECONDS)

    def _switch(self) -> None:
        """Hand out to the new generation from now on."""
        office = self._office
        if office.coming is None or office.ending is not None:
            return
        before = office.serving
        office.serving, office.coming = office.coming, None
        self.older.append(before)
        before.retire(office.serving.sockets)
        assert office.serving.passes is not None
        office.serving.passes.start()
        self.note_outcome("ready")
        office.telemetry.emit(
            GENERATION_READY,
            generation=office.serving.number,
            seconds=office.loop.now - office.serving.began,
        )
        office.succeeded()

    # Taking on

    def take_on(
        self, handed: Handover, inherited: Sequence[socket.socket]
    ) -> tuple[Generation, list[WorkerRecord]]:
        """Take on what was handed over; return the generation that serves, and all workers.

        Args:
            handed: what was handed over.
            inherited: the sockets in it.
        """
        office, generations = self._office, {}
        for scores in handed.scores:
            number = scores.generation
            views = [Listener(index, *each) for index, each in enumerate(scores.listeners)]
            replaced = [each.row for each in handed.workers if each.generation == number]
            board = Scoreboard(len(views), scores.fd)
            listening: Sequence[ListeningSocket] = ()
            if number == handed.serving.generation:
                listening = [
                    ListeningSocket(inherited[which], view, 0, sock.file, sock.configured)
                    for view, which in zip(views, handed.serving.sockets, strict=True)
                    for sock in [handed.sockets[which]]
                ]
            generations[number] = Generation(number, views, listening, board, replaced)
        serving = generations.pop(handed.serving.generation)
        self.older, self.accepted = list(generations.values()), dict(handed.accepted)
        office.exchange.hub.restore(
            HubState(handed.topics.hearers, handed.topics.owners, handed.topics.rings)
        )
        generations[serving.number] = serving
        hands = [office.crew.adopt(each, generations[each.generation]) for each in handed.workers]
        office.prepare(serving, handed.serving.wake)
        return serving, [hand.member for hand in hands]

    def relieve(self, process: handover.StandIn | None) -> None:
        """End the stand-in; only then it is certain what each worker has been told."""
        office, serving = self._office, self._office.serving
        if process is not None:
            stand_in.relieve(process.pid, process.pipe)
        assert serving.dispatcher is not None
        for hand in office.crew:
            if hand.generation is serving and hand.member.state is WorkerState.READY:
                before = self.accepted.get(hand.member.slot, 0)
                serving.dispatcher.ready(hand.row, hand.member.id, before)
                serving.dispatcher.hold(hand.member.pid, hand.held)

    # Handing over

    def re_execute(self, plan: Plan, succeed: Callable[[], None]) -> None:
        """Open what the plan adds, and become a new process image with everything that is held.

        Args:
            plan: what the new settings ask for.
            succeed: called when nothing but the exec itself can fail any more.

        Raises:
            ListenError: a new address is refused; nothing has changed.
            OSError: this process cannot be re-executed; nothing has changed.
        """
        office = self._office
        held = [
            each
            for generation in (office.serving, office.coming)
            if generation
            for each in generation.sockets
        ]
        opened = open_missing(plan.listen, held)
        office.signals.block()
        sent_in: tuple[int, int] | None = None
        try:
            sent_in = self._send_stand_in()
            handed = self._hand_over([*held, *opened], sent_in)
            with handed.inheritable() as environment:
                succeed()
                os.execve(sys.executable, sys.orig_argv, environment)
        except BaseException:
            if sent_in is not None:
                stand_in.relieve(*sent_in)
            for listener in opened:
                listener.close()
            raise
        finally:  # reached after an error only
            office.signals.unblock()

    def _send_stand_in(self) -> tuple[int, int]:
        office = self._office
        channels = {
            hand.member.pid: hand.channel.fileno()
            for hand in office.crew
            if hand.generation is office.serving
        }

        def close() -> None:
            office.signals.close()
            office.loop.close()
            office.exchange.close()

        return stand_in.send_in(
            office.serving, channels, send=office.crew.send, log=office.log, close=close
        )

    def _hand_over(
        self, listeners: Sequence[ListeningSocket], sent_in: tuple[int, int]
    ) -> Handover:
        office, serving = self._office, self._office.serving
        sockets = {each.fileno(): each for each in listeners}  # two generations may have one
        numbers = {descriptor: number for number, descriptor in enumerate(sockets)}
        assert serving.passes is not None
        topics = office.exchange.hub.state()
        workers = [office.crew.hand_over(hand) for hand in office.crew]
        alive = {worker.generation for worker in workers} | {serving.number}
        return Handover(
            generation=self.next_number,
            started=office.started,
            reloaded=office.loop.now,
            restarts=office.obituaries.restarts,
            accepted=self.accepted,
            sockets=[
                handover.Socket(
                    fd=each.fileno(),
                    configured=each.configured,
                    address=each.view.address,
                    file=each.file,
                )
                for each in sockets.values()
            ],
            scores=[
                handover.Scores(
                    generation=each.number,
                    fd=each.scoreboard.fileno(),
                    listeners=[(view.address, view.plugin) for view in each.listeners],
                )
                for each in self.all_generations
                if each.number in alive
            ],
            serving=handover.Serving(
                generation=serving.number,
                wake=serving.passes.wake,
                sockets=[numbers[each.fileno()] for each in serving.sockets],
            ),
            workers=workers,
            topics=handover.Topics(
                hearers=topics.hearers, owners=topics.owners, rings=topics.rings
            ),
            standin=handover.StandIn(pid=sent_in[0], pipe=sent_in[1]),
            admin=office.admin,
            log=office.log.state(),
            hangs=list(office.obituaries.hangs),
        )
