"""Generations on a loop whose time is set by the test; listeners and scoreboards are real."""

from __future__ import annotations

import os
from contextlib import contextmanager

from host.dispatch.dispatcher import DispatchPolicy
from host.supervisor.generations import DispatchSetup, Generation, Generations
from support.fakes import FakeLoop, Told
from support.supervision import again, listening


def is_closed(generation):
    """Tell whether a generation's scoreboard is closed."""
    try:
        generation.scoreboard.cells[0]
    except ValueError:  # a memoryview that was released
        return True
    return False


@contextmanager
def same_descriptors():
    before = sorted(os.listdir("/proc/self/fd"))
    yield
    assert sorted(os.listdir("/proc/self/fd")) == before


class Scene:
    """Generations on a loop; `sent` are the notifications, `switched` counts switches."""

    def __init__(self):
        self.loop, self.told = FakeLoop(100.0), Told()
        self.sent, self.switched = [], 0
        self.setup = DispatchSetup(
            self.loop,
            self.told.telemetry,
            [("first", lambda _listener, workers: workers[0])],
            DispatchPolicy(max_connections=10, missed_claim_seconds=1.0),
            lambda pid, data: self.sent.append((pid, data)) or True,
            lambda *_failure: None,
        )
        self.generations = None

    def generation(self, number, sockets, workers=0):
        """Make a generation that can hand out, with so many rows in use."""
        made = Generation(number, [each.view for each in sockets], sockets)
        self.setup.prepare(made)
        for _ in range(workers):
            made.take_row()
        return made

    def serve(self, listeners=1, workers=0):
        """Have generation 0 serve alone."""
        serving = self.generation(0, listening(listeners), workers)
        serving.handing_out.runner.start()
        self.generations = Generations(self.loop, self.told.telemetry, serving)
        return serving

    def reload(self, kept=1, lost=0, workers=0):
        """Have generation 0 serve, and 1 come, which has `kept` of its listeners."""
        sockets = listening(kept + lost)
        serving = self.generation(0, sockets, workers)
        serving.handing_out.runner.start()
        coming = self.generation(1, again(sockets[:kept]))
        coming.began = 99.0
        self.generations = Generations(self.loop, self.told.telemetry, serving, coming=coming)
        return serving, coming

    def switch(self):
        self.generations.switch(self._count)

    def _count(self):
        self.switched += 1

    @property
    def numbers(self):
        """Which generations there are: those that drain, the one that serves, the one coming."""
        found = self.generations
        coming = found.coming and found.coming.number
        return [each.number for each in found.older], found.serving.number, coming
