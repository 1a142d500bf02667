"""Every question ends once: when all have answered, or at the deadline, whatever workers say."""

import json

import pytest

from host.ipc.protocol import ANSWER_SECONDS, LONGEST_ANSWER_SECONDS, Ask, OrderParser
from host.supervisor.workers.queries import AT_A_TIME, WorkerQueries
from support.fakes import FakeLoop

BEGIN = 100.0


class Scene:
    """Questions, and workers who take what they are asked unless they are deaf."""

    def __init__(self, deaf=()):
        self.loop, self.deaf = FakeLoop(BEGIN), deaf
        self.asked, self.outcomes = [], []
        self.questions = WorkerQueries(self.loop, self.send)

    def send(self, pid, data):
        if pid in self.deaf:
            return False
        self.asked.append((pid, *OrderParser().feed(data)))
        return True

    def ask(self, *pids, question="connections", **args):
        """Ask; return the number of the question."""
        self.questions.ask(pids, question, args, lambda *outcome: self.outcomes.append(outcome))
        return self.asked[-1][1].number if self.asked else None

    def answer(self, pid, number, *items, **more):
        self.questions.take_answer(
            pid, {"number": number, "items": list(items), "last": True} | more
        )


def item(what):
    return {"id": what}


def test_all_are_asked_the_same():
    scene = Scene()
    number = scene.ask(1, 2, question="find", id="1-2")
    question = Ask(number, "find", {"id": "1-2"}, BEGIN + ANSWER_SECONDS)
    assert scene.asked == [(1, question), (2, question)]
    assert scene.outcomes == []


def test_it_is_over_when_all_have_answered():
    scene = Scene()
    number = scene.ask(1, 2)
    scene.answer(2, number, item("b"))
    assert scene.outcomes == []
    scene.answer(1, number)
    assert scene.outcomes == [({1: [], 2: [item("b")]}, [])]
    assert scene.loop.due == []
    scene.loop.advance(BEGIN + 100.0)
    assert len(scene.outcomes) == 1


def test_it_is_over_at_the_deadline_and_says_who_has_not_answered():
    scene = Scene()
    number = scene.ask(3, 1, 2)
    scene.answer(2, number, item("b"))
    scene.loop.advance(BEGIN + ANSWER_SECONDS - 0.01)
    assert scene.outcomes == []
    scene.loop.advance(BEGIN + ANSWER_SECONDS)
    assert scene.outcomes == [({2: [item("b")]}, [1, 3])]
    scene.answer(1, number, item("late"))
    assert scene.outcomes == [({2: [item("b")]}, [1, 3])]


def test_who_takes_nothing_is_not_waited_for():
    scene = Scene(deaf={1, 2})
    number = scene.ask(1, 3)
    scene.answer(3, number)
    assert scene.outcomes == [({3: []}, [1])]
    scene.ask(1, 2)
    assert scene.outcomes[1:] == [({}, [1, 2])]
    assert scene.loop.due == []


def test_nobody_to_ask_is_an_answer():
    scene = Scene()
    scene.ask()
    assert scene.outcomes == [({}, [])]


def test_who_dies_is_not_waited_for_and_ends_each_question_that_waits_for_nobody_else():
    scene = Scene()
    one, other = scene.ask(1), scene.ask(1, 2)
    scene.questions.forget_worker(4711)
    scene.questions.forget_worker(1)
    scene.questions.forget_worker(1)
    assert scene.outcomes == [({}, [])]
    scene.answer(1, other, item("from the dead"))
    scene.answer(2, other)
    assert scene.outcomes[1:] == [({2: []}, [])]
    assert one != other


def test_an_answer_may_come_in_parts():
    scene = Scene()
    number = scene.ask(1, 2)
    scene.answer(1, number, item("a"), last=False)
    scene.answer(2, number, item("x"))
    scene.answer(1, number, item("b"), last=False)
    assert scene.outcomes == []
    scene.answer(1, number, item("c"))
    assert scene.outcomes == [({1: [item("a"), item("b"), item("c")], 2: [item("x")]}, [])]


def test_of_an_answer_that_breaks_off_is_told_what_has_come():
    scene = Scene()
    number = scene.ask(1, 2)
    scene.answer(1, number, item("a"), last=False)
    scene.questions.forget_worker(1)
    scene.answer(2, number)
    assert scene.outcomes == [({1: [item("a")], 2: []}, [])]


def test_each_part_gives_its_worker_time_for_the_next():
    scene = Scene()
    number = scene.ask(1, 2)
    scene.loop.advance(BEGIN + 0.9)
    scene.answer(1, number, item("a"), last=False)
    scene.loop.advance(BEGIN + ANSWER_SECONDS)
    scene.answer(2, number, item("late"))
    scene.loop.advance(BEGIN + 1.8)
    scene.answer(1, number, item("b"), last=False)
    assert scene.outcomes == []
    scene.loop.advance(BEGIN + 1.8 + ANSWER_SECONDS)
    assert scene.outcomes == [({1: [item("a"), item("b")]}, [1, 2])]
    assert scene.loop.due == []


def test_an_answer_without_end_is_over_all_the_same():
    scene = Scene()
    number, moment = scene.ask(1), BEGIN
    while not scene.outcomes:
        scene.answer(1, number, item("again"), last=False)
        moment += 0.5
        scene.loop.advance(moment)
    assert moment == BEGIN + LONGEST_ANSWER_SECONDS
    assert scene.outcomes[0][1] == [1]


def test_of_many_workers_a_few_answer_at_a_time():
    scene, workers = Scene(), range(1, 3 * AT_A_TIME + 1)
    number = scene.ask(*workers)
    for answered in workers:
        assert len(scene.asked) == min(answered - 1 + AT_A_TIME, len(workers))
        scene.answer(answered, number, item(answered))
    assert scene.outcomes == [({pid: [item(pid)] for pid in workers}, [])]
    assert [pid for pid, _ in scene.asked] == list(workers)


def test_who_is_asked_later_has_as_much_time_until_all_have_none():
    scene, workers = Scene(), range(1, 10 * AT_A_TIME + 1)
    scene.ask(*workers)
    scene.loop.advance(BEGIN + ANSWER_SECONDS)
    assert scene.asked[-1][1].deadline == BEGIN + 2 * ANSWER_SECONDS
    scene.loop.advance(BEGIN + LONGEST_ANSWER_SECONDS)
    assert scene.outcomes == [({}, list(workers))]
    asked = int(LONGEST_ANSWER_SECONDS / ANSWER_SECONDS) * AT_A_TIME
    assert len(scene.asked) == asked


def test_who_dies_before_its_turn_is_not_asked():
    scene, workers = Scene(), range(1, AT_A_TIME + 2)
    number = scene.ask(*workers)
    scene.questions.forget_worker(AT_A_TIME + 1)
    for pid in range(1, AT_A_TIME + 1):
        scene.answer(pid, number)
    assert scene.outcomes == [({pid: [] for pid in range(1, AT_A_TIME + 1)}, [])]
    assert len(scene.asked) == AT_A_TIME


def test_an_answer_to_who_has_asked_before_a_reload_is_no_answer_to_who_asks_after_it():
    scene = Scene()
    before = scene.ask(1)
    scene.loop.now += 0.001
    after = WorkerQueries(scene.loop, scene.send)
    after.ask([1], "connections", {}, lambda *outcome: scene.outcomes.append(outcome))
    after.take_answer(1, {"number": before, "items": [item("late")], "last": True})
    assert scene.outcomes == []


def test_questions_are_told_apart():
    scene = Scene()
    one, other = scene.ask(1), scene.ask(1)
    scene.answer(1, other, item("second"))
    assert scene.outcomes == [({1: [item("second")]}, [])]
    scene.answer(1, one, item("first"))
    assert scene.outcomes[1:] == [({1: [item("first")]}, [])]


def test_who_was_not_asked_or_has_answered_is_not_listened_to():
    scene = Scene()
    number = scene.ask(1, 2)
    scene.answer(3, number, item("unasked"))
    scene.answer(1, number, item("once"))
    scene.answer(1, number, item("twice"))
    scene.answer(1, number + 1, item("no such question"))
    scene.answer(2, number)
    assert scene.outcomes == [({1: [item("once")], 2: []}, [])]


@pytest.mark.parametrize("number", [None, "1", [1], 1.5, -1], ids=json.dumps)
def test_what_answers_no_question_ends_nothing(number):
    scene = Scene()
    scene.ask(1)
    scene.questions.take_answer(1, {"number": number, "items": []})
    scene.questions.take_answer(1, {"items": []})
    assert scene.outcomes == []


@pytest.mark.parametrize("items", [{}, *({"items": each} for each in (None, {"id": "a"}, "text"))])
def test_what_is_no_answer_ends_nothing(items):
    scene = Scene()
    number = scene.ask(1)
    scene.questions.take_answer(1, {"number": number, **items})
    assert scene.outcomes == []
    scene.answer(1, number, item("a"))
    assert scene.outcomes == [({1: [item("a")]}, [])]


def test_items_that_are_none_are_left_out():
    scene = Scene()
    number = scene.ask(1)
    scene.answer(1, number, 7, None, item("a"), ["b"], "c")
    assert scene.outcomes == [({1: [item("a")]}, [])]


def test_of_each_part_is_kept_what_is_made_of_it():
    scene = Scene()
    outcomes = []

    def done(*outcome):
        outcomes.append(outcome)

    scene.questions.ask([1], "connections", {}, done, keep=lambda items: [len(items)])
    number = scene.asked[-1][1].number
    scene.answer(1, number, item("a"), item("b"), last=False)
    scene.answer(1, number, item("c"))
    assert outcomes == [({1: [2, 1]}, [])]


def test_whoever_is_told_may_ask_again():
    scene = Scene()
    again = []
    scene.questions.ask([1], "find", {}, lambda *_: again.append(scene.ask(1)))
    scene.questions.forget_worker(1)
    [number] = again
    scene.answer(1, number, item("a"))
    assert scene.outcomes == [({1: [item("a")]}, [])]
