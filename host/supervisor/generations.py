"""All generations that have anything open, which of them serves, and the switch to the next."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from host.dispatch.sharding import ShardTable
from host.ipc.client_counts import ClientCounts
from host.ipc.series import Family, OwnSeries
from host.ipc.series_totals import SeriesTotals
from host.ipc.totals import Totals
from host.net.listeners import ListeningSocket
from host.net.quiesce import Gate
from host.runtime.loop import Loop
from host.supervisor.generation import Generation, HandingOut
from host.telemetry import events
from host.telemetry.emitter import Telemetry


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


class Generations:
    """All generations with anything open, and which of them connections are handed to.

    A generation starts as `coming`, takes over as `serving`, and then is one of the `older` ones
    until its last worker has ended. The first one serves from the beginning.

    Args:
        serving: the generation that serves; it can hand out its connections.
        coming: the generation that is starting and will take over.
        older: those that only drain, oldest first.
        accepted: connections accepted by workers that are gone, by slot.
        shards: who reads which sockets of UDP listeners; nobody yet if it is left out.

    Attributes:
        ended, ended_series: what generations that have ended have counted.
        deal_shards: deals those sockets to the workers that serve.
        keeps_shards: whether they stay where they are: the host stops.
        outcome: how the last reload went, if there was one.
        stopping: whether the host listens no more: then no generation takes over.
    """

    def __init__(
        self,
        loop: Loop,
        telemetry: Telemetry,
        serving: Generation,
        *,
        coming: Generation | None = None,
        older: Iterable[Generation] = (),
        accepted: Mapping[int, int] | None = None,
        shards: ShardTable | None = None,
    ) -> None:
        self._loop, self._telemetry = loop, telemetry
        self.serving, self.coming, self.older = serving, coming, list(older)
        self.accepted = dict(accepted or {})
        self.shards = ShardTable() if shards is None else shards
        self.ended, self.ended_series = Totals(), SeriesTotals()
        self._swapped_out: dict[str, Family] = {}  # what may be swapped in again goes on
        self.deal_shards: Callable[[], object] = lambda: None
        self.keeps_shards = False
        self.outcome: Outcome | None = None
        self.stopping = False
        for each in self.with_listeners:
            each.held_by_others = functools.partial(self._held_by_others, each)

    @property
    def all(self) -> list[Generation]:
        """All generations with anything open, oldest first."""
        return [*self.older, *self.with_listeners]

    @property
    def with_listeners(self) -> list[Generation]:
        """The generation that serves and, if there is one, the one that will take over."""
        return [self.serving, self.coming] if self.coming else [self.serving]

    @property
    def current(self) -> Generation:
        """The newest generation: the one that workers are started for."""
        return self.coming or self.serving

    @property
    def clients(self) -> ClientCounts | None:
        """Where clients are counted, if any generation does so."""
        return next((each.clients for each in self.all if each.clients), None)

    @property
    def next_number(self) -> int:
        """The number of the generation that a reload would start."""
        return max(each.number for each in self.all) + 1

    @property
    def handing_out(self) -> HandingOut:
        """What hands out the connections now."""
        assert self.serving.handing_out is not None  # see DispatchSetup.prepare
        return self.serving.handing_out

    def _held_by_others(self, generation: Generation, address: str) -> int:
        """Return how many connections of a listener all generations have but one."""
        return sum(
            each.held(view.index)
            for each in self.all
            if each is not generation
            for view in each.listeners
            if view.address == address
        )

    def run_passes(self) -> None:
        """Hand out the connections that wait on each listener, and the shards that nobody reads."""
        self.handing_out.runner.run_all()
        self.deal_shards()

    def take_released(self, pid: int, shards: object) -> None:
        """Take note of shards that a worker reads no longer, as it says; it is not trusted."""
        for shard in shards if isinstance(shards, list) else ():
            if isinstance(shard, int):
                self.shards.released(pid, shard)
        self.deal_shards()

    def worker_gone(self, slot: int, pid: int, served: int, generation: Generation) -> None:
        """Take note that a worker has ended, and close its generation if it was the last.

        Args:
            slot: its slot.
            pid: its process id.
            served: how many connections it has accepted.
            generation: its generation, to which its row has been given back.
        """
        self.accepted[slot] = self.accepted.get(slot, 0) + served
        generation.choices.forget(pid)
        self.shards.gone(pid)
        self._close_if_over(generation)

    def _close_if_over(self, generation: Generation) -> None:
        if generation in self.older and generation.is_empty:
            self.older.remove(generation)
            self._add_up(generation)
            generation.close()
            if generation.clients is not None and self.clients is None:
                generation.clients.close()

    def _add_up(self, generation: Generation) -> None:
        """Keep what a generation has counted that is about to be closed."""
        self.ended.add(generation.scoreboard, generation.listeners)
        for board in generation.boards:
            self.ended_series.add(board, generation.scoreboard)
        families = [board.families for each in self.all for board in each.boards]
        self.ended_series.keep(itertools.chain(*families, self._swapped_out.values()))

    def swap_series(self, swapped: OwnSeries) -> bool:
        """Show what a scheduler counts that is swapped in from now on; keep what others have.

        Args:
            swapped: where it counts; it is closed with the generation that serves.

        Returns:
            Whether there is anything else to be shown than before.
        """
        serving = self.serving
        before, serving.swapped = serving.swapped, swapped
        board = before.board
        if board is not None:
            self.ended_series.add(board, serving.scoreboard)
            self._swapped_out |= {each.name: each for each in board.families}
            before.leave()
            board.close()
        return board is not None or swapped.board is not None

    def switch(self, done: Callable[[], object], quiet_seconds: float) -> None:
        """Have the coming generation take over, whose workers are all ready; then call `done`.

        Listeners that the coming generation does not have are closed. The connections that wait
        on them are handed out first, since closing a listener would reset these. What waits on
        shards is read by their owners as they leave, so each must have one first.

        Args:
            done: called when it has taken over.
            quiet_seconds: how long nobody must have come before such a listener is closed.
        """
        assert self.coming is not None
        self.note_outcome("starting")  # a worker of it may have failed before
        kept = {listener.fileno() for listener in self.coming.sockets}
        gone = [each for each in self.serving.sockets if each.fileno() not in kept]
        take_over = functools.partial(self._take_over, done)
        self._tell_gone(gone)
        streams = [each for each in gone if each in self.serving.streams]
        settled = functools.partial(
            self.shards.is_settled,
            [group.shards for group in self.serving.groups if group in gone],
        )
        if not streams and settled():
            take_over()
            return
        indexes = [listener.view.index for listener in streams]
        runner = self.handing_out.runner
        # Its workers lift what they may inherit from listeners whose gate is shut.
        self.serving.scoreboard.gate_shut |= bool(streams)
        gate = Gate(
            self._loop,
            streams,
            quiet_seconds,
            quiet=lambda: runner.quiet(indexes) and settled(),
            done=take_over,
        )
        gate.shut(self._loop.now, math.inf)

    def _tell_gone(self, gone: Iterable[ListeningSocket]) -> None:
        assert self.coming is not None
        again = {each.view.address for each in self.coming.sockets}  # its file was lost
        for listener in gone:
            if listener.view.address not in again:
                self._telemetry.emit(events.NOT_LISTENING, address=listener.view.address)

    def _take_over(self, done: Callable[[], object]) -> None:
        if self.coming is None or self.stopping:
            return
        before, self.serving, self.coming = self.serving, self.coming, None
        self.older.append(before)
        before.stop_handing_out(self.serving.sockets)
        has_places = any(each.max_connections for each in self.serving.streams)
        for older in self.older:  # their workers tell of what ends: others may wait for its place
            older.scoreboard.starved = has_places
        self._close_if_over(before)
        self.handing_out.runner.start()
        self.deal_shards()  # those who read them so far are not yet told to drain
        self.note_outcome("ready")
        self._telemetry.emit(
            events.GENERATION_READY,
            generation=self.serving.number,
            seconds=self._loop.now - self.serving.began,
        )
        done()

    def stop_listening(self) -> list[ListeningSocket]:
        """Tell the workers that the host listens no more; return the sockets to be closed.

        Those of UDP listeners are not among them: `close_groups` closes them.
        """
        self.stopping = True
        for generation in self.with_listeners:
            generation.scoreboard.gate_shut = True
        return [each for generation in self.with_listeners for each in generation.streams]

    def is_quiet(self) -> bool:
        """Do a pass for each listener; tell whether nobody waits and nothing is under way.

        A shard that is about to have another owner would not be read by anybody in the end.
        """
        settled = self.shards.is_settled(group.shards for group in self.serving.groups)
        return self.handing_out.runner.quiet() and settled

    def close_groups(self) -> None:
        """Close the sockets of UDP listeners; workers read on what waits as they leave."""
        self.keeps_shards = True
        for generation in self.with_listeners:
            for group in generation.groups:
                group.close()

    def note_outcome(self, state: str, reason: str = "") -> None:
        """Remember how the reload goes: `starting`, `ready` or `failed`."""
        self.outcome = Outcome(self.current.number, state, reason, self._loop.now)

    def note_refusal(self, reason: str) -> None:
        """Remember why a reload did not happen."""
        self.outcome = Outcome(self.next_number, "failed", reason, self._loop.now)

    def note_failure(self, reason: str) -> None:
        """Remember, and tell the first time, that the newest generation does not start."""
        if self.outcome is None or not self.outcome.failed:
            first, _, details = reason.partition("\n")
            self._telemetry.emit(
                events.GENERATION_FAILED,
                generation=self.current.number,
                reason=first,
                details=details,
            )
        self.note_outcome("failed", reason)

    def close(self) -> None:
        """Close everything."""
        for generation in self.all:
            generation.close()
        if self.clients is not None:
            self.clients.close()

    def close_all_but_current(self) -> None:
        """Close, in a new worker, what belongs to other generations than its own."""
        current = self.current
        for generation in self.all:
            if generation is not current:
                generation.close(kept=current.sockets)
        current.swapped.leave()
        current.swapped.close()

    def close_sockets_in_fork(self) -> None:
        """Close the listening sockets in a process that a plugin has forked; they stay bound."""
        for generation in self.all:
            for listener in generation.sockets:
                listener.close_in_fork()
