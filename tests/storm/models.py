"""Runs of the models: the pool's state machine, and dispatch whose messages go astray."""

from __future__ import annotations

import importlib.util
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from storm.rows import Trial, row
from support.dispatch_world import PATIENCE, RETRY_SECONDS, Setup, World

UNIT = Path(__file__).parents[1] / "unit"
BATCH = 1000
FATES = ("lost", "doubled", "delayed")
LOOKS_UNTIL_LOST = 6
MAX_SENDS = 20_000
"""More than any world needs: a tape has 500 choices."""


def unit_test(path: str) -> Any:
    """Load a module of the unit tests, for the model in it."""
    name = f"storm_{Path(path).stem}"
    spec = importlib.util.spec_from_file_location(name, UNIT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@row(
    25,
    "the supervisor's state machine against a model, 100,000 random runs of up to 40 steps",
    "0 disagreements",
)
def pool_model(trial: Trial) -> str:
    machine = unit_test("supervisor/workers/test_pool_model.py").PoolMachine
    runs = 0
    until = time.monotonic() + trial.seconds(8.0, 3600.0)
    wanted = trial.pick(300, 100_000)
    while runs < wanted and time.monotonic() < until:
        batch = min(BATCH, wanted - runs, trial.pick(100, BATCH))
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=batch,
                stateful_step_count=40,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
                print_blob=False,
            ),
        )
        runs += batch
    trial.must(runs >= trial.pick(100, BATCH), f"only {runs} runs")
    trial.reduced = "" if runs >= wanted else trial.reduced
    return f"{runs:,} runs, 0 disagreements"


class Astray(World):
    """A world in which notifications are lost, doubled or delayed on their way to a worker."""

    def __init__(self, setup: Setup, tape: bytes, fate: str) -> None:
        self.fate, self.strayed, self._sends = fate, 0, 0
        self._late: list[tuple[int, tuple[int, int]]] = []
        super().__init__(setup, tape)

    def _send(self, pid: int, data: bytes) -> bool:
        self._sends += 1
        assert self._sends < MAX_SENDS, "it sends for ever"
        worker = next((each for each in self.workers.values() if each.pid == pid), None)
        before = len(worker.pipe) if worker is not None else 0
        taken = super()._send(pid, data)
        if worker is None or len(worker.pipe) == before or not self._playing:
            return taken
        if self.tape.choose(4) == 1:
            self.strayed += 1
            if self.fate == "doubled":
                worker.pipe.append(worker.pipe[-1])
            elif self.fate == "lost":
                worker.pipe.pop()
            else:
                self._late.append((pid, worker.pipe.pop()))
        return taken

    def _act(self) -> None:
        if self._late and self.tape.choose(8) == 1:
            self.deliver(self.tape.choose(len(self._late)))
        super()._act()

    def deliver(self, number: int) -> None:
        """Have one that was delayed arrive."""
        pid, notice = self._late.pop(number)
        for worker in self.workers.values():
            if worker.pid == pid and not worker.dead:
                worker.pipe.append(notice)

    def deliver_all(self) -> None:
        """Have all that were delayed arrive."""
        while self._late:
            self.deliver(0)


def play(setup: Setup, tape: bytes, fate: str) -> tuple[int, str]:
    """Play one world to its end; return how often a message strayed, and what is wrong."""
    with closing(Astray(setup, tape, fate)) as world:
        try:
            world.play()
            world.deliver_all()
            for worker in world.workers.values():
                worker.short = worker.stopped = False
            # One missed claim, and one long doubt, for each worker that was told in vain; and as
            # many looks at its turns as it takes to know that a message was lost.
            looks = LOOKS_UNTIL_LOST * PATIENCE
            world.rest(2 * setup.workers * PATIENCE + RETRY_SECONDS + looks, hang_up=True)
            if world.waiting and any(worker.able for worker in world.workers.values()):
                return world.strayed, "connections are left waiting"
        except AssertionError as error:
            return world.strayed, str(error).splitlines()[0]
    return world.strayed, ""


@row(
    29,
    "any control message lost, doubled or delayed at random, 100,000 times (model)",
    "nobody stranded for longer than one re-check",
)
def astray(trial: Trial) -> str:
    wanted = trial.pick(500, 100_000)
    until = time.monotonic() + trial.seconds(12.0, 3600.0)
    strayed: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    worlds = 0
    chance = trial.random
    while sum(strayed.values()) < wanted and time.monotonic() < until:
        blind, fate = chance.random() < 0.2, chance.choice(FATES)
        setup = Setup(faults=True, workers=chance.randint(1, 4), blind=blind)
        more, problem = play(setup, chance.randbytes(chance.randint(20, 500)), fate)
        strayed[fate] += more
        worlds += 1
        if problem:
            wrong[f"{fate}{' (blind)' * blind}: {problem}"] += 1
    trial.reduced = "" if sum(strayed.values()) >= wanted else trial.reduced
    for problem, count in sorted(wrong.items()):
        trial.must(False, f"{problem}, in {count} of {worlds:,} worlds")
    said = ", ".join(f"{count:,} {what}" for what, count in sorted(strayed.items()))
    return f"{worlds:,} worlds, {said}: {sum(wrong.values()):,} with somebody stranded"
