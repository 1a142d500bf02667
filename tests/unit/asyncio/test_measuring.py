"""The steps of tasks are measured while the loop serves, under their plugins and coroutines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from host.asyncio.event_loop import OWNER, HostEventLoop
from host.asyncio.measuring import measure_tasks
from host.runtime.loop import Loop


class Steps:
    """Counts steps by plugin and name."""

    def __init__(self) -> None:
        self.counts: dict[tuple[object, str], int] = {}

    def measure(self, owner: object, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: object) -> Any:
            self.counts[owner, name] = self.counts.get((owner, name), 0) + 1
            return function(*args)

        return counted


@pytest.fixture
def host_loop() -> Iterator[Loop]:
    loop = Loop(100)
    yield loop
    loop.close()


@pytest.fixture
def loop(host_loop: Loop) -> Iterator[HostEventLoop]:
    loop = HostEventLoop(host_loop)
    yield loop
    loop.close()


async def waits() -> str:
    await asyncio.sleep(0)
    try:
        await asyncio.sleep(10)
    except asyncio.CancelledError:
        return "cancelled"


async def main() -> str:
    OWNER.set("plugin")
    task = asyncio.create_task(waits(), name="first")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert task.get_coro().cr_running is False  # as of the coroutine itself
    assert task.get_name() == "first"
    assert "waits() running at" in repr(task)
    task.cancel()
    return await task


def test_each_step_counts_for_the_coroutine_and_the_plugin(
    loop: HostEventLoop, host_loop: Loop
) -> None:
    steps = Steps()
    measure_tasks(loop, steps.measure)
    task = loop.create_task(main())
    task.add_done_callback(lambda _: host_loop.stop())
    loop.serve()
    assert task.result() == "cancelled"
    assert steps.counts == {(None, "task main"): 4, ("plugin", "task waits"): 3}


def test_nothing_is_measured_before_and_after(loop: HostEventLoop) -> None:
    steps = Steps()
    measure_tasks(loop, steps.measure)
    assert loop.run_until_complete(main()) == "cancelled"
    assert steps.counts == {}
