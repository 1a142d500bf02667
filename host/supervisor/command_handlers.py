"""Carries out the commands that a running host is given: a method for each, with its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from host.control.commands import CommandError
from host.control.replies import Reply, Written
from host.dispatch.dispatcher import Scheduler
from host.errors import HostError
from host.runtime.steps import Steps
from host.settings import AppliedSetting
from host.supervisor import recent, status
from host.supervisor.lifecycle import WorkerLifecycle
from host.supervisor.listing import Wanted, listing_of, question
from host.supervisor.reload.reloader import Reloader, ReloadError
from host.supervisor.status import HostState
from host.supervisor.workers.handles import WorkerHandle
from host.supervisor.workers.queries import Item, WorkerQueries
from host.supervisor.workers.states import WorkerState
from host.telemetry.emitter import Telemetry
from host.telemetry.events import SCHEDULER_SWAPPED, WORKER_HELD, WORKER_RESUMED


class Stop(Protocol):
    """Begins to stop the host; returns in how many seconds it has ended at the latest."""

    def __call__(self, cause: str, *, quick: bool = False, delayed: bool = False) -> float:
        """Stop."""


class CommandParts(NamedTuple):
    """What commands work with.

    Attributes:
        state: what is known of the host.
        load_schedulers: loads a scheduler plugin by name, in steps, and returns who is asked from
            then on; raises PluginError.
        stop: stops the host.
        applied: returns the settings as people see them.
    """

    telemetry: Telemetry
    state: HostState
    lifecycle: WorkerLifecycle
    queries: WorkerQueries
    reloader: Reloader
    load_schedulers: Callable[[str], Steps[Sequence[tuple[str, Scheduler]]]]
    stop: Stop
    applied: Callable[[], list[AppliedSetting]]


class CommandHandlers:
    """The commands of `host.control.commands`, each a method that takes a reply and its arguments.

    Args:
        parts: what they work with.
    """

    def __init__(self, parts: CommandParts) -> None:
        self._parts, self._host = parts, parts.state

    def handle(self, command: str, args: dict[str, Any], reply: Reply) -> Iterator[None] | None:
        """Carry out one command of the table, with arguments that have been checked.

        Returns:
            For a command that takes long, an iterator whose steps carry it out.

        Raises:
            CommandError: it cannot be done; nothing has changed. The iterator raises it, too.
        """
        steps: Iterator[None] | None = getattr(self, command)(reply, **args)
        return steps

    def status(self, reply: Reply, *, ready: bool) -> Iterator[None]:
        """Tell the whole state of the host, or only whether it is ready."""
        if ready:
            reply.result(status.readiness(self._host))
        else:
            reply.result((yield from status.status(self._host)))

    def generations(self, reply: Reply) -> None:
        """Tell the state of each generation."""
        reply.result(status.generations(self._host))

    def applied(self, reply: Reply) -> None:
        """Tell the settings that the host runs with."""
        reply.result({"settings": [each._asdict() for each in self._parts.applied()]})

    def certificates(self, reply: Reply) -> None:
        """List the certificates that are in use."""
        reply.result({"certificates": self._host.certificates.listing()})

    def reload(self, reply: Reply, *, certificates: bool) -> None:
        """Take on new code, settings and plugins; the reply comes just before the exec.

        Args:
            reply: told how it goes.
            certificates: only take on new certificates; the reply comes when all workers have them.
        """
        if self._host.shutdown.begun:
            raise CommandError("the host is stopping")
        if certificates:
            self._renew_certificates(reply)
            return
        reloader, generations = self._parts.reloader, self._host.generations
        if reloader.starting:
            raise CommandError("a generation is starting; try again when it is ready")

        def done(error: ReloadError | None) -> None:
            if error is None:
                reply.result({"generation": generations.next_number, "certificates": []})
            else:
                reply.error(error.text)

        reloader.request("a command", done)

    def _renew_certificates(self, reply: Reply) -> None:
        if not self._host.certificates.listing():
            raise CommandError("the host has no certificates: there is no table [tls.NAME]")
        serving = self._host.generations.serving.number

        def done(renewed: list[str], errors: list[str]) -> None:
            if errors:
                others = f"; renewed: {', '.join(renewed)}" if renewed else ""
                reply.error(f"the certificates before them stay: {'; '.join(errors)}{others}")
            else:
                reply.result({"generation": serving, "certificates": renewed})

        self._host.certificates.renew_all("a command", done)

    def stop(self, reply: Reply, *, quick: bool) -> None:
        """Stop the host; the reply comes before it begins."""
        if quick:
            reply.result({"seconds": 1.0})
            self._parts.stop("a command", quick=True)
        else:
            reply.result({"seconds": round(self._parts.stop("a command", delayed=True), 3)})

    def scale(self, reply: Reply, workers: int) -> None:
        """Set the number of workers."""
        before = self._host.pool.workers
        if not self._parts.lifecycle.scale(workers, "a command"):
            raise CommandError("the host is stopping")
        reply.result({"workers": workers, "before": before})

    def drain(self, reply: Reply, slot: int) -> None:
        """Replace a worker, its successor ready first."""
        handle = self._serving(slot)
        if not self._parts.lifecycle.retire(handle, "a command"):
            if self._host.shutdown.begun:
                raise CommandError("the host is stopping")
            number = self._host.generations.current.number
            raise CommandError(f"generation {number} is to take over and replaces all workers")
        reply.result({"slot": handle.record.slot, "pid": handle.record.pid})

    def hold(self, reply: Reply, slot: int) -> None:
        """Keep new connections from a worker."""
        self._set_held(reply, slot, held=True)

    def resume(self, reply: Reply, slot: int) -> None:
        """Give new connections to a worker again."""
        self._set_held(reply, slot, held=False)

    def connections(
        self,
        reply: Reply,
        limit: int,
        sort: str | None,
        reverse: bool,
        listener: str | None,
        peer: str | None,
        worker: int | None,
    ) -> None:
        """List the open connections that are meant, `limit` at most: the first in an order."""
        wanted = Wanted(limit, sort, reverse, listener, peer)
        addresses = {view.address for each in self._host.generations.all for view in each.listeners}
        asked, listing = question(wanted, addresses), listing_of(wanted, self._host.loop)
        records = [handle.record for handle in self._host.workers]
        slots = {each.pid: each.slot for each in records if worker in (None, each.slot)}
        if worker is not None and not slots:
            raise self._no_worker("is", worker)

        def done(answers: dict[int, list[Written]], unanswered: list[int]) -> None:
            silent = sorted(slots[pid] for pid in unanswered)
            listing.finish(
                answers.values(),
                lambda listed, more: reply.result(
                    {"connections": listed, "unanswered": silent, "truncated": more}
                ),
            )

        self._parts.queries.ask(slots, "connections", asked, done, keep=listing.keep)

    def recent(self, reply: Reply, slot: int | None) -> Iterator[None]:
        """Tell the last events of the workers in a slot, or of all; they are not asked."""
        if slot is not None and all(each.record.slot != slot for each in self._host.workers):
            raise self._no_worker("is", slot)
        reply.result({"events": (yield from recent.listing(self._host, slot))})

    def close(self, reply: Reply, id: str) -> None:
        """Close a connection."""
        self._ask_about_one(reply, "close", id, lambda _handle, _item: reply.result({"id": id}))

    def why(self, reply: Reply, id: str) -> None:
        """Tell why a connection is with its worker and no other."""
        self._ask_about_one(
            reply, "find", id, lambda handle, item: self._explain(reply, id, handle, item)
        )

    def scheduler(self, reply: Reply, name: str) -> Iterator[None]:
        """Have another plugin choose the workers; to find it takes long where much is installed."""
        try:
            schedulers = yield from self._parts.load_schedulers(name)
        except HostError as error:
            raise CommandError(str(error)) from error
        dispatcher = self._host.generations.handing_out.dispatcher
        before = [each for each, _ in dispatcher.schedulers]
        dispatcher.schedulers = tuple(schedulers)
        self._parts.telemetry.emit(
            SCHEDULER_SWAPPED, plugin=name, before=", ".join(before) or "none"
        )
        reply.result({"scheduler": name, "before": before})

    def _serving(self, slot: int) -> WorkerHandle:
        """Return the worker that serves in a slot.

        Raises:
            CommandError: there is none.
        """
        host = self._host
        for handle in host.workers:
            record = handle.record
            if (
                record.slot == slot
                and handle.generation is host.generations.serving
                and record.state is WorkerState.READY
                and not record.retiring
            ):
                return handle
        raise self._no_worker("serves", slot)

    def _no_worker(self, verb: str, slot: int) -> CommandError:
        slots = sorted({handle.record.slot for handle in self._host.workers})
        return CommandError(f"no worker {verb} in slot {slot}; slots: {', '.join(map(str, slots))}")

    def _set_held(self, reply: Reply, slot: int, *, held: bool) -> None:
        handle, handing_out = self._serving(slot), self._host.generations.handing_out
        pid = handle.record.pid
        if held != handle.held:
            handle.held = held
            handing_out.dispatcher.hold(pid, held)
            if held:
                self._parts.telemetry.emit(WORKER_HELD, slot=slot, pid=pid)
            else:
                self._parts.telemetry.emit(WORKER_RESUMED, slot=slot, pid=pid)
            self._host.generations.run_passes()
        reply.result({"slot": slot, "pid": pid})

    def _ask_about_one(
        self, reply: Reply, question: str, id: str, found: Callable[[WorkerHandle, Item], object]
    ) -> None:
        """Ask the worker of one connection, whose id begins with the worker's pid.

        Args:
            reply: told if there is no such connection, or no answer.
            question: what the worker is asked.
            id: the connection's id.
            found: called with the worker and its answer.
        """
        pid_text, _, serial = id.partition("-")
        handle = None
        if pid_text.isdecimal() and serial.isdecimal():
            handle = self._host.workers.get(int(pid_text))
        if handle is None:
            raise CommandError(f"no connection {id}: no worker here has that process id")

        def done(answers: dict[int, list[Item]], unanswered: list[int]) -> None:
            items = [item for each in answers.values() for item in each]
            if unanswered:
                reply.error(f"worker {handle.record.slot} does not answer")
            elif not items:
                reply.error(f"no connection {id} is open")
            else:
                found(handle, items[0])

        self._parts.queries.ask([handle.record.pid], question, {"id": id}, done)

    def _explain(self, reply: Reply, id: str, handle: WorkerHandle, item: Item) -> None:
        pid = handle.record.pid
        # A worker is not trusted: its plugins may write into its channel.
        index, claim = item.get("index"), item.get("claim")
        choice = None
        if isinstance(index, int) and isinstance(claim, int):
            choice = handle.generation.choices.find(pid, index, claim)
        if choice is None:
            reply.error("how it came to its worker is no longer remembered")
            return
        reply.result(
            {
                "id": id,
                "listener": item.get("listener"),
                "slot": choice.slot,
                "pid": pid,
                "scheduler": choice.scheduler,
                "seconds_ago": round(self._host.loop.now - choice.decision.time, 3),
                "candidates": [
                    {"slot": slot, "active": active, "outstanding": outstanding}
                    for slot, active, outstanding in choice.candidates
                ],
                "omitted": choice.decision.omitted,
                "doing": item.get("doing", ""),
                "tasks": item.get("tasks", []),
            }
        )
