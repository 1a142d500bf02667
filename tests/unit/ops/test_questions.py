"""Those who ask at the same time share an answer, and none is older than its question."""

import asyncio
import itertools
import time
from concurrent.futures import ThreadPoolExecutor
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

    def __call__(self):
        self.count += 1
        return {"number": self.count}


@pytest.fixture
def threads():
    with ThreadPoolExecutor(2) as made:
        yield made


def test_who_asks_while_one_is_asked_gets_the_next_answer(threads):
    async def scene():
        asked = Asked()
        question = Question(asked, threads)
        first = asyncio.ensure_future(question.answer())
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # it is being asked now
        later = await asyncio.gather(*(question.answer() for _ in range(50)))
        assert (await first)["number"] == 1
        assert {each["number"] for each in later} == {2}
        assert asked.count == 2

    asyncio.run(scene())


def test_a_costly_question_is_asked_so_often_that_it_takes_its_share_of_a_cpu(threads):
    def work():
        until = time.thread_time() + 0.01
        while time.thread_time() < until:
            pass
        began.append(time.monotonic())

    async def scene():
        question = Question(work, threads, share=0.1)
        for _ in range(3):
            await asyncio.gather(*(question.answer() for _ in range(20)))

    began = []
    asyncio.run(scene())
    assert len(began) == 3
    assert min(later - before for before, later in itertools.pairwise(began)) >= 0.09


def test_no_answer_is_told_to_each_who_asked(threads):
    async def scene():
        question = Question(partial(ask, fresh_name(), "status", {}, 1.0), threads)
        found = await asyncio.gather(*(question.answer() for _ in range(3)), return_exceptions=True)
        assert [type(each).__mro__[1] for each in found] == [RemoteError] * 3
        with pytest.raises(RemoteError):
            await question.answer()

    asyncio.run(scene())
