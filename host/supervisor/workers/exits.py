"""Obituaries: says how each worker ended, where it was, and what comes next."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

from host.interfaces import ChildExit
from host.ipc import protocol
from host.ipc.current_call import unpack_call
from host.ipc.scoreboard import CURRENT_CALL
from host.runtime import processes
from host.runtime.loop import Loop
from host.runtime.stacks import trim
from host.supervisor.workers import states
from host.supervisor.workers.handles import WorkerHandle, Workers
from host.supervisor.workers.last_call import LastCall
from host.telemetry import events
from host.telemetry.emitter import Telemetry

_HANGS_KEPT = 10
_MAX_LINES = 60


class ExitReport(NamedTuple):
    """The end of one worker.

    Attributes:
        member: who it was.
        ended: how.
        view: what plugins are told.
        place: where it was.
        printed: the stacks that it printed.
        failure: why it failed to start, if it has said so.
    """

    member: states.WorkerRecord
    ended: processes.Exit
    view: ChildExit
    place: str
    printed: str
    failure: protocol.Report | None

    @property
    def cause(self) -> str:
        """Why it did not get ready: in its own words if it said so."""
        return (
            self.failure.cause
            if self.failure
            else f"{self.ended} before it was ready, {self.place}"
        )


class ExitReports:
    """Tells of workers that end, hang, or have to be killed.

    Attributes:
        hangs: the last workers that hung: slot, pid, place, time and stacks.
        restarts: how many workers have ended that were not asked to.
    """

    def __init__(
        self,
        loop: Loop,
        crew: Workers,
        telemetry: Telemetry,
        whereabouts: LastCall,
    ) -> None:
        self._loop, self._crew, self._telemetry = loop, crew, telemetry
        self._whereabouts = whereabouts
        self._memory = processes.OutOfMemory()
        self._oom: bool | None = None  # whether it happened lately; None if nobody has looked
        self._hung: dict[int, float] = {}
        self._told: set[int] = set()  # whose stacks are in the log
        self.hangs: deque[dict[str, Any]] = deque(maxlen=_HANGS_KEPT)
        self.restarts = 0

    def begin(self) -> None:
        """Begin with workers that have ended at about the same time."""
        self._oom = None

    def explain(self, hand: WorkerHandle, ended: processes.Exit) -> processes.Exit:
        """Add whether the kernel killed the worker for want of memory, if it may have."""
        if ended.signal != signal.SIGKILL or hand.member.state is states.WorkerState.ENDING:
            return ended
        if self._oom is None:
            self._oom = self._memory.happened()
        return ended._replace(oom=self._oom)

    def examine(self, hand: WorkerHandle, ended: processes.Exit) -> ExitReport:
        """Find out all that there is to tell, before the worker's channels are closed."""
        hand.channel.receive_last()
        hand.printed.read()
        member = hand.member
        view = ChildExit(
            slot=member.slot,
            pid=member.pid,
            generation=member.generation,
            exit_code=ended.code,
            signal=ended.signal,
            age_seconds=self._loop.now - member.born,
            was_ready=member.was_ready,
            expected=member.expected,
        )
        printed = hand.printed.text
        return ExitReport(member, ended, view, self._place(hand), printed, hand.channel.failure)

    def take_on(self, restarts: int, hangs: Iterable[dict[str, Any]]) -> None:
        """Go on with what the supervisor before an exec remembered."""
        self.restarts = restarts
        self.hangs.extend(hangs)

    def publish(self, death: ExitReport, *, failed_to_start: bool, plan: str) -> None:
        """Tell of it, and of what comes next."""
        member = death.member
        self._hung.pop(member.pid, None)
        told = member.pid in self._told
        self._told.discard(member.pid)
        if failed_to_start:
            failure = death.failure
            self._telemetry.emit(
                events.WORKER_START_FAILED,
                slot=member.slot,
                cause=death.cause,
                traceback=failure.traceback if failure else _cut(death.printed),
            )
            return
        known = {
            "slot": member.slot,
            "pid": member.pid,
            "cause": str(death.ended),
            "age_seconds": round(death.view.age_seconds, 3),
        }
        if member.expected and (member.state is states.WorkerState.ENDING or death.ended.in_order):
            self._telemetry.emit(events.WORKER_EXITED, **known)
            return
        self.restarts += not member.expected
        self._telemetry.emit(
            events.WORKER_DIED,
            **known,
            place=death.place,
            next=plan,
            traceback="" if told else _cut(death.printed),
        )

    def note_hung(self, pid: int, seconds: float) -> None:
        """Remember for how long a worker has hung; its stacks are on the way."""
        self._hung[pid] = seconds

    def tell_hung(self, pid: int) -> None:
        """Tell of a worker that hangs, with the stacks that it has printed meanwhile."""
        hand = self._crew.get(pid)
        if hand is None:
            return
        self._told.add(pid)
        printed = self._printed(hand)
        place, slot = self._place(hand), hand.member.slot
        seconds = self._hung.get(pid, 0.0)
        self._telemetry.emit(
            events.WORKER_HUNG, slot=slot, pid=pid, seconds=seconds, place=place, traceback=printed
        )
        self.hangs.append(
            {
                "slot": slot,
                "pid": pid,
                "place": place,
                "at": self._loop.now,
                "stacks": printed.splitlines(),
            }
        )

    def tell_killed(self, order: states.KillWorker) -> None:
        """Tell of a worker that is about to be killed, with its stacks if nobody has seen them."""
        hand = self._crew.get(order.pid)
        if hand is None:
            return
        stacks = "" if order.pid in self._told else self._printed(hand)
        self._told.add(order.pid)
        self._telemetry.emit(
            events.WORKER_KILLED,
            slot=hand.member.slot,
            pid=order.pid,
            cause=order.cause,
            place=self._place(hand),
            traceback=stacks,
        )

    def _place(self, hand: WorkerHandle) -> str:
        call = unpack_call(hand.row.get(CURRENT_CALL))
        pid, listeners = hand.member.pid, hand.generation.listeners
        return self._whereabouts.describe(pid, call, hand.printed.text, listeners)

    def _printed(self, hand: WorkerHandle) -> str:
        hand.printed.read()
        if hand.printed.text:
            return _cut(hand.printed.text)
        if processes.is_stopped(hand.member.pid):
            return "no stacks: the process is stopped (SIGSTOP or a debugger)"
        return "no stacks: the process does not react to signals"


def _cut(text: str) -> str:
    lines = trim(text).splitlines()
    if len(lines) > _MAX_LINES:
        lines = [*lines[:_MAX_LINES], f"… {len(lines) - _MAX_LINES} more lines"]
    return "\n".join(lines)
