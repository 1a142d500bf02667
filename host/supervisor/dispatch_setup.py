"""Readies each generation to hand out the connections that wait on its listeners."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

from host.dispatch.dispatcher import Dispatcher, DispatchPolicy, Scheduler
from host.dispatch.limiting import LimitedDispatcher
from host.dispatch.pacing import PacedQueue
from host.dispatch.runner import DispatchRunner, Send
from host.interfaces import Listener
from host.net.listeners import ListeningSocket
from host.net.queue_length import queue_length
from host.net.shards import ShardGroup
from host.runtime.loop import Loop
from host.supervisor.generation import Generation, HandingOut
from host.telemetry import events
from host.telemetry.emitter import ReportFailure, Telemetry


class DispatchSetup(NamedTuple):
    """How every generation hands out its connections.

    Attributes:
        schedulers: who is asked which worker takes a connection, each with its plugin's name.
        policy: the limits that dispatch keeps to.
        send: sends to a worker without waiting.
        report: told what a scheduler raises.
    """

    loop: Loop
    telemetry: Telemetry
    schedulers: Sequence[tuple[str, Scheduler]]
    policy: DispatchPolicy
    send: Send
    report: ReportFailure

    def prepare(self, generation: Generation, wake: int | None = None) -> None:
        """Have a generation ready to hand out what waits; `runner.start` begins with it.

        Args:
            generation: it closes what is made here.
            wake: the eventfd by which its workers wake the supervisor, if there is one already.
        """
        lengths = [self._length(generation, listener) for listener in generation.sockets]
        queues = [
            (listener.view, length)
            for listener, (length, _known) in zip(generation.sockets, lengths, strict=True)
        ]
        blind = not all(known for _length, known in lengths)
        dispatcher = self._dispatcher(generation, queues)
        runner = DispatchRunner(
            self.loop,
            dispatcher,
            generation.scoreboard,
            generation.streams,
            send=self.send,
            blind=blind,
            wake=wake,
        )
        for number, queue in generation.paced.items():
            queue.run_pass = functools.partial(runner.run_again, number)
        generation.choices = dispatcher.choices
        generation.handing_out = HandingOut(dispatcher, runner)

    def _dispatcher(
        self, generation: Generation, queues: Sequence[tuple[Listener, Callable[[], int]]]
    ) -> Dispatcher:
        rooms = {
            each.view.index: functools.partial(generation.room, each.view, each.max_connections)
            for each in generation.streams
            if each.max_connections
        }
        dispatcher = (LimitedDispatcher if rooms else Dispatcher)(
            generation.scoreboard.cells,
            queues,
            self.schedulers,
            self.policy,
            report=self.report,
            telemetry=self.telemetry,
        )
        if isinstance(dispatcher, LimitedDispatcher):
            dispatcher.rooms = rooms
        return dispatcher

    def _length(
        self, generation: Generation, listener: ListeningSocket
    ) -> tuple[Callable[[], int], bool]:
        """Return what tells how many are to be handed out at a listener, and whether it knows."""
        if isinstance(listener, ShardGroup):  # its number is taken; nothing is handed out of it
            return lambda: 0, True
        length, known = self._queue_length(listener)
        number, rate = listener.view.index, listener.max_rate
        if rate:
            counts, later = generation.scoreboard, self.loop.call_later
            length = PacedQueue(length, counts, number, rate, later, listener.gate_is_shut)
            generation.paced[number] = length
        return listener.kept_length(length) if listener.is_kept else length, known

    def _queue_length(self, listener: ListeningSocket) -> tuple[Callable[[], int], bool]:
        """Return the function that tells a listener's queue length, and whether it knows it."""
        function, limit, cause = queue_length(listener)
        address, wanted = listener.view.address, listener.wanted
        if limit is None:
            self.telemetry.emit(events.BACKLOG_UNKNOWN, address=address, cause=cause)
        elif limit < wanted:
            self.telemetry.emit(events.BACKLOG_CAPPED, address=address, actual=limit, wanted=wanted)
        return function, limit is not None
