"""A supervisor that is about to re-execute itself, and one that takes over from it."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack, suppress
from typing import Any

from host.bus.supervisor_end import BusRouter
from host.interfaces import Listener
from host.ipc.host_counts import HostCounts
from host.net.activation import PassedSockets
from host.runtime.origin import Origin
from host.runtime.scheduling import BatchScheduling
from host.runtime.signals import Signals
from host.settings import AppliedSetting, Settings
from host.supervisor.generation import Generation
from host.supervisor.reload.handover import Handover, StandIn
from host.supervisor.reload.reexec import ReexecParts, hand_over
from host.supervisor.reload.reloader import Program
from host.supervisor.reload.sockets import bound_before
from host.supervisor.reload.takeover import TakeoverParts, end_stand_in, take_over
from host.supervisor.workers.exits import ExitReports
from host.supervisor.workers.last_call import LastCall
from host.telemetry.events import Level
from host.telemetry.logs import LogWriter
from support import signal_state
from support.fakes import FakeLoop, Told
from support.generations import dispatching
from support.supervision import NO_PROCESS, FakeWorkers, Site


class Before:
    """A site with what else a re-exec needs. Its program does not exist.

    Attributes:
        stand_in: what is handed over as the stand-in; it is no process.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self._null = os.open(os.devnull, os.O_WRONLY)
        self.log = LogWriter(self._null, lambda _: "\n", Level.INFO)
        self._kept = ExitStack()
        self._kept.enter_context(signal_state.kept())
        self.signals = Signals([signal.SIGUSR2])
        self.batch = BatchScheduling()
        self._other_end, pipe = os.pipe()
        written = os.memfd_create("written")
        self.stand_in = StandIn(pid=NO_PROCESS - 1, pipe=pipe, written=written)
        loop: Any = site.loop
        self.parts = parts_of(
            loop, self, site, Program("/no/such/program", ["prefork"], Origin.here())
        )

    def hand_over(self) -> Handover:
        """Return what is handed over, as it comes out of the JSON that it is passed in."""
        return _handed(self.parts, self.stand_in)

    def close(self) -> None:
        self.signals.close()
        self._kept.close()
        self.batch.end()
        self.log.close()
        os.close(self._null)
        os.close(self._other_end)
        for each in (self.stand_in.pipe, self.stand_in.written):
            with suppress(OSError):  # the end of a stand-in closes it
                os.close(each)


class After:
    """A supervisor that takes over; it has descriptors of its own, since both are one process."""

    def __init__(self, handed: Handover, before: Before) -> None:
        self.handed = _duplicated(handed)
        self._before = before
        self.loop, self.told = FakeLoop(200.0), Told()
        loop: Any = self.loop
        telemetry = self.told.telemetry
        self.router = BusRouter(loop, telemetry)
        self.workers = FakeWorkers(loop, self.router, lambda *_report: None)
        setup = dispatching(loop, telemetry, self.workers.send)
        self.coming = Generation(handed.generation, [Listener(0, "tcp://127.0.0.1:1", "line")])
        self.generations = take_over(
            self.handed,
            bound_before(self.handed.sockets),
            self.coming,
            TakeoverParts(loop, telemetry, self.router, self.workers, setup),
        )
        self.counts = HostCounts(handed.events, handed.restarts_by_cause)
        self.exits = ExitReports(loop, self.workers, telemetry, LastCall({}), self.counts)
        self.exits.restore(handed.restarts, handed.hangs)

    def hand_over(self) -> Handover:
        """Return what it hands over in its turn."""
        loop: Any = self.loop
        parts = parts_of(loop, self._before, self, self._before.parts.program)
        return _handed(parts, self._before.stand_in)

    def end_stand_in(self, pipe: int | None = None) -> None:
        """Go on after the end of the stand-in, which another pipe may end."""
        known = self._before.stand_in
        found = {"pipe": os.dup(known.pipe) if pipe is None else pipe}
        process = known.model_copy(update=found | {"written": os.dup(known.written)})
        handed = self.handed.model_copy(update={"stand_in": process})
        end_stand_in(handed, self.generations, self.workers, self.counts)

    def close(self) -> None:
        assert self.handed.stand_in is not None
        os.close(self.handed.stand_in.pipe)
        os.close(self.handed.stand_in.written)
        self.workers.close()
        self.router.close()
        self.generations.close()
        self.counts.close()


def parts_of(loop: Any, before: Before, owner: Site | After, program: Program) -> ReexecParts:
    """Return what a re-exec works with, of this site or of the one that has taken over."""
    return ReexecParts(
        program=program,
        loop=loop,
        log=before.log,
        signals=before.signals,
        batch=before.batch,
        router=owner.router,
        workers=owner.workers,
        exits=owner.exits,
        generations=owner.generations,
        counts=owner.counts,
        bridge=lambda: None,
        ops=lambda: ((), None, None),
        control=None,
        passed=PassedSockets(),
        service=lambda: None,
        started=90.0,
        started_at=1_700_000_000.0,
        settings=Settings(workers=3),
        max_connections=1000,
        applied=lambda: [AppliedSetting("workers", "3", "\udcff.toml:1")],
    )


def without_descriptors(handed: Handover) -> dict[str, Any]:
    """Return what was handed over but for the numbers of descriptors."""

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            names = ("fd", "wake", "control", "stacks", "pipe", "written")
            return {key: strip(each) for key, each in value.items() if key not in names}
        return [strip(each) for each in value] if isinstance(value, list) else value

    stripped: dict[str, Any] = strip(handed.model_dump())
    return stripped


def _handed(parts: ReexecParts, stand_in: StandIn) -> Handover:
    held = [each for one in parts.generations.with_listeners for each in one.sockets]
    return Handover.model_validate_json(hand_over(parts, held, stand_in).model_dump_json())


def _duplicated(handed: Handover) -> Handover:
    """Return the same with a duplicate of each descriptor, as another process would have them."""

    def change(value: Any, *names: str) -> Any:
        return value.model_copy(update={name: os.dup(getattr(value, name)) for name in names})

    workers = [
        change(each, "control", "stacks").model_copy(
            update={"bus": each.bus and change(each.bus, "fd")}
        )
        for each in handed.workers
    ]
    return handed.model_copy(
        update={
            "sockets": [change(each, "fd") for each in handed.sockets],
            "scores": [change(each, "fd") for each in handed.scores],
            "serving": change(handed.serving, "wake"),
            "workers": workers,
            "stand_in": change(handed.stand_in, "pipe", "written"),
        }
    )
