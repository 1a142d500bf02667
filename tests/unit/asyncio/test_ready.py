"""It is noted for which connection each callback runs, before it does."""

import asyncio
from contextvars import copy_context
from types import SimpleNamespace

from host.asyncio.ready import WORD, Note, Ready


class Clock:
    """The clock of a host's loop; a turn begins with `turn`."""

    def __init__(self):
        self.now = self.at = 100.0

    def time(self):
        return self.at

    def turn(self):
        self.at += 0.000_01
        self.now = self.at


def taken_by_turn(seconds, count, turns=100):
    """Take callbacks out as asyncio does, each of which takes so long; return how many by turn."""
    clock, cells = Clock(), [0]
    ready = Ready(Note(cells, 0, 9), (), clock)
    ready.extend(SimpleNamespace(_cancelled=False, _context={}) for _ in range(count))
    order, by_turn = list(ready), []
    taken = []
    while ready and len(by_turn) < turns:
        clock.turn()
        before = len(taken)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                taken.append(handle)
                clock.at += seconds
        by_turn.append(len(taken) - before)
    assert taken == order
    return by_turn


def test_each_callback_is_noted_before_it_runs():
    cells, seen = [0, 0, 0], []
    loop = asyncio.new_event_loop()
    loop._ready = Ready(Note(cells, 1, 9), loop._ready, Clock())
    context = copy_context()
    context.run(WORD.set, 777)

    async def steps():
        for _ in range(2):
            seen.append(cells[1])
            await asyncio.sleep(0)

    async def main():
        its = loop.create_task(steps(), context=context)
        loop.call_soon(lambda: seen.append(cells[1]))
        timed = loop.create_future()
        loop.call_later(0, lambda: (seen.append(cells[1]), timed.set_result(None)), context=context)
        await asyncio.gather(its, timed)

    loop.run_until_complete(main())
    loop.close()
    assert (seen[:2], sorted(seen[2:])) == ([777, 9], [777, 777])
    assert (cells[0], cells[2]) == (0, 0)


def test_slow_callbacks_are_left_for_later_turns():
    by_turn = taken_by_turn(0.005, 100)
    assert sum(by_turn) == 100
    assert by_turn[0] == 8
    assert max(by_turn[1:]) <= 2


def test_fast_callbacks_run_in_one_turn():
    assert taken_by_turn(1e-6, 500) == [500]


def test_with_very_many_more_run_in_a_turn_than_are_passed_over_in_that_time():
    first, *_ = taken_by_turn(5e-6, 100_000)
    assert 15_000 < first < 25_000
