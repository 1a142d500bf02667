"""Carries out the commands that a running host is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from host.control.commands import CommandError
from host.control.server import Reply
from host.dispatch.dispatcher import Scheduler
from host.errors import HostError
from host.supervisor import status
from host.supervisor.lifecycle import WorkerLifecycle
from host.supervisor.reload.rehearsal import Done, ReloadError
from host.supervisor.status import House
from host.supervisor.workers.handles import WorkerHandle
from host.supervisor.workers.queries import Item, WorkerQueries
from host.supervisor.workers.states import WorkerState
from host.telemetry.emitter import Telemetry
from host.telemetry.events import SCHEDULER_SWAPPED, WORKER_FREED, WORKER_HELD


class Steerable(House, Protocol):
    """What can be done to the supervisor."""

    telemetry: Telemetry
    questions: WorkerQueries
    foreman: WorkerLifecycle

    def reload(self, cause: str, done: Done | None = None) -> None:
        """Try the new settings and take them on."""

    def stop(self, cause: str, *, delayed: bool = False) -> float:
        """Stop without cutting anybody off; return in how many seconds at the latest."""

    def stop_now(self, cause: str) -> None:
        """Stop at once."""

    def scale(self, workers: int, cause: str) -> bool:
        """Have so many workers from now on."""

    def schedulers_of(self, plugin: str) -> Sequence[tuple[str, Scheduler]]:
        """Load a scheduler plugin; return whom to ask from then on."""

    @property
    def starting(self) -> bool:
        """Whether a generation is on its way to be ready."""


class CommandHandlers:
    """The commands, by name.

    Args:
        host: the supervisor.
    """

    def __init__(self, host: Steerable) -> None:
        self._host = host
        self._commands: dict[str, Callable[[dict[str, Any], Reply], None]] = {
            "status": lambda _, reply: reply.result(status.status(host)),
            "generations": lambda _, reply: reply.result(status.generations(host)),
            "reload": lambda _, reply: self._reload(reply),
            "stop": lambda args, reply: self._stop(reply, **args),
            "scale": lambda args, reply: self._scale(reply, **args),
            "drain": lambda args, reply: self._drain(reply, **args),
            "suspend": lambda args, reply: self._hold(reply, **args, held=True),
            "resume": lambda args, reply: self._hold(reply, **args, held=False),
            "connections": lambda args, reply: self._connections(reply, **args),
            "close": lambda args, reply: self._one(reply, "close", **args),
            "why": lambda args, reply: self._one(reply, "find", **args),
            "scheduler": lambda args, reply: self._swap(reply, **args),
        }

    def handle(self, command: str, args: dict[str, Any], reply: Reply) -> None:
        """Carry out one command, with arguments that have been checked.

        Raises:
            CommandError: it cannot be done; nothing has changed.
        """
        self._commands[command](args, reply)

    def _drain(self, reply: Reply, slot: int) -> None:
        hand = self._serving(slot)
        self._host.foreman.retire(hand, "a command")
        reply.result({"slot": hand.member.slot, "pid": hand.member.pid})

    def _reload(self, reply: Reply) -> None:
        host = self._host
        if host.ending is not None:
            raise CommandError("the host is stopping")
        if host.starting:
            raise CommandError("a generation is starting; try again when it is ready")

        def done(error: ReloadError | None) -> None:
            if error is None:
                reply.result({"generation": host.succession.next_number})
            else:
                reply.error("\n".join(filter(None, [error.reason, error.details])))

        host.reload("a command", done)

    def _stop(self, reply: Reply, *, quick: bool) -> None:
        if quick:
            reply.result({"seconds": 1.0})
            self._host.stop_now("a command")
        else:
            reply.result({"seconds": round(self._host.stop("a command", delayed=True), 3)})

    def _scale(self, reply: Reply, workers: int) -> None:
        before = self._host.pool.workers
        if not self._host.scale(workers, "a command"):
            raise CommandError("the host is stopping")
        reply.result({"workers": workers, "before": before})

    def _serving(self, slot: int) -> WorkerHandle:
        """Return the worker that serves in a slot."""
        for hand in self._host.crew:
            member = hand.member
            if (
                member.slot == slot
                and hand.generation is self._host.serving
                and member.state is WorkerState.READY
                and not member.retiring
            ):
                return hand
        slots = sorted({hand.member.slot for hand in self._host.crew})
        raise CommandError(f"no worker serves in slot {slot}; slots: {', '.join(map(str, slots))}")

    def _hold(self, reply: Reply, slot: int, *, held: bool) -> None:
        host, hand = self._host, self._serving(slot)
        dispatcher, passes = host.serving.dispatcher, host.serving.passes
        assert dispatcher is not None
        assert passes is not None
        if held != hand.held:
            hand.held = held
            dispatcher.hold(hand.member.pid, held)
            if held:
                host.telemetry.emit(WORKER_HELD, slot=slot, pid=hand.member.pid)
            else:
                host.telemetry.emit(WORKER_FREED, slot=slot, pid=hand.member.pid)
            passes.run_all()
        reply.result({"slot": slot, "pid": hand.member.pid})

    def _connections(self, reply: Reply, limit: int) -> None:
        hands = {hand.member.pid: hand.member.slot for hand in self._host.crew}

        def done(answers: dict[int, list[Item]], unanswered: list[int]) -> None:
            found = [
                {"slot": hands[pid], **_shown(item)}
                for pid, items in answers.items()
                for item in items
            ]
            total = len(found)
            reply.result(
                {
                    "connections": found[:limit],
                    "unanswered": sorted(hands[pid] for pid in unanswered),
                    "truncated": total > limit,
                }
            )

        # One more than wanted, to know whether there are more.
        self._host.questions.ask(hands, "connections", {"limit": limit + 1}, done)

    def _one(self, reply: Reply, question: str, id: str) -> None:
        """Ask the worker of one connection, whose id begins with its pid."""
        wanted = id
        pid_text, _, serial = wanted.partition("-")
        hand = None
        if pid_text.isdecimal() and serial.isdecimal():
            hand = self._host.crew.get(int(pid_text))
        if hand is None:
            raise CommandError(f"no connection {wanted}: no worker here has that process id")

        def done(answers: dict[int, list[Item]], unanswered: list[int]) -> None:
            items = [item for each in answers.values() for item in each]
            if unanswered:
                reply.error(f"worker {hand.member.slot} does not answer")
            elif not items:
                reply.error(f"no connection {wanted} is open")
            elif question == "close":
                reply.result({"id": wanted})
            else:
                self._explain(reply, hand, items[0])

        self._host.questions.ask([hand.member.pid], question, {"id": wanted}, done)

    def _explain(self, reply: Reply, hand: WorkerHandle, item: Item) -> None:
        pid = hand.member.pid
        choice = hand.generation.decisions.find(pid, item["index"], item["claim"])
        if choice is None:
            reply.error("how it came to its worker is no longer remembered")
            return
        reply.result(
            {
                "id": item["id"],
                "listener": item["listener"],
                "slot": choice.slot,
                "pid": pid,
                "scheduler": choice.scheduler,
                "seconds_ago": round(self._host.loop.now - choice.decision.time, 3),
                "candidates": [
                    {"slot": slot, "active": active, "outstanding": outstanding}
                    for slot, active, outstanding in choice.candidates
                ],
                "omitted": choice.decision.omitted,
            }
        )

    def _swap(self, reply: Reply, name: str) -> None:
        host = self._host
        dispatcher = host.serving.dispatcher
        assert dispatcher is not None
        before = [each for each, _ in dispatcher.schedulers]
        try:
            dispatcher.schedulers = tuple(host.schedulers_of(name))
        except HostError as error:
            raise CommandError(str(error)) from error
        host.telemetry.emit(SCHEDULER_SWAPPED, plugin=name, before=", ".join(before) or "none")
        reply.result({"scheduler": name, "before": before})


def _shown(item: Item) -> Item:
    return {key: value for key, value in item.items() if key not in ("index", "claim")}
