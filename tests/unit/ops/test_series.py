"""What is shown of series whose metric a reload has changed while the old generation is alive."""

from __future__ import annotations

import os
from contextlib import ExitStack, closing

import pytest

from host.ipc import scoreboard as board
from host.ipc.assignment import CountedGeneration, OpsAssignment
from host.ipc.host_counts import HostCounts
from host.ipc.scoreboard import Scoreboard
from host.ipc.series import Family, OwnSeries
from host.ipc.series_totals import SeriesTotals
from host.ipc.totals import Totals
from host.ops.series import read

GAUGE = Family("prefork_chat_open", "gauge", "Open.", (), (), ((),))


@pytest.fixture
def shown():
    """Return what is shown of generations, the oldest first, that have a family each."""
    with ExitStack() as stack:

        def shown(*families):
            generations = []
            for number, family in enumerate(families):
                own, rows = OwnSeries(), Scoreboard(1)
                stack.callback(rows.close)
                own.add(family)
                series = own.share()
                stack.callback(series.close)
                row = rows.use(0, number)
                row.put(board.PID, os.getpid())
                own.use(row.number + 1)
                own.words[own.base] = number + 1
                generations.append(CountedGeneration(number, (), rows, (series,)))
            counts = stack.enter_context(closing(HostCounts()))
            host = OpsAssignment(
                *(1, "service", "1", 0.0, (), tuple(generations)),
                *(Totals(), SeriesTotals(), counts, None, -1, len),
            )
            return [(metric, samples) for metric, samples in read(host) if samples]

        yield shown


def test_a_gauge_has_one_help_that_of_the_newest_generation(shown):
    ((metric, samples),) = shown(GAUGE, GAUGE._replace(help="Rooms that are open."))
    assert metric.help == "Rooms that are open."
    assert [each.value for each in samples] == [1, 2]


@pytest.mark.parametrize("value", [0, 5])
def test_a_gauge_of_a_scheduler_that_was_swapped_in_stands_for_the_one_before(value):
    boards = []
    with ExitStack() as stack:
        for rows, set_to in [(board.MAX_ROWS + 1, 3), (1, value)]:
            own = OwnSeries()
            own.add(GAUGE)
            boards.append(stack.enter_context(closing(own.share(rows))))
            own.words[own.base] = set_to
        scoreboard = stack.enter_context(closing(Scoreboard(1)))
        counts = stack.enter_context(closing(HostCounts()))
        generation = CountedGeneration(0, (), scoreboard, tuple(boards))
        host = OpsAssignment(
            *(1, "service", "1", 0.0, (), (generation,)),
            *(Totals(), SeriesTotals(), counts, None, -1, len),
        )
        found = [sample.value for _metric, samples in read(host) for sample in samples]
    assert found == ([value] if value else [])


@pytest.mark.parametrize(
    "changed",
    [
        GAUGE._replace(labels=("kind",), series=(("ok",),)),
        GAUGE._replace(kind="histogram", bounds=(1.0,)),
        GAUGE._replace(name=f"{GAUGE.name}_total", kind="counter"),
    ],
)
@pytest.mark.parametrize("is_back", [False, True])
def test_a_name_has_one_kind_and_one_set_of_labels(shown, changed, is_back):
    families = (changed, GAUGE) if is_back else (GAUGE, changed)
    ((metric, _samples),) = shown(*families)
    assert metric.kind == families[-1].kind
    assert metric.labels[: len(families[-1].labels)] == families[-1].labels
