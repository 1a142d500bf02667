"""`$SYS/broker/…`: what the host's metrics tell of the broker, for clients."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from host import Worker
from host.plugins.coordination import call_on_one_worker
from prefork_mqtt import VERSION
from prefork_mqtt.packets import Publish

_KEY = "mqtt-sys"
PREFIX = "$SYS/"


def publish_sys_topics(
    worker: Worker,
    seconds: float,
    numbers: Mapping[str, Callable[[], float]],
    publish: Callable[[Publish], object],
) -> None:
    """Publish them from one worker at a time, retained.

    Args:
        worker: the worker.
        seconds: how often.
        numbers: what to publish, by the topic below `$SYS/broker/`.
        publish: publishes one.
    """
    started = time.monotonic()

    def tell() -> None:
        values = {name: f"{number():.0f}" for name, number in numbers.items()}
        values["version"] = f"prefork-mqtt {VERSION}"
        values["uptime"] = f"{time.monotonic() - started:.0f} seconds"
        for name, value in values.items():
            publish(Publish(f"{PREFIX}broker/{name}", value.encode(), 0, True))

    call_on_one_worker(worker, _KEY, seconds, tell)
