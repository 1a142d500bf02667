"""What is done from time to time, by one of all workers."""

from __future__ import annotations

from collections.abc import Callable

from host import Worker


def call_on_one_worker(
    worker: Worker, key: str, seconds: float, function: Callable[[], object]
) -> None:
    """Call a function on one of the workers that say this, over all hosts; if it dies, on another.

    In a reload the old worker goes on, with the old code, until it has ended.

    Args:
        worker: the worker.
        key: the key of the bus that its worker owns.
        seconds: how often; the first time at once, on the worker that gets the key.
        function: what to call.
    """

    def claimed(owned: bool) -> None:
        if owned:
            function()

    def call() -> None:
        if worker.bus.fence(key) is None:  # its owner may have gone
            worker.bus.claim(key, claimed)
        else:
            function()

    worker.call_every(seconds, call)
    worker.bus.claim(key, claimed)
