"""The metrics of plugins: what may be declared, and where each is counted."""

from __future__ import annotations

import functools
import itertools
import math
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from host.hookspecs import on_host_start
from host.interfaces import Labels
from host.ipc.series import Family, Kind, OwnSeries
from host.plugin.binding import Implementation
from host.settings import nearest
from host.text import listed, suggest

WORDS_PER_PLUGIN = 512
RESERVED = frozenset(
    {
        "answers",
        "bus",
        "connections",
        "datagram",
        "datagrams",
        "events",
        "generation",
        "hook",
        "info",
        "log",
        "pool",
        "received",
        "sent",
        "start",
        "worker",
        "writes",
    }
)
"""What follows `prefork_` in names of the host's own metrics, up to the next underscore."""

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_FORM = "expected lower-case letters and digits, with single underscores between words"
_OF_HOST = ("le", "slot", "pid", "generation")
"""Labels that the host adds."""
_OF_HISTOGRAMS = ("bucket", "sum", "count", "created")
"""Ends of names that Prometheus gives to series of histograms and counters."""
_NO_LABELS: Labels = MappingProxyType({})


class DeclaredMetrics:
    """All metrics of a generation: those of its plugins come after those of the host.

    Args:
        own: where this process counts.
        is_shown: whether anybody can see what is counted.
        running: what a running host counts already, in which a scheduler is swapped: one metric
            cannot be two things at once.

    Attributes:
        is_closed: whether nothing can be declared any more: the memory is laid out.
    """

    def __init__(
        self, own: OwnSeries, *, is_shown: bool = True, running: Iterable[Family] = ()
    ) -> None:
        self._own, self.is_shown = own, is_shown
        self._running = {each.name.removesuffix("_total"): each for each in running}
        self._words: dict[str, int] = {}
        self.is_closed = False

    def of(self, plugin: str) -> PluginMetrics:
        """Return what declares the metrics of one plugin."""
        return PluginMetrics(self, plugin)

    def declare(self, plugin: str, family: Family, values: Iterable[tuple[str, ...]]) -> _Places:
        """Lay out a metric; return where it is counted.

        Args:
            plugin: whose it is.
            family: the metric, without its series.
            values: the values of each of its labels.

        Raises:
            ValueError, RuntimeError: see `host.Metrics`.
        """
        if self.is_closed:
            raise RuntimeError(f"{family.name} is declared too late: on_host_start is over")
        for each in self._own.families:
            # OpenMetrics leaves _total out where it names a family.
            if each.name.removesuffix("_total") == family.name.removesuffix("_total"):
                other = "" if each.name == family.name else f", as the {each.kind} {each.name}"
                raise ValueError(f"{family.name} is declared already{other}")
        running = self._running.get(family.name.removesuffix("_total"), family)
        if not running.has_shape_of(family):
            raise ValueError(
                f"{family.name} is counted already, as a {running.kind} with other labels or"
                " bounds; select the plugin in the settings and reload"
            )
        sets = tuple(values)
        size = family.words * math.prod(map(len, sets))  # they might be billions
        words = self._words.get(plugin, 0) + size
        if words > WORDS_PER_PLUGIN:
            raise ValueError(
                f"{family.name} takes {size} words, which makes {words} for this plugin, and"
                f" {WORDS_PER_PLUGIN} is the most; use fewer labels, values or buckets"
            )
        self._words[plugin] = words
        family = family._replace(series=tuple(itertools.product(*sets)))
        return _Places(self._own, family, family.places(self._own.add(family)))


def telling_who(each: Implementation) -> Callable[..., Any]:
    """Return what to call in the place of a plugin's function.

    A plugin that is told that the host starts is given a host that knows which plugin it is.
    """
    function = each.function
    if each.hook != on_host_start.__name__ or not each.arguments:
        return function

    @functools.wraps(function)
    def told(host: Any) -> Any:
        return function(host.of(each.plugin))

    return told


class PluginMetrics:
    """Declares the metrics of one plugin; see `host.Metrics`."""

    def __init__(self, declared: DeclaredMetrics, plugin: str) -> None:
        self._declared, self._plugin = declared, plugin

    @property
    def is_shown(self) -> bool:
        """Whether anybody can see what is counted."""
        return self._declared.is_shown

    def counter(self, name: str, help: str, labels: Labels = _NO_LABELS) -> Counter:
        """Declare a counter."""
        return Counter(self._declare("counter", name, help, labels))

    def gauge(self, name: str, help: str, labels: Labels = _NO_LABELS) -> Gauge:
        """Declare a gauge."""
        return Gauge(self._declare("gauge", name, help, labels))

    def histogram(
        self, name: str, help: str, labels: Labels = _NO_LABELS, *, start: float, count: int
    ) -> Histogram:
        """Declare a histogram."""
        if not 0 < start < math.inf:
            raise ValueError(f"histogram {name}: start is {start!r}, expected a number above 0")
        if not 1 <= count <= WORDS_PER_PLUGIN:
            raise ValueError(f"histogram {name}: count is {count!r}, expected 1 or more bounds")
        bounds = tuple(float(start) * 2**number for number in range(count))
        if bounds[-1] == math.inf:
            raise ValueError(f"histogram {name}: start {start!r}, doubled so often, is no number")
        return Histogram(self._declare("histogram", name, help, labels, bounds))

    def _declare(
        self, kind: Kind, name: str, help: str, labels: Labels, bounds: tuple[float, ...] = ()
    ) -> _Places:
        """Check a metric and lay it out; return where it is counted."""
        _check_name(kind, name)
        if not help.strip() or not help.isprintable():
            raise ValueError(f"{kind} {name}: help is {help!r}, expected a sentence in one line")
        values = _checked_labels(f"{kind} {name}", labels)
        prefix = _as_part(self._plugin)
        if not prefix:  # no letter of it is ASCII
            prefix = f"plugin_{_as_part(self._plugin.encode('punycode').decode())}".strip("_")
        elif prefix.partition("_")[0] in RESERVED:
            prefix = f"plugin_{prefix}"
        total = "_total" if kind == "counter" else ""
        family = Family(f"prefork_{prefix}_{name}{total}", kind, help, tuple(values), bounds, ())
        return self._declared.declare(self._plugin, family, values.values())


def _as_part(text: str) -> str:
    """Return a text as a part of a metric's name; "" if there is no letter and no digit for it."""
    return re.sub("[^a-z0-9]+", "_", text.lower()).strip("_")


def _check_name(kind: Kind, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{kind} {name!r}: {_FORM}")
    last = name.rpartition("_")[2]
    if last == "total":
        raise ValueError(f"{kind} {name}: leave out _total, which counters are shown with")
    if last in _OF_HISTOGRAMS:
        raise ValueError(f"{kind} {name}: _{last} is the end of series that Prometheus makes")


def _checked_labels(what: str, labels: Labels) -> Mapping[str, tuple[str, ...]]:
    found = {}
    for name, given in labels.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"{what}: label {name!r}: {_FORM}")
        if name in _OF_HOST:
            raise ValueError(f"{what}: the host adds a label {name} itself; choose another name")
        values = tuple(given) if isinstance(given, Iterable) else given
        if isinstance(given, str) or not _are_texts(values):
            raise ValueError(f"{what}: label {name} has {given!r}, expected a list of texts")
        if not all(map(_is_unicode, values)):
            raise ValueError(f"{what}: label {name} has {values!r}, which UTF-8 cannot express")
        if not values or len(set(values)) < len(values):
            raise ValueError(f"{what}: label {name} has {values!r}, expected values, each once")
        found[name] = values
    return found


def _are_texts(values: object) -> bool:
    return isinstance(values, tuple) and all(isinstance(each, str) for each in values)


def _is_unicode(text: str) -> bool:
    """Tell whether a text can be shown: names of files may have parts of it that cannot."""
    return not any("\ud800" <= each <= "\udfff" for each in text)


class _Places(NamedTuple):
    """Where the series of one metric are: those of this process, and each by its labels' values."""

    own: OwnSeries
    family: Family
    places: Mapping[tuple[str, ...], int]

    def refusal(self, values: Sequence[object]) -> ValueError:
        """Return what to raise for labels' values that are not declared."""
        name, labels = self.family.name, self.family.labels
        if len(values) != len(labels):
            wanted = listed(labels) if labels else "it has no labels"
            return ValueError(f"{name} was given {len(values)} values of labels: {wanted}")
        for place, (label, value) in enumerate(zip(labels, values, strict=True)):
            declared = list(dict.fromkeys(each[place] for each in self.places))
            if value not in declared:
                near = suggest(nearest(str(value), declared))
                return ValueError(f"{name} has no {label}={value!r}{near}: {listed(declared)}")
        return ValueError(f"{name} was given {values!r}")


class _Metric:
    """A metric whose series have one word each."""

    __slots__ = ("_own", "_places", "_where")

    def __init__(self, where: _Places) -> None:
        self._own, self._places, self._where = where.own, where.places, where

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._where.family.name}>"

    def total(self, *values: str) -> float:
        """Return the sum over all processes of the generation."""
        place = self._places.get(values)
        if place is None:
            raise self._where.refusal(values)
        return self._own.total(place)


class Counter(_Metric):
    """A counter; see `host.Counter`."""

    __slots__ = ()

    def add(self, amount: float = 1, *values: str) -> None:
        """Add to it."""
        place = self._places.get(values)
        if place is None:
            raise self._where.refusal(values)
        if not 0 <= amount < math.inf:
            raise ValueError(f"{self._where.family.name} cannot rise by {amount!r}")
        own = self._own
        own.words[own.base + place] += amount


class Gauge(_Metric):
    """A gauge; see `host.Gauge`."""

    __slots__ = ()

    def set(self, value: float, *values: str) -> None:
        """Set it."""
        place = self._places.get(values)
        if place is None:
            raise self._where.refusal(values)
        own = self._own
        own.words[own.base + place] = value

    def add(self, amount: float, *values: str) -> None:
        """Raise or lower it."""
        place = self._places.get(values)
        if place is None:
            raise self._where.refusal(values)
        own = self._own
        own.words[own.base + place] += amount


class Histogram(_Metric):
    """A histogram; see `host.Histogram`."""

    __slots__ = ("_bounds",)

    def __init__(self, where: _Places) -> None:
        super().__init__(where)
        self._bounds = where.family.bounds

    def observe(self, value: float, *values: str) -> None:
        """Count one value."""
        place = self._places.get(values)
        if place is None:
            raise self._where.refusal(values)
        if not 0.0 <= value < math.inf:  # the sum is a counter, too, and never falls
            raise ValueError(f"{self._where.family.name} cannot count {value!r}")
        own, bounds = self._own, self._bounds
        first = own.base + place
        own.words[first + bisect_left(bounds, value)] += 1
        own.words[first + len(bounds) + 1] += value
