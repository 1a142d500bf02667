"""A host without I/O: the real dispatch amid simulated workers, clients, clock and pipes.

Everyone acts in single reads and writes of what is shared. Where the dispatcher reads or writes
a cell or asks for a queue's length, others may act first. Who acts when is read from a tape, so
that a search for a bad order of events is a search for a tape.

Around the dispatcher is `host.dispatch.runner` itself. How workers are started, reaped and sent
away is as in `host.supervisor.lifecycle`; `accepting` does what `host.worker.acceptor` does, and
the tests of that module hold it to that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from host.dispatch.dispatcher import SECOND_LOOK_SECONDS, Dispatcher, DispatchPolicy
from host.dispatch.runner import DispatchRunner
from host.interfaces import Listener
from host.ipc.protocol import OrderParser
from host.ipc.scoreboard import (
    ACCEPTED,
    ACCEPTED_ALL,
    ACTIVE,
    CLAIMED,
    CLAIMED_ALL,
    REFUSED,
    REFUSING,
    SETTLED,
    SPURIOUS,
    TURN_LASTED,
    Row,
)
from host.plugins.schedulers.round_robin import RoundRobin
from host.runtime.loop import READ
from support.fakes import FakeLoop, Told, blank_cells, rows_of, worker_id

PATIENCE = 0.05
RETRY_SECONDS = 0.1
LEAVE = "leave"


def accepting(row: Row, listener: int, accept: Callable[[], int]) -> Iterator[None]:
    """Act on one notification as a worker does; others may act at each yield.

    Args:
        accept: calls accept(); tells its outcome: ACCEPTED, SPURIOUS or REFUSED.
    """
    row.put(ACTIVE, row.get(ACTIVE) + 1)
    yield
    row.add(listener, CLAIMED)
    yield
    row.put(CLAIMED_ALL, row.get(CLAIMED_ALL) + 1)
    yield
    outcome = accept()
    yield
    if outcome != ACCEPTED:
        row.put(ACTIVE, row.get(ACTIVE) - 1)
        yield
    row.add(listener, outcome)
    yield
    row.add(listener, SETTLED)
    yield
    if outcome == ACCEPTED:
        row.put(ACCEPTED_ALL, row.get(ACCEPTED_ALL) + 1)


class Tape:
    """Choices. After the end of the tape nothing is chosen but 0."""

    def __init__(self, choices: bytes) -> None:
        self._choices, self._at = choices, 0

    @property
    def ended(self) -> bool:
        return self._at >= len(self._choices)

    def choose(self, options: int) -> int:
        if self.ended:
            return 0
        self._at += 1
        return self._choices[self._at - 1] % options


class Interleaved:
    """The dispatcher's view of the cells: others may act before each read and write."""

    def __init__(self, cells: memoryview, others_act: Callable[[], None]) -> None:
        self._cells, self._others_act = cells, others_act

    def __getitem__(self, index: int) -> int:
        self._others_act()
        return self._cells[index]

    def __setitem__(self, index: int, value: int) -> None:
        self._others_act()
        self._cells[index] = value


class SimWorker:
    """A worker process: its pipe, its connections, and where in its program it is."""

    def __init__(self, world: World, row: Row, pid: int) -> None:
        self.world, self.row, self.pid = world, row, pid
        self.pipe: deque[Any] = deque()
        self.held = 0
        self.ending = 0  # connections whose clients have gone, not yet noticed here
        self.stopped = self.dead = self.leaving = self.short = False
        self.retry_at: float | None = None
        self._program = self._run()

    @property
    def able(self) -> bool:
        """Whether it will act on what it is sent."""
        return not (self.stopped or self.dead or self.leaving)

    def step(self) -> bool:
        """Do the next read or write; tell whether there was anything to do."""
        if self.dead or self.stopped:
            return False
        try:
            return next(self._program)
        except StopIteration:
            self.world.die(self)
            return True

    def _run(self) -> Iterator[bool]:
        row, world = self.row, self.world
        while True:
            if self.pipe:
                notice = self.pipe.popleft()
                yield True
                if notice is LEAVE:
                    return
                listener, count = notice
                for _ in range(count):
                    for _ in accepting(row, listener, lambda: world.accept(self, listener)):  # noqa: B023
                        yield True
                    yield True
                if world.starved:
                    world.woken = True
            elif self.ending:
                self.ending -= 1
                self.held -= 1
                row.put(ACTIVE, row.get(ACTIVE) - 1)
                yield True
                if world.starved:
                    world.woken = True
            elif self.retry_at is not None and self.retry_at <= world.now:
                self.retry_at = None
                row.put(REFUSING, 0)
                yield True
                world.woken = True
            else:  # a turn in which nothing was to be done
                row.put(TURN_LASTED, row.get(TURN_LASTED) + 1)
                yield False


@dataclass(frozen=True)
class Listening:
    """A listening socket, as far as passes need one; its descriptor is no real one."""

    view: Listener

    def fileno(self) -> int:
        return 1_000_000 + self.view.index


@dataclass(frozen=True)
class Setup:
    """What kind of world it is.

    Attributes:
        faults: whether workers are stopped, killed, replaced, sent away, or short of descriptors.
        interleaving: whether others act within a pass.
        blind: whether queues only tell if they are empty.
        limit: how many connections a worker may hold.
    """

    workers: int = 2
    listeners: int = 1
    limit: int = 1_000_000
    faults: bool = False
    interleaving: bool = True
    blind: bool = False
    pipe_size: int = 1_000
    dispatcher: type[Dispatcher] = Dispatcher
    #: In worlds without faults a missed claim cannot be, so its timer is out of reach.
    patience: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "patience", PATIENCE if self.faults else 1e6)


class World:
    """One host and its clients."""

    def __init__(self, setup: Setup, tape: bytes = b"") -> None:
        self.setup, self.tape = setup, Tape(tape)
        self.loop = FakeLoop(now=0.0)
        self.queues: list[deque[int]] = [deque() for _ in range(setup.listeners)]
        self.edges: set[int] = set()
        self._seen: list[list[int]] = [[] for _ in self.queues]
        self._promised = [0 for _ in self.queues]
        self.woken = self.starved = False
        self.unreaped: list[SimWorker] = []
        self.arrived = self.spurious = 0
        self.story: list[str] = []
        self.told = Told()
        self._gap = 0
        self._playing = False
        self._pids = iter(range(1, 1_000_000))
        self.cells = blank_cells(setup.workers, setup.listeners)
        self.rows = rows_of(self.cells, setup.workers, setup.listeners)
        between = Interleaved(self.cells, self._others_act)
        self._seen_rows = rows_of(between, setup.workers, setup.listeners)
        listeners = [Listener(n, f"tcp://h:{n}", "echo") for n in range(setup.listeners)]
        self.dispatcher = setup.dispatcher(
            between,
            [(view, self._queue_length(view.index)) for view in listeners],
            [("round_robin", RoundRobin().choose_worker)],
            DispatchPolicy(setup.limit, setup.patience),
            report=self._report,
            telemetry=self.told.telemetry,
            clock=lambda: self.now,
        )
        self.passes = DispatchRunner(
            self.loop,
            self.dispatcher,
            self,
            [Listening(view) for view in listeners],
            send=self._send,
            blind=setup.blind,
        )
        self.passes.start()
        self.workers: dict[int, SimWorker] = {}
        for slot in range(setup.workers):
            self.start(slot)

    @property
    def now(self) -> float:
        return self.loop.now

    # The kernel and the clients

    def connect(self, listener: int) -> None:
        self.arrived += 1
        self._note("connection %d on listener %d", self.arrived, listener)
        self.queues[listener].append(self.arrived)
        self.edges.add(listener)

    def accept(self, worker: SimWorker, listener: int) -> int:
        self._promised[listener] -= 1
        if worker.short:
            worker.row.put(REFUSING, 1)
            worker.retry_at = self.now + RETRY_SECONDS
            self._note("worker %d is short of descriptors", worker.row.number)
            return REFUSED
        if not self.queues[listener]:
            self.spurious += 1
            self._note("worker %d accepts nothing", worker.row.number)
            return SPURIOUS
        taken = self.queues[listener].popleft()
        worker.held += 1
        self._note("worker %d accepts connection %d", worker.row.number, taken)
        assert worker.held <= self.setup.limit, "a worker holds more than max_connections"
        return ACCEPTED

    def die(self, worker: SimWorker) -> None:
        self._note("worker %d ends", worker.row.number)
        worker.dead = True
        self.unreaped.append(worker)

    def _queue_length(self, listener: int) -> Callable[[], int]:
        def length() -> int:
            self._others_act()
            length = len(self.queues[listener])
            length = min(length, 1) if self.setup.blind else length
            self._seen[listener] = list(self.queues[listener])[:length]
            return length

        return length

    # The supervisor

    def start(self, slot: int) -> None:
        """A worker has been forked and says that it is ready."""
        self._note("worker %d is ready", slot)
        worker = self.workers[slot] = SimWorker(self, self.rows[slot], next(self._pids))
        self.dispatcher.ready(self._seen_rows[slot], worker_id(slot, worker.pid))
        self.passes.run_all()

    def _send(self, pid: int, data: bytes) -> bool:
        [worker] = [worker for worker in self.workers.values() if worker.pid == pid]
        if worker.dead or len(worker.pipe) >= self.setup.pipe_size:
            return False
        [(listener, count)] = OrderParser().feed(data)
        self._note("worker %d: accept %d from listener %d", worker.row.number, count, listener)
        worker.pipe.append((listener, count))
        self._promised[listener] += count
        return True

    def _check_passes(self) -> None:
        """Whoever was seen waiting will be accepted, without a timer, as long as nobody fails."""
        in_doubt = self.dispatcher.next_check(self.now) == self.now + SECOND_LOOK_SECONDS
        if self.setup.faults or self.dispatcher.starved or in_doubt:
            return
        for seen, queue, promised in zip(self._seen, self.queues, self._promised, strict=True):
            assert len(set(seen) & set(queue)) <= promised, "nobody was told of a connection"

    def _report(self, plugin: str, hook: str, error: BaseException, args: object) -> None:
        raise error

    def on_edge(self) -> None:
        for listener in sorted(self.edges):
            self.edges.discard(listener)
            self.loop.handlers[1_000_000 + listener](READ)
            self._check_passes()

    def on_turn_begin(self) -> None:
        if self.woken:
            self.woken = False
            self.loop.handlers[self.passes.wake](READ)
            self._check_passes()

    def on_child(self) -> None:
        if not self.unreaped:
            return
        while self.unreaped:
            worker = self.unreaped.pop()
            self.dispatcher.gone(worker.pid)
            self._seen_rows[worker.row.number].write_off()
            del self.workers[worker.row.number]
        self.passes.run_all()

    def on_timer(self) -> None:
        """Let time pass until the timer is due; a missed claim cannot be where nobody fails."""
        if self.loop.due and (self.setup.faults or self.loop.due[0] <= self.now + 1):
            self.advance(self.loop.due[0])

    def advance(self, to: float) -> None:
        self.loop.advance(max(to, self.now))
        self._check_passes()

    def send_away(self, worker: SimWorker) -> None:
        if worker.leaving or worker.dead:
            return
        self._note("worker %d is told to leave", worker.row.number)
        worker.leaving = True
        self.dispatcher.gone(worker.pid)
        worker.pipe.append(LEAVE)
        self.passes.run_all()

    # Who acts next

    def play(self) -> None:
        """Do what the tape says."""
        self._playing = True
        while not self.tape.ended:
            self._act()
            self.check()

    def _act(self) -> None:
        choice = self.tape.choose(10)
        if choice < 5:
            self._other_step()
        elif choice < 7:
            self.on_edge()
        elif choice == 7:
            self.on_turn_begin()
            self.on_child()
        elif choice == 8:
            self.on_timer()
        elif self.setup.faults:
            slot = self.tape.choose(self.setup.workers)
            worker = self.workers.get(slot)
            if worker is None:
                self.start(slot)
            elif self.tape.choose(4) == 1:
                self.send_away(worker)

    def _others_act(self) -> None:
        if not (self._playing and self.setup.interleaving) or self.tape.ended:
            return
        if self._gap:
            self._gap -= 1
            return
        self._gap = self.tape.choose(16)
        for _ in range(self.tape.choose(10)):
            self._other_step()

    def _other_step(self) -> None:
        """One step of a worker or a client, or a fault."""
        choice = self.tape.choose(12 if self.setup.faults else 9)
        if choice < 2:
            self.connect(self.tape.choose(self.setup.listeners))
            return
        worker = self.workers.get(self.tape.choose(self.setup.workers))
        if worker is None or worker.dead:
            return
        if choice < 8:
            worker.step()
        elif choice == 8:
            worker.ending += worker.held > worker.ending
        elif choice == 9:
            worker.stopped = not worker.stopped
            self._note("worker %d %s", worker.row.number, "stops" if worker.stopped else "goes on")
        elif choice == 10:
            worker.short = not worker.short
        else:
            self.die(worker)

    # The end

    def rest(self, seconds: float = 0.0, *, hang_up: bool = False) -> None:
        """Let all who can act do so until nothing happens any more, for `seconds` at most.

        Without time only what needs no timer but the second look happens.

        Args:
            hang_up: clients go as soon as they are served.
        """
        until = self.now + max(seconds, 0.5 if not self.setup.faults else 0.0)
        while True:
            busy = False
            self.on_edge()
            self.on_turn_begin()
            self.on_child()
            for worker in tuple(self.workers.values()):
                if hang_up:
                    worker.ending = worker.held
                while worker.step():
                    busy = True
            self.check()
            if busy or self.edges or self.woken or self.unreaped:
                continue
            due = self.loop.due + [
                worker.retry_at
                for worker in self.workers.values()
                if worker.retry_at is not None and not worker.stopped and not worker.dead
            ]
            if not due or min(due) > until:
                return
            self.advance(min(due))

    def close(self) -> None:
        self.passes.close()

    def check(self) -> None:
        """What holds at any time."""
        for slot, row in enumerate(self.rows):
            worker = self.workers.get(slot)
            limit = self.setup.limit
            assert row.get(ACTIVE) <= limit, "a worker counts more than max_connections"
            under_way = sum(
                row.count(n, CLAIMED) - row.count(n, SETTLED) for n in range(self.setup.listeners)
            )
            assert under_way in ((0, 1) if worker else (0,))

    def check_counters(self) -> None:
        """What holds while no worker is in the middle of an accept."""
        for row in self.rows:
            for n in range(self.setup.listeners):
                outcomes = [row.count(n, outcome) for outcome in (ACCEPTED, SPURIOUS, REFUSED)]
                assert row.count(n, CLAIMED) == row.count(n, SETTLED) == sum(outcomes)

    @property
    def waiting(self) -> int:
        """How many connections nobody has accepted."""
        return sum(map(len, self.queues))

    def accepted(self, listener: int) -> list[int]:
        """How many connections each slot has accepted from a listener."""
        return [row.count(listener, ACCEPTED) for row in self.rows]

    def _note(self, what: str, *values: object) -> None:
        self.story.append(f"{self.now:.3f} " + what % values)
