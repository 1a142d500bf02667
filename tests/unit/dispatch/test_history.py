"""Who was chosen, out of which candidates, is found by what the worker claimed; not for ever."""

from hypothesis import given
from hypothesis import strategies as st

from host.dispatch.candidate import Candidate
from host.dispatch.history import MAX_SHOWN, ChoiceHistory
from host.ipc.scoreboard import ACTIVE
from support.fakes import blank_cells, rows_of, worker_id


def candidates(*loads):
    """Workers with so many open connections and outstanding notifications each."""
    rows = rows_of(blank_cells(len(loads), 1), len(loads), 1)
    found = []
    for row, (active, outstanding) in zip(rows, loads, strict=True):
        row.put(ACTIVE, active)
        found.append(Candidate(row, worker_id(row.number)))
        found[-1].sent += outstanding
    return found


def decide(choices, workers, *slots, listener=0, first=1, now=5.0):
    """Choose these slots one after the other in one pass; the numbers go on for each worker."""
    look = choices.look(workers, listener, "some scheduler", now)
    for slot in slots:
        look.chosen.append(workers[slot])
    for worker in dict.fromkeys(look.chosen):
        count = look.chosen.count(worker)
        look.sent.append((worker.pid, count, first - 1 + count))
    choices.remember(look)
    return look


def test_a_choice_is_found_by_worker_listener_and_number():
    choices, workers = ChoiceHistory(), candidates((1, 0), (2, 0))
    decide(choices, workers, 0, listener=0)
    decide(choices, workers, 1, 1, listener=3, first=8)
    found = choices.find(1001, 3, 9)
    assert (found.slot, found.scheduler, found.number) == (1, "some scheduler", 1)
    assert found.decision.time == 5.0
    assert choices.find(1000, 0, 1).slot == 0
    for other in ((1000, 3, 9), (1001, 0, 9), (1001, 3, 7), (1001, 3, 10), (7, 0, 1)):
        assert choices.find(*other) is None


def test_another_schedulers_choice_has_its_name():
    choices, workers = ChoiceHistory(), candidates((1, 0), (2, 0))
    decide(choices, workers, 0, 1, 0).others[2] = "another scheduler"
    found = [choices.find(pid, 0, number) for pid, number in ((1000, 1), (1001, 1), (1000, 2))]
    names = [choice.scheduler for choice in found]
    assert names == ["some scheduler", "some scheduler", "another scheduler"]


def test_the_last_pass_is_remembered_whole_however_many_choices_it_had():
    choices, workers = ChoiceHistory(limit=3), candidates((0, 0), (0, 0))
    decide(choices, workers, 0, 1, 0, 1, 0)
    assert [number for number in range(1, 5) if choices.find(1000, 0, number)] == [1, 2, 3]
    decide(choices, workers, 1, first=3)
    assert choices.find(1000, 0, 3) is None
    assert choices.find(1001, 0, 3).slot == 1


def test_candidates_are_shown_as_they_were_when_they_were_chosen_from():
    choices, workers = ChoiceHistory(), candidates((3, 0), (5, 2))
    decide(choices, workers, 0, 1, 0)
    workers[0].sent += 40
    workers[1]._row.put(ACTIVE, 9)
    assert choices.find(1000, 0, 1).candidates == [(0, 3, 0), (1, 5, 2)]
    assert choices.find(1001, 0, 1).candidates == [(0, 3, 1), (1, 5, 2)]
    assert choices.find(1000, 0, 2).candidates == [(0, 3, 1), (1, 5, 3)]


def test_each_pass_has_the_candidates_of_its_own():
    choices, workers = ChoiceHistory(), candidates((1, 0), (2, 0), (3, 0))
    decide(choices, workers, 0)
    decide(choices, workers[1:], 1)
    decide(choices, workers[2:], 0)
    assert choices.find(1000, 0, 1).candidates == [(0, 1, 0), (1, 2, 0), (2, 3, 0)]
    assert choices.find(1002, 0, 1).candidates == [(2, 3, 0)]


def test_what_was_chosen_in_another_pass_counts_for_nothing():
    choices, workers = ChoiceHistory(), candidates((0, 0), (0, 0))
    decide(choices, workers, 0, 0)
    decide(choices, workers, 1)
    assert choices.find(1001, 0, 1).candidates == [(0, 0, 0), (1, 0, 0)]


def test_of_many_candidates_the_first_are_shown_and_the_others_counted():
    workers = candidates(*[(number, 0) for number in range(MAX_SHOWN + 3)])
    choices = ChoiceHistory()
    decide(choices, workers, MAX_SHOWN + 2, 0)
    decision = choices.find(1000, 0, 1).decision
    assert [slot for slot, _, _ in decision.candidates] == list(range(MAX_SHOWN))
    assert decision.omitted == 3
    last = 1000 + MAX_SHOWN + 2
    assert choices.find(last, 0, 1).slot == MAX_SHOWN + 2  # chosen, though not shown
    assert choices.find(1000, 0, 1).candidates[0] == (0, 0, 0)
    decide(choices, workers[:MAX_SHOWN], 0, first=2)
    assert choices.find(1000, 0, 2).decision.omitted == 0


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1)), max_size=30))
def test_only_the_last_ones_are_remembered(steps):
    choices, workers, numbers, made = ChoiceHistory(limit=4), candidates(*[(0, 0)] * 3), {}, []
    for slot, listener in steps:
        number = numbers[slot, listener] = numbers.get((slot, listener), 0) + 1
        decide(choices, workers, slot, listener=listener, first=number)
        made.append((1000 + slot, listener, number))
    found = [each for each in made if choices.find(*each) is not None]
    assert found == made[-4:]


def test_a_notification_that_was_not_sent_is_replaced_by_the_next_with_its_number():
    choices, workers = ChoiceHistory(limit=2), candidates((0, 0))
    for time in (1.0, 2.0, 3.0):
        decide(choices, workers, 0, now=time)
    decide(choices, workers, 0, first=2, now=4.0)
    assert choices.find(1000, 0, 1).decision.time == 3.0
    assert choices.find(1000, 0, 2).decision.time == 4.0


def test_a_worker_that_has_ended_is_forgotten_and_nobody_else():
    choices, workers = ChoiceHistory(limit=3), candidates((0, 0), (0, 0))
    decide(choices, workers, 0, 1)
    choices.forget(1000)
    choices.forget(4711)
    assert choices.find(1000, 0, 1) is None
    assert choices.find(1001, 0, 1).slot == 1
    decide(choices, workers, 1, 1, 1, first=2)  # what is forgotten may still be due to go
    found = [number for number in range(1, 5) if choices.find(1001, 0, number)]
    assert found == [2, 3, 4]
