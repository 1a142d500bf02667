"""It is noted for which connection each callback runs, before it does."""

import asyncio
from contextvars import copy_context

from host.asyncio.ready import WORD, Note, Ready


def test_each_callback_is_noted_before_it_runs():
    cells, seen = [0, 0, 0], []
    loop = asyncio.new_event_loop()
    loop._ready = Ready(Note(cells, 1, 9), loop._ready)
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
