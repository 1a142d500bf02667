"""The table of what all workers have measured."""

import pytest

from host.profiling.recorder import ANYONE, CALLBACKS
from host.profiling.report import summarize


def record(slot, **more):
    return {
        "slot": slot,
        "pid": 70 + slot,
        "seconds": 10.0,
        "busy": 2.0,
        "waiting": 6.0,
        "waits": 5,
        "events": 8,
        "turns": [0, 0, 3, 1],
        "longest_turn": 0.0075,
        "accepted": 6,
        "user": 1.0,
        "system": 0.5,
        "voluntary_switches": 11,
        "involuntary_switches": 12,
        "hooks": [
            {"plugin": "echo", "hook": "on_readable", "calls": 4, "seconds": 0.5, "longest": 0.25}
        ],
        **more,
    }


class TestSummary:
    @pytest.fixture
    def tables(self):
        other = [
            {"plugin": "echo", "hook": "on_readable", "calls": 6, "seconds": 1.5, "longest": 0.5},
            {"plugin": "a", "hook": "on_worker_start", "calls": 1, "seconds": 9, "longest": 9},
            {"plugin": ANYONE, "hook": CALLBACKS, "calls": 1, "seconds": 1, "longest": 1},
        ]
        records = [record(0), record(1, hooks=other, turns=[0, 0, 1, 0, 3])]
        return summarize(records, 0, "/d").split("\n\n")

    def test_hooks_of_all_workers(self, tables):
        assert tables[0] == "profile of 2 workers, in /d"
        assert tables[1].splitlines() == [
            "PLUGIN      HOOK             CALLS  SECONDS    MEAN us  LONGEST ms  BUSY %",
            "a           on_worker_start      1    9.000  9000000.0    9000.000       -",
            "echo        on_readable         10    2.000   200000.0     500.000    50.0",
            "(any)       callbacks            1    1.000  1000000.0    1000.000    25.0",
            "(the host)  all else             -    1.000          -           -    25.0",
        ]

    def test_turns_by_length(self, tables):
        assert tables[2].splitlines() == [
            "TURNS BELOW  COUNT     %",
            f"       4 us      4  50.0  {'#' * 40}",
            f"       8 us      1  12.5  {'#' * 10}",
            f"      16 us      3  37.5  {'#' * 30}",
        ]

    def test_a_line_for_each_worker(self, tables):
        heading, first, second = tables[3].splitlines()
        assert " ".join(heading.split()) == (
            "SLOT PID SECONDS BUSY % TURNS EVENTS EVENTS/TURN LONGEST ms WAITS ACCEPTED "
            "USER s SYSTEM s SWITCHED PREEMPTED"
        )
        assert " ".join(first.split()) == "0 70 10.0 25.0 4 8 2.00 7.500 5 6 1.00 0.50 11 12"
        assert second.split()[:2] == ["1", "71"]
        assert len(heading) == len(first) == len(second)

    def test_who_is_missing(self):
        text = summarize([record(0)], 3, "/d")
        assert text.startswith("profile of 1 worker, in /d; missing, since they have died: 3\n\n")

    def test_nobody_has_left_anything(self):
        text = summarize([], 2, "/d")
        assert text == "profile of 0 workers, in /d; missing, since they have died: 2\n"

    def test_a_worker_that_did_nothing(self):
        idle = record(0, busy=0.0, waiting=0.0, turns=[], events=0, hooks=[])
        assert "(the host)  all else      -    0.000" in summarize([idle], 0, "/d")

    @pytest.mark.parametrize(
        ("bucket", "text"), [(0, "1 us"), (9, "512 us"), (10, "1.024 ms"), (22, "4.194 s")]
    )
    def test_limits_are_in_their_largest_unit(self, bucket, text):
        shown = summarize([record(0, turns=[*[0] * bucket, 1])], 0, "/d").split("\n\n")[2]
        assert shown.splitlines()[1:] == [f"{text:>11}      1  100.0  {'#' * 40}"]
