"""What plugins count: metrics that are declared in `on_host_start` and kept in shared memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

Labels = Mapping[str, Sequence[str]]
"""The labels of a metric, each with all the values that it can have."""


class Counter(Protocol):
    """A sum that never falls, over all processes that add to it."""

    def add(self, amount: float = 1, *values: str) -> None:
        """Add to it, in the thread of the process that calls hooks.

        Args:
            amount: how much, 0 or more.
            values: a value for each label, in the order of the declaration.

        Raises:
            ValueError: the amount is negative, infinite or no number, or a value was not declared.
        """

    def total(self, *values: str) -> float:
        """Return the sum over all processes of this generation, those that have ended included.

        It begins at 0 after a reload; what is shown to others goes on.

        Args:
            values: a value for each label, in the order of the declaration.

        Raises:
            ValueError: a value was not declared.
        """


class Gauge(Protocol):
    """A value that rises and falls. Each process has its own, which goes when the process ends."""

    def set(self, value: float, *values: str) -> None:
        """Set it, in the thread of the process that calls hooks.

        Args:
            value: what it is now.
            values: a value for each label, in the order of the declaration.

        Raises:
            ValueError: a value was not declared.
        """

    def add(self, amount: float, *values: str) -> None:
        """Raise it, or lower it by an amount below 0; otherwise as `set`."""

    def total(self, *values: str) -> float:
        """Return the sum over all processes of this generation; see `Counter.total`."""


class Histogram(Protocol):
    """How many values there were up to each bound, and their sum, over all processes."""

    def observe(self, value: float, *values: str) -> None:
        """Count one value, in the thread of the process that calls hooks.

        Args:
            value: the value, in the unit that the metric's name ends with.
            values: a value for each label, in the order of the declaration.

        Raises:
            ValueError: the value is negative, infinite or no number, or a label's value was not
                declared.
        """


class Metrics(Protocol):
    """Declares the metrics of one plugin, in `on_host_start`.

    They are shown at `/metrics` (the setting `ops.listen`) with the prefix `prefork_PLUGIN_` and
    with the slot of the worker as one more label. Names follow Prometheus' conventions: base units
    at the end, such as `_seconds` and `_bytes`. The values of labels are fixed, since the memory is
    laid out before the first worker starts: a plugin may have 512 words. A series of a counter or a
    gauge is one word; that of a histogram has one more than it has buckets.

    All three raise ValueError if the name, a label or the number of words is refused, or the name
    is declared already; and RuntimeError when `on_host_start` is over.
    """

    @property
    def is_shown(self) -> bool:
        """Whether `ops.listen` has an address.

        Plugins count without one, too, but may leave out what costs much.
        """

    def counter(self, name: str, help: str, labels: Labels = ...) -> Counter:
        """Declare a counter, which is shown with `_total` at the end of its name.

        Args:
            name: its name, in lower case, such as "lines" or "received_bytes".
            help: what it counts, in a sentence.
            labels: its labels with all their values.
        """

    def gauge(self, name: str, help: str, labels: Labels = ...) -> Gauge:
        """Declare a gauge; see `counter`."""

    def histogram(
        self, name: str, help: str, labels: Labels = ..., *, start: float, count: int
    ) -> Histogram:
        """Declare a histogram whose bounds double.

        Args:
            name: its name, in lower case, such as "size_bytes".
            help: what it measures, in a sentence.
            labels: its labels with all their values.
            start: the first bound.
            count: how many bounds there are, at least one; what is larger has a bucket, too.
        """
