"""`$SYS/broker/…`: what the host's metrics tell of the broker, for clients."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from host import Worker
from prefork_mqtt import VERSION
from prefork_mqtt.packets import Publish

_KEY = "mqtt-sys"
PREFIX = "$SYS/"


class SysTopics:
    """Publishes them from one worker at a time, retained.

    Args:
        worker: the worker.
        seconds: how often.
        numbers: what to publish, by the topic below `$SYS/broker/`.
        publish: publishes one.
    """

    def __init__(
        self,
        worker: Worker,
        seconds: float,
        numbers: Mapping[str, Callable[[], float]],
        publish: Callable[[Publish], object],
    ) -> None:
        self._bus, self._numbers, self._publish = worker.bus, numbers, publish
        self._started = time.monotonic()
        worker.call_every(seconds, self._tell)
        self._claim()

    def _claim(self) -> None:
        def claimed(owned: bool) -> None:
            if owned:
                self._tell()

        self._bus.claim(_KEY, claimed)

    def _tell(self) -> None:
        if self._bus.fence(_KEY) is None:  # its owner may have gone
            self._claim()
            return
        values = {name: f"{number():.0f}" for name, number in self._numbers.items()}
        values["version"] = f"prefork-mqtt {VERSION}"
        values["uptime"] = f"{time.monotonic() - self._started:.0f} seconds"
        for name, value in values.items():
            self._publish(Publish(f"{PREFIX}broker/{name}", value.encode(), 0, True))
