"""The arithmetic of a pass, who is a candidate, and what is done about failing schedulers."""

import pytest

from host.dispatch.dispatcher import LOOK_AGAIN, SECOND_LOOK_SECONDS, Dispatcher, DispatchPolicy
from host.interfaces import Listener
from host.ipc.scoreboard import (
    ACCEPTED,
    ACCEPTED_ALL,
    ACTIVE,
    CLAIMED,
    CLAIMED_ALL,
    REFUSING,
    SENT,
    SETTLED,
    SUSPENDED,
    SUSPENSIONS,
    TURN_LASTED,
    TURN_STARTED,
)
from host.plugins.schedulers.round_robin import RoundRobin
from host.telemetry.events import WORKER_CAUGHT_UP, WORKER_SUSPENDED
from support.fakes import Told, blank_cells, rows_of, worker_id

PATIENCE = 0.05
FIRST = Listener(0, "tcp://127.0.0.1:7000", "echo")
SECOND = Listener(1, "tcp://127.0.0.1:7001", "echo")


class Scene:
    """A dispatcher, its scoreboard, and queues whose lengths the test sets."""

    def __init__(self, workers=2, listeners=(FIRST,), schedulers=None, limit=100, active=()):
        self.cells = blank_cells(workers, len(listeners))
        self.rows = rows_of(self.cells, workers, len(listeners))
        self.lengths = [0 for _ in listeners]
        self.told, self.reports = Told(), []
        self.clock = 0.0
        if schedulers is None:
            schedulers = [("round_robin", RoundRobin().choose_worker)]
        self.dispatcher = Dispatcher(
            self.cells,
            [(each, lambda index=each.index: self.lengths[index]) for each in listeners],
            schedulers,
            DispatchPolicy(limit, PATIENCE),
            report=lambda *failure: self.reports.append(failure),
            telemetry=self.told.telemetry,
            clock=lambda: self.clock,
        )
        for slot, count in enumerate(active):
            self.hold(slot, count)
        for row in self.rows:
            self.dispatcher.ready(row, worker_id(row.number, generation=3))

    def plan(self, length, listener=0, now=0.0):
        """Do a pass with so many connections waiting; return the counts by slot."""
        self.lengths[listener] = length
        return {each.slot: count for each, count in self.dispatcher.plan(listener, now)}

    def hold(self, slot, count):
        """Have connections from earlier on."""
        self.rows[slot].put(ACTIVE, count)

    def claim(self, slot, count=1, listener=0, settle=True):
        """Claim, and accept unless told otherwise."""
        row = self.rows[slot]
        row.put(ACTIVE, row.get(ACTIVE) + count)
        row.add(listener, CLAIMED, count)
        row.put(CLAIMED_ALL, row.get(CLAIMED_ALL) + count)
        if settle:
            row.add(listener, ACCEPTED, count)
            row.add(listener, SETTLED, count)


def test_a_slow_scheduler_is_not_the_fault_of_whom_it_has_chosen():
    def choose(listener, workers):
        scene.clock += 3 * PATIENCE
        return workers[0]

    scene = Scene(schedulers=[("slow", choose)])
    assert scene.plan(1) == {0: 1}
    assert not scene.dispatcher.check(scene.clock + PATIENCE / 2)
    assert scene.dispatcher.check(scene.clock + PATIENCE)


def test_as_many_notifications_are_sent_as_connections_wait():
    assert Scene().plan(5) == {0: 3, 1: 2}


def test_what_is_sent_and_not_claimed_counts():
    scene = Scene()
    assert scene.plan(2) == {0: 1, 1: 1}
    assert scene.plan(2) == {}
    assert scene.plan(5) == {0: 2, 1: 1}


def test_what_is_claimed_counts_no_more():
    scene = Scene()
    scene.plan(2)
    scene.claim(0)
    assert scene.plan(2) == {0: 1}


def test_listeners_are_counted_apart():
    scene = Scene(listeners=(FIRST, SECOND))
    assert scene.plan(2, 0) == {0: 1, 1: 1}
    assert scene.plan(3, 1) == {0: 1, 1: 2}
    scene.claim(1, 2, listener=1)
    assert scene.plan(2, 0) == {}


def test_what_was_sent_to_a_worker_that_is_gone_does_not_count():
    scene = Scene()
    scene.plan(4)
    scene.dispatcher.gone(1000)
    assert scene.plan(4) == {1: 2}


def test_a_worker_that_takes_over_a_slot_begins_with_nothing_outstanding():
    scene = Scene(workers=1)
    scene.plan(4)
    scene.claim(0, 1)
    scene.dispatcher.gone(1000)
    scene.rows[0].write_off()
    scene.dispatcher.ready(scene.rows[0], worker_id(0, pid=1001, generation=3))
    assert scene.plan(3) == {0: 3}


def test_without_workers_connections_wait():
    scene = Scene(workers=1)
    scene.dispatcher.gone(1000)
    assert scene.plan(1) == {}
    assert scene.dispatcher.starved
    assert scene.dispatcher.waiting == {0}


def test_only_who_has_room_is_asked_to_accept():
    scene = Scene(limit=2, active=(1, 0))
    assert scene.plan(9) == {0: 1, 1: 2}
    assert scene.dispatcher.starved
    scene.hold(0, 0)
    assert scene.plan(9) == {0: 1}


def test_who_is_full_is_looked_at_again_in_the_next_pass():
    scene = Scene(limit=3, active=(3, 3))
    assert scene.plan(2) == {}
    scene.hold(1, 1)
    assert scene.plan(4) == {1: 2}
    assert scene.dispatcher.starved
    scene.hold(0, 1)
    assert scene.plan(4) == {0: 2}
    assert not scene.dispatcher.starved


def test_what_is_sent_to_a_worker_by_any_listener_takes_room():
    scene = Scene(workers=1, listeners=(FIRST, SECOND), limit=5)
    assert scene.plan(3, 0) == {0: 3}
    scene.claim(0, 3, listener=0)
    assert scene.plan(3, 1) == {0: 2}
    scene.hold(0, 2)  # one has gone, and the two that were sent are still to come
    assert scene.plan(3, 1) == {0: 1}


def test_room_that_connections_have_left_is_found_when_it_is_needed():
    scene = Scene(workers=1, limit=3)
    for _ in range(9):
        assert scene.plan(2) == {0: 2}
        scene.claim(0, 2)
        assert scene.plan(0) == {}
        scene.hold(0, 1)
        scene.hold(0, 0)


def test_the_mark_goes_when_nobody_waits_any_more():
    scene = Scene(limit=1)
    scene.plan(3)
    assert scene.dispatcher.starved
    scene.claim(0)
    scene.claim(1)
    assert scene.plan(0) == {}
    assert not scene.dispatcher.starved


def test_one_listener_may_starve_while_another_does_not():
    scene = Scene(workers=1, listeners=(FIRST, SECOND), limit=1)
    assert scene.plan(2, 0) == {0: 1}
    assert scene.plan(0, 1) == {}
    assert scene.dispatcher.starved


def test_who_holds_back_is_asked_nothing():
    scene = Scene()
    scene.rows[0].put(REFUSING, 1)
    assert scene.plan(2) == {1: 2}
    scene.rows[1].put(REFUSING, 1)
    assert scene.plan(3) == {}
    assert scene.dispatcher.starved
    scene.rows[0].put(REFUSING, 0)
    assert scene.plan(3) == {0: 1}
    assert scene.reports == []


def test_what_another_process_has_sent_is_counted():
    scene = Scene(limit=3)
    assert scene.plan(2) == {0: 1, 1: 1}
    scene.rows[0].add(0, SENT, 1)
    scene.rows[1].add(0, SENT, 2)
    scene.claim(1, 2)
    scene.dispatcher.recount()
    assert scene.plan(5) == {0: 1}
    assert scene.dispatcher.starved


def test_what_a_broken_pass_has_counted_and_not_sent_is_missed_in_time():
    scene = Scene()
    scene.rows[0].add(0, SENT, 1)
    scene.dispatcher.recount()
    assert scene.plan(1) == {}  # it waits for worker 0
    scene.dispatcher.check(0.0)
    assert scene.dispatcher.check(PATIENCE)
    assert scene.plan(1) == {1: 1}


def test_who_is_held_is_asked_nothing_until_it_is_freed():
    scene = Scene()
    assert scene.dispatcher.hold(1000, True)
    assert scene.plan(2) == {1: 2}
    assert scene.dispatcher.hold(1000, False)
    assert scene.plan(4) == {0: 1, 1: 1}
    assert not scene.dispatcher.hold(4711, True)


def test_a_claim_made_while_the_load_is_read_is_not_missed():
    class Busy:
        """Cells in which worker 0 claims between the two reads that its load takes."""

        reads = None

        def __init__(self, cells):
            self.cells = cells

        def __getitem__(self, index):
            if index in (ACTIVE, CLAIMED_ALL) and self.reads is not None:
                self.reads += 1
                if self.reads == 2:
                    scene.claim(0)
            return self.cells[index]

        def __setitem__(self, index, value):
            self.cells[index] = value

    scene = Scene(workers=1, limit=1)
    busy = Busy(scene.cells)
    scene.dispatcher.ready(rows_of(busy, 1, 1)[0], worker_id(0, generation=3))
    assert scene.plan(1) == {0: 1}
    busy.reads = 0
    assert scene.plan(2) == {}
    assert busy.reads == 2


def test_an_accept_under_way_is_waited_for():
    scene = Scene()
    scene.plan(1)
    scene.claim(0, settle=False)
    assert scene.plan(1) == {}
    assert scene.dispatcher.next_check(7.0) == 7.0 + SECOND_LOOK_SECONDS
    scene.rows[0].add(0, SETTLED)
    assert scene.plan(1) == {1: 1}
    assert scene.dispatcher.next_check(7.0) != 7.0 + SECOND_LOOK_SECONDS


def test_what_is_needed_in_any_case_is_not_delayed_by_a_doubt():
    scene = Scene()
    scene.plan(1)
    scene.claim(0, settle=False)
    assert scene.plan(3) == {1: 1, 0: 1}


def test_a_doubt_ends_after_the_time_of_a_missed_claim():
    scene = Scene()
    scene.plan(1)
    scene.claim(0, settle=False)
    assert scene.plan(1, now=1.0) == {}
    assert scene.plan(1, now=1.0 + PATIENCE / 2) == {}
    assert scene.plan(1, now=1.0 + PATIENCE) == {1: 1}


def test_a_doubt_is_forgotten_when_nothing_is_needed():
    scene = Scene()
    scene.plan(1)
    scene.claim(0, settle=False)
    scene.plan(1, now=1.0)
    scene.plan(0, now=2.0)
    assert scene.plan(1, now=3.0) == {}


def test_who_misses_a_claim_is_suspended_and_others_take_over():
    scene = Scene()
    assert scene.plan(2, now=1.0) == {0: 1, 1: 1}
    scene.claim(1)
    assert scene.dispatcher.next_check(1.0) == 1.0 + PATIENCE * LOOK_AGAIN
    assert not scene.dispatcher.check(1.0 + PATIENCE / 2)
    almost = 1.0 + PATIENCE * 0.9
    assert scene.dispatcher.next_check(almost) == 1.0 + PATIENCE
    assert scene.dispatcher.check(1.0 + PATIENCE)
    assert scene.told.of(WORKER_SUSPENDED) == [
        {"slot": 0, "pid": 1000, "outstanding": 1, "cause": "has claimed nothing for 50 ms"}
    ]
    assert scene.rows[0].get(SUSPENDED) == 1
    assert scene.plan(1, now=1.0 + PATIENCE) == {1: 1}


def test_who_has_caught_up_is_resumed():
    scene = Scene()
    scene.plan(2, now=1.0)
    scene.claim(1)
    scene.dispatcher.check(2.0)
    assert not scene.dispatcher.check(2.0)
    assert scene.told.of(WORKER_CAUGHT_UP) == []
    assert scene.dispatcher.next_check(2.0) == 2.0 + PATIENCE
    assert scene.rows[0].get(SUSPENDED) == 1
    scene.claim(0)
    assert scene.dispatcher.check(3.0)
    assert (scene.rows[0].get(SUSPENDED), scene.rows[0].get(SUSPENSIONS)) == (0, 1)
    assert scene.told.of(WORKER_CAUGHT_UP) == [{"slot": 0, "pid": 1000}]
    assert scene.plan(2, now=3.0) == {0: 1, 1: 1}


def test_who_goes_on_claiming_is_busy_and_not_hung():
    scene = Scene(workers=1)
    scene.plan(9, now=1.0)
    for step in range(1, 9):
        scene.claim(0)
        assert not scene.dispatcher.check(1.0 + step * PATIENCE)
    assert not scene.dispatcher.check(1.0 + 8.9 * PATIENCE)
    assert scene.dispatcher.check(1.0 + 9 * PATIENCE)
    assert [told["outstanding"] for told in scene.told.of(WORKER_SUSPENDED)] == [1]


def test_the_time_to_claim_begins_when_the_first_notification_is_sent():
    scene = Scene(workers=1)
    scene.plan(1, now=1.0)
    scene.claim(0)
    scene.plan(1, now=9.0)
    assert not scene.dispatcher.check(9.0 + PATIENCE * 0.9)
    assert scene.dispatcher.check(9.0 + PATIENCE)


def test_what_a_full_pipe_did_not_take_is_taken_back():
    scene = Scene()
    scene.lengths[0] = 4
    for worker, count in scene.dispatcher.plan(0, 1.0):
        if worker.slot == 0:
            scene.dispatcher.unsent(worker, 0, count)
    assert scene.rows[0].count(0, SENT) == 0
    [told] = scene.told.of(WORKER_SUSPENDED)
    assert (told["slot"], told["outstanding"]) == (0, 2)
    assert "its pipe is full" in told["cause"]  # and not that it had time to claim
    assert scene.plan(4, now=1.0) == {1: 2}
    scene.dispatcher.check(1.0)
    assert [told["slot"] for told in scene.told.of(WORKER_CAUGHT_UP)] == [0]


def test_with_everybody_suspended_connections_wait_for_the_first_to_catch_up():
    scene = Scene()
    scene.plan(2, now=1.0)
    scene.dispatcher.check(2.0)
    assert scene.plan(2, now=2.0) == {}
    scene.claim(1)
    scene.lengths[0] = 1
    assert scene.dispatcher.check(2.1)
    assert scene.plan(1, now=2.1) == {1: 1}


def test_the_timer_runs_as_long_as_a_queue_was_not_seen_empty():
    scene = Scene(workers=1)
    assert scene.dispatcher.next_check(1.0) is None
    scene.plan(1, now=1.0)
    scene.claim(0)
    scene.dispatcher.check(2.0)
    assert scene.dispatcher.next_check(2.0) == 2.0 + PATIENCE
    scene.plan(0, now=2.0)
    assert scene.dispatcher.next_check(2.0) is None


def test_a_check_that_is_planned_for_soon_is_in_time():
    scene = Scene()
    scene.plan(1, now=1.0)
    look = PATIENCE * LOOK_AGAIN
    assert scene.dispatcher.next_check(1.0, 1.0 + look) is None
    assert scene.dispatcher.next_check(1.0, 1.0 + PATIENCE) == 1.0 + look
    scene.claim(0, settle=False)
    scene.plan(1, now=1.0)
    assert scene.dispatcher.next_check(1.0, 1.0 + look) == 1.0 + SECOND_LOOK_SECONDS


def test_quiet_is_when_nobody_waits_and_everything_sent_is_settled():
    scene = Scene()
    assert scene.dispatcher.quiet([0])
    scene.plan(1)
    assert not scene.dispatcher.quiet([0])
    scene.plan(0)
    assert not scene.dispatcher.quiet([0])
    scene.claim(0, settle=False)
    assert not scene.dispatcher.quiet([0])
    scene.rows[0].add(0, SETTLED)
    assert scene.dispatcher.quiet([0])


def choose(slot):
    return lambda listener, workers: next(each for each in workers if each.slot == slot)


def fails(listener, workers):
    raise SystemExit(3)


def test_the_first_scheduler_that_answers_decides():
    silent = ("silent", lambda listener, workers: None)
    scene = Scene(schedulers=[silent, ("last", choose(1)), ("never", fails)])
    assert scene.plan(3) == {1: 3}
    assert scene.reports == []


def test_a_scheduler_that_fails_is_named_and_the_next_one_is_asked():
    scene = Scene(schedulers=[("odd", fails), ("last", choose(1))])
    assert scene.plan(1) == {1: 1}
    [(plugin, hook, error, args)] = scene.reports
    assert (plugin, hook, args) == ("odd", "choose_worker", (FIRST,))
    assert isinstance(error, SystemExit)


@pytest.mark.parametrize("answer", ["worker 7", 0, object()])
def test_an_answer_that_is_no_worker_counts_as_a_failure(answer):
    scene = Scene(schedulers=[("odd", lambda listener, workers: answer), ("last", choose(1))])
    assert scene.plan(1) == {1: 1}
    [(plugin, _, error, _)] = scene.reports
    assert plugin == "odd"
    assert repr(answer)[:50] in str(error)


def test_an_answer_that_cannot_be_shown_counts_as_a_failure():
    class Answer:
        def __repr__(self):
            raise SystemExit(3)

    scene = Scene(schedulers=[("odd", lambda listener, workers: Answer()), ("last", choose(1))])
    assert scene.plan(1) == {1: 1}
    [(_, _, error, _)] = scene.reports
    assert str(error) == "choose_worker answered a Answer, which is none of the candidates"


def test_a_worker_that_is_no_candidate_any_more_is_no_answer():
    kept = []

    def keeps(listener, workers):
        kept.extend(workers)
        return kept[0]

    scene = Scene(schedulers=[("keeps", keeps)], limit=1)
    assert scene.plan(2) == {0: 1, 1: 1}
    assert [str(error) for _, _, error, _ in scene.reports] == [
        "choose_worker answered <worker 0 (pid 1000)>, which is none of the candidates"
    ]


@pytest.mark.parametrize("how", ["gone", "suspended", "held"])
def test_a_worker_that_a_scheduler_has_kept_is_no_answer(how):
    kept = []

    def keeps(listener, workers):
        kept.extend(workers)
        return kept[0]

    scene = Scene(schedulers=[("keeps", keeps)])
    assert scene.plan(1, now=1.0) == {0: 1}
    if how == "gone":
        scene.dispatcher.gone(1000)
    elif how == "held":
        scene.dispatcher.hold(1000, True)
    else:
        scene.dispatcher.check(2.0)
    assert scene.plan(2, now=2.0)[1] >= 1
    assert {str(error) for _, _, error, _ in scene.reports} == {
        "choose_worker answered <worker 0 (pid 1000)>, which is none of the candidates"
    }


def test_without_an_answer_workers_take_turns():
    assert Scene(workers=3, schedulers=[]).plan(6) == {0: 2, 1: 2, 2: 2}


def test_a_worker_is_no_candidate_beyond_its_limit_within_one_pass():
    scene = Scene(schedulers=[("greedy", lambda listener, workers: workers[0])], limit=3)
    assert scene.plan(4) == {0: 3, 1: 1}


def test_a_scheduler_sees_what_each_worker_has_and_gets():
    seen = []

    def watch(listener, workers):
        seen.append([(w.slot, w.pid, w.generation, w.active, w.outstanding) for w in workers])
        return workers[0]

    scene = Scene(schedulers=[("watch", watch)])
    scene.hold(1, 4)
    scene.plan(2)
    assert seen == [[(0, 1000, 3, 0, outstanding), (1, 1001, 3, 4, 0)] for outstanding in (0, 1)]


def test_a_view_tells_how_long_a_turn_takes_and_how_many_were_accepted():
    found = []

    def keep(listener, workers):
        found.extend(workers)
        return workers[0]

    scene = Scene(workers=1, schedulers=[("keep", keep)])
    scene.plan(1)
    row, view = scene.rows[0], found[0]
    row.put(ACCEPTED_ALL, 12)
    row.put(TURN_LASTED, 250_000_000)
    assert (view.accepted, view.loop_lag_seconds) == (12, 0.25)
    row.put(TURN_STARTED, 2_000_000_000)
    scene.clock = 5.0
    assert view.loop_lag_seconds == 3.0
    scene.clock = 1.5
    assert view.loop_lag_seconds == 0.0
