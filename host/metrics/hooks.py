"""What is counted of hooks: how long they take, and how often they fail."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from random import Random
from typing import Any, NamedTuple

from host.hookspecs import ROWS, Audience
from host.ipc.series import Family, OwnSeries
from host.plugin.binding import HOOKS, Implementation
from host.plugin.registry import Registry
from host.plugin.timing import timing

_FIRST_BOUND, _BOUNDS = 1e-6, 24
HOOK_SECONDS = Family(
    "prefork_hook_seconds",
    "histogram",
    "How long calls of hooks have taken, with all that they call; one of `metrics.sample` calls is"
    " measured.",
    ("plugin", "hook"),
    tuple(_FIRST_BOUND * 2**number for number in range(_BOUNDS)),
    (),
)
HOOK_FAILURES = Family(
    "prefork_hook_failures_total",
    "counter",
    "Exceptions of hooks, and calls that have taken too long; `callback` is all that plugins have"
    " asked to be called.",
    ("listener", "plugin", "hook"),
    (),
    (),
)
CALLBACK = "callback"
"""Stands for a hook where a plugin has asked to be called: timers, threads, the bus, asyncio."""


def lay_out(
    own: OwnSeries, registry: Registry, addresses: Iterable[str], running: OwnSeries | None = None
) -> None:
    """Lay out what is counted of the hooks of a host's plugins.

    Args:
        own: where this process counts; it has no shared memory yet.
        registry: the plugins.
        addresses: those of the listeners.
        running: where this process counts already; a failure is counted once.
    """
    known = running.places(HOOK_FAILURES.name) if running else {}
    pairs = [
        (each.plugin, hook)
        for hook, implementations in registry.calls.items()
        for each in implementations
    ]
    own.add(HOOK_SECONDS._replace(series=tuple(dict.fromkeys(pairs))))
    failing = [*pairs, *((plugin.name, CALLBACK) for plugin in registry.plugins)]
    series = [
        (address, *pair)
        for pair in failing
        for address in ("", *addresses)
        if not address or _has_listener(pair[1])
    ]
    new = (each for each in dict.fromkeys(series) if each not in known)
    own.add(HOOK_FAILURES._replace(series=tuple(new)))


def _has_listener(hook: str) -> bool:
    """Tell whether calls of a hook may be for a connection or a datagram of a listener."""
    of_listeners = (Audience.LISTENER, Audience.PROTOCOL)
    return hook not in ROWS or ROWS[hook].audience in of_listeners


class SlowCalls(NamedTuple):
    """What is done about calls that are measured and have taken too long.

    Attributes:
        seconds: how long is not too long yet.
        note: called with plugin and hook.
        are_noted: tells whether another one does so, which measures all calls of a function.
    """

    seconds: float
    note: Callable[[str, str], object]
    are_noted: Callable[[Implementation], bool]


NONE_SLOW = SlowCalls(math.inf, lambda _plugin, _hook: None, lambda _each: True)


class HookTimes:
    """Measures the hooks that one process calls.

    Args:
        own: where this process counts.
        sample: of so many calls, one is measured on average; the gaps are random, so that no
            rhythm of a plugin decides which.
        clock: the clock, in nanoseconds.
        slow: what is done about slow ones among those that are measured.
    """

    def __init__(
        self,
        own: OwnSeries,
        sample: int,
        clock: Callable[[], int] = time.perf_counter_ns,
        slow: SlowCalls = NONE_SLOW,
    ) -> None:
        self._own, self._sample, self._slow, self._clock = own, sample, slow, clock
        self._places: Mapping[tuple[str, ...], int] = own.places(HOOK_SECONDS.name)
        self._random = Random()

    @property
    def measures_all(self) -> bool:
        """Whether all calls are measured."""
        return self._sample == 1

    def gap(self) -> int:
        """Return how many calls there are up to the next one that is measured, with that one."""
        return self._random.randrange(1, 2 * self._sample)

    def timed(self, each: Implementation) -> Callable[..., Any]:
        """Return what to call in the place of a plugin's function; all calls are measured."""
        place = self._places.get((each.plugin, each.hook))
        if place is None:  # of a plugin that was loaded later, such as another scheduler
            return each.function
        return timing(each, functools.partial(self._time, each, place))

    def sampled(self, each: Implementation) -> Callable[..., Any]:
        """Return what to call in the place of a plugin's function; some calls are measured."""
        plain, timed, gap = each.function, self.timed(each), self.gap
        if self.measures_all or timed is plain:
            return timed
        left = gap()

        @functools.wraps(plain)
        def called(*args: object) -> Any:
            nonlocal left
            left -= 1
            if left:
                return plain(*args)
            left = gap()
            return timed(*args)

        return called

    def _time(
        self, each: Implementation, place: int, function: Callable[..., Any]
    ) -> Callable[..., Any]:
        own, clock = self._own, self._clock
        slow = NONE_SLOW if self._slow.are_noted(each) else self._slow
        most = slow.seconds * 1e9

        def timed(*args: object) -> Any:
            began = clock()
            try:
                return function(*args)
            finally:
                took = clock() - began
                first = own.base + place
                # The bounds are powers of two of microseconds, and the last bucket has none.
                bucket = min((max(took - 1, 0) // 1000).bit_length(), _BOUNDS)
                own.words[first + bucket] += 1
                own.words[first + _BOUNDS + 1] += took / 1e9
                if took > most:
                    slow.note(each.plugin, each.hook)

        return timed


class HookFailures:
    """Counts the failures of hooks in one process.

    Args:
        own: where this process counts.
        owners: the plugin of each module, as `Registry.owners` says.
    """

    def __init__(self, own: OwnSeries, owners: Mapping[str, str]) -> None:
        self._own, self._owners = own, owners
        self._places: Mapping[tuple[str, ...], int] = own.places(HOOK_FAILURES.name)

    def __call__(
        self, plugin: str, hook: str, _error: BaseException, args: tuple[object, ...]
    ) -> None:
        """Count one failure: of which plugin, in which hook, called with what."""
        listener = getattr(getattr(args[0], "listener", None), "address", "") if args else ""
        for labels in self._labels(plugin, hook, listener):
            place = self._places.get(labels)
            if place is not None:
                self._own.words[self._own.base + place] += 1
                return

    def _labels(self, plugin: str, hook: str, listener: str) -> Iterator[tuple[str, str, str]]:
        """Yield the labels that fit, the best first; a callback may be told of by its module."""
        hook = hook if hook in HOOKS else CALLBACK
        owner = self._owners.get(plugin) or self._owners.get(plugin.rpartition(".")[0], plugin)
        for name in dict.fromkeys((plugin, owner)):
            yield listener, name, hook
            yield "", name, hook
