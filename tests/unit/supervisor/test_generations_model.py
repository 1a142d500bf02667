"""Whatever happens to workers and reloads, generations are open as long as they are needed."""

from contextlib import ExitStack

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from host.ipc.scoreboard import ACCEPTED_ALL
from host.supervisor.generation import Generation
from host.supervisor.generations import Generations
from support.generations import Scene, is_closed, same_descriptors
from support.supervision import again, listening


class GenerationsMachine(RuleBasedStateMachine):
    """A reload after the other: workers come and go, generations fail, switch, and drain."""

    @initialize(older=st.lists(st.integers(1, 2), max_size=2), comes=st.booleans())
    def start(self, older, comes):
        """Begin as after an exec; `older` is how many workers each older generation has."""
        self.stack = ExitStack()
        self.stack.enter_context(same_descriptors())
        self.scene = scene = Scene()
        self.rows: list[tuple[Generation, object]] = []
        self.accepted: dict[int, int] = {}
        made = [scene.generation(number, ()) for number in range(len(older))]
        for generation, workers in zip(made, older, strict=True):
            self.rows += [(generation, generation.take_row(slot)) for slot in range(workers)]
        sockets = listening()
        serving = scene.generation(len(older), sockets)
        serving.handing_out.runner.start()
        coming = scene.generation(len(older) + 1, again(sockets)) if comes else None
        self.known = [*made, serving, *([coming] if coming else [])]
        self.generations = scene.generations = Generations(
            scene.loop, scene.told.telemetry, serving, coming=coming, older=made
        )

    @rule(slot=st.integers(0, 2))
    def worker_starts(self, slot):
        generation = self.generations.current
        self.rows.append((generation, generation.take_row(slot)))

    @precondition(lambda self: self.rows)
    @rule(data=st.data(), slot=st.integers(0, 2), served=st.integers(0, 3))
    def worker_ends(self, data, slot, served):
        generation, row = self.rows.pop(data.draw(st.integers(0, len(self.rows) - 1)))
        row.put(ACCEPTED_ALL, served)
        generation.give_back(row)
        self.generations.worker_gone(slot, 1000, served, generation)
        self.accepted[slot] = self.accepted.get(slot, 0) + served

    @precondition(lambda self: self.generations.coming)
    @rule()
    def all_are_ready(self):
        before, stopping = self.generations.coming, self.generations.stopping
        self.scene.switch()
        assert (self.generations.serving is before) is not stopping

    @rule()
    def is_stopped(self):
        self.generations.stop_listening()

    @rule()
    def newest_fails(self):
        self.generations.note_failure("killed")
        assert self.generations.outcome.generation == self.generations.current.number

    @rule()
    def reload_is_refused(self):
        self.generations.note_refusal("no such file")
        assert self.generations.outcome.generation == self.generations.next_number

    @invariant()
    def a_generation_is_open_as_long_as_it_is_needed(self):
        needed = [
            each
            for each in self.known
            if each in self.generations.with_listeners or any(each is one for one, _ in self.rows)
        ]
        assert self.generations.all == needed
        assert [is_closed(each) for each in self.known] == [
            each not in needed for each in self.known
        ]

    @invariant()
    def the_newest_is_the_current_one(self):
        assert self.generations.current is self.known[-1]
        assert self.generations.next_number == self.known[-1].number + 1

    @invariant()
    def one_generation_is_handed_connections(self):
        serving = self.generations.serving
        assert self.generations.handing_out is serving.handing_out
        assert serving.sockets[0].fileno() in self.scene.loop.watched

    @invariant()
    def what_was_accepted_is_counted_on(self):
        assert self.generations.accepted == self.accepted

    def teardown(self):
        if hasattr(self, "generations"):
            self.generations.close()
            self.stack.close()


TestGenerations = GenerationsMachine.TestCase
TestGenerations.settings = settings(max_examples=40, stateful_step_count=20)
