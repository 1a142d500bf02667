"""Every question ends once: when all have answered, or at the deadline, whatever workers say."""

import json

import pytest

from host.ipc.protocol import Ask, OrderParser
from host.supervisor.workers.queries import ANSWER_SECONDS, WorkerQueries
from support.fakes import FakeLoop


class Scene:
    """Questions, and workers who take what they are asked unless they are deaf."""

    def __init__(self, deaf=()):
        self.loop, self.deaf = FakeLoop(), deaf
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
    assert scene.asked == [(pid, Ask(number, "find", {"id": "1-2"})) for pid in (1, 2)]
    assert scene.outcomes == []


def test_it_is_over_when_all_have_answered():
    scene = Scene()
    number = scene.ask(1, 2)
    scene.answer(2, number, item("b"))
    assert scene.outcomes == []
    scene.answer(1, number)
    assert scene.outcomes == [({1: [], 2: [item("b")]}, [])]
    assert scene.loop.due == []
    scene.loop.advance(200.0)
    assert len(scene.outcomes) == 1


def test_it_is_over_at_the_deadline_and_says_who_has_not_answered():
    scene = Scene()
    number = scene.ask(3, 1, 2)
    scene.answer(2, number, item("b"))
    scene.loop.advance(100.0 + ANSWER_SECONDS - 0.01)
    assert scene.outcomes == []
    scene.loop.advance(100.0 + ANSWER_SECONDS)
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


@pytest.mark.parametrize(
    "nonsense",
    [
        {},
        {"number": None, "items": []},
        {"number": "1", "items": []},
        {"number": [1], "items": []},
        {"number": 1.5, "items": []},
        {"number": 1},
        {"number": 1, "items": None},
        {"number": 1, "items": {"id": "a"}},
        {"number": 1, "items": "text"},
    ],
    ids=json.dumps,
)
def test_what_is_no_answer_ends_nothing(nonsense):
    scene = Scene()
    number = scene.ask(1)
    scene.questions.take_answer(1, nonsense)
    assert scene.outcomes == []
    scene.answer(1, number, item("a"))
    assert scene.outcomes == [({1: [item("a")]}, [])]


def test_items_that_are_none_are_left_out():
    scene = Scene()
    number = scene.ask(1)
    scene.answer(1, number, 7, None, item("a"), ["b"], "c")
    assert scene.outcomes == [({1: [item("a")]}, [])]


def test_whoever_is_told_may_ask_again():
    scene = Scene()
    again = []
    scene.questions.ask([1], "find", {}, lambda *_: again.append(scene.ask(1)))
    scene.questions.forget_worker(1)
    [number] = again
    scene.answer(1, number, item("a"))
    assert scene.outcomes == [({1: [item("a")]}, [])]
