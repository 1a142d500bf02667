"""Tasks of a connection are told with where they wait."""

import asyncio

from host.asyncio.current import CONNECTION
from host.testing import FakeConnection


async def inner(event):
    await event.wait()


async def outer(event):
    await inner(event)


def told_of(loop, count, coroutine=outer, asked=None):
    """Have `count` tasks of a connection wait, and one of nobody; return the connection's."""
    connection, event, told = FakeConnection(), asyncio.Event(), []

    async def main():
        others = [loop.create_task(outer(event), name="of nobody")]
        CONNECTION.set(connection)
        others += [loop.create_task(coroutine(event), name=f"Task-{n}") for n in range(count)]
        await asyncio.sleep(0)
        told.extend(loop.tasks_of(asked or connection))
        event.set()
        await asyncio.gather(*others)

    loop.run_until_complete(main())
    return told


def test_a_task_is_told_with_its_coroutine_and_the_places(loop):
    [told] = told_of(loop, 1)
    assert told.startswith("task Task-0 (outer) waits: outer (")
    line = inner.__code__.co_firstlineno + 1
    assert f", inner ({__file__}:{line}), Event.wait (" in told


def test_no_more_than_twenty_are_told_in_the_order_of_their_numbers(loop):
    told = told_of(loop, 31)
    assert [each.split()[1] for each in told[:-1]] == [f"Task-{n}" for n in range(20)]
    assert told[-1] == "and 11 more tasks"


def test_one_that_is_deep_in_is_told_by_where_it_waits_and_is_bounded(loop):
    async def deep(event, left=50):
        await (deep(event, left - 1) if left else event.wait())

    [told] = told_of(loop, 1, deep)
    assert "Event.wait (" in told
    assert len(told) <= 460


def test_others_have_none(loop):
    assert told_of(loop, 1, asked=FakeConnection()) == []
