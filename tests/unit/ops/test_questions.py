"""Those who ask at the same time share an answer, and none is older than its question."""

import asyncio
import itertools
import time
from functools import partial

import pytest

from host.control.client import ask
from host.errors import RemoteError
from host.ops.questions import Question
from support.asking import fresh_name


class Asked:
    """What is asked: it counts how often."""

    def __init__(self):
        self.count = 0

    async def __call__(self):
        self.count += 1
        count = self.count
        await asyncio.sleep(0.01)
        return {"number": count}


def test_who_asks_while_one_is_asked_gets_the_next_answer():
    async def scene():
        asked = Asked()
        question = Question(asked)
        first = asyncio.ensure_future(question.answer())
        while not asked.count:
            await asyncio.sleep(0)
        later = await asyncio.gather(*(question.answer() for _ in range(50)))
        assert (await first)["number"] == 1
        assert {each["number"] for each in later} == {2}
        assert asked.count == 2

    asyncio.run(scene())


def test_who_goes_while_it_is_asked_takes_nothing_from_the_others():
    async def scene():
        asked = Asked()
        question = Question(asked)
        waiting = [asyncio.ensure_future(question.answer()) for _ in range(3)]
        while not asked.count:
            await asyncio.sleep(0)
        waiting[0].cancel()
        assert [(await each)["number"] for each in waiting[1:]] == [1, 1]
        assert (await question.answer())["number"] == 2

    asyncio.run(scene())


def test_a_costly_question_is_asked_so_often_that_it_takes_its_share_of_a_cpu():
    async def work():
        until = time.thread_time() + 0.01
        while time.thread_time() < until:
            pass
        began.append(time.monotonic())

    async def scene():
        question = Question(work, share=0.1)
        for _ in range(3):
            await asyncio.gather(*(question.answer() for _ in range(20)))

    began = []
    asyncio.run(scene())
    assert len(began) == 3
    assert min(later - before for before, later in itertools.pairwise(began)) >= 0.09


def test_no_answer_is_told_to_each_who_asked():
    asking = partial(asyncio.to_thread, ask, fresh_name(), "status", {}, 1.0)

    async def scene():
        question = Question(asking)
        found = await asyncio.gather(*(question.answer() for _ in range(3)), return_exceptions=True)
        assert [type(each).__mro__[1] for each in found] == [RemoteError] * 3
        with pytest.raises(RemoteError):
            await question.answer()

    asyncio.run(scene())
