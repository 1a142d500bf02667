"""Puts right what plugins have done to the supervisor while it runs, so that the host goes on.

What a hook takes away or leaves behind is not looked for after each call: a supervisor makes
thousands of them a second. It is looked for once a second, in a glance, and in all places as soon
as something fails that never does.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from host.errors import HostError, PluginError
from host.hookspecs import TABLE, Process
from host.plugin.interference import LEAVE_ALONE, BrokenError, Keeping, Watch
from host.plugin.registry import Registry
from host.telemetry.emitter import Telemetry
from host.telemetry.events import PROCESS_HARMED
from host.text import listed, stack_of, told_with_place

_MOST, _PER_SECONDS = 10, 60.0
"""How often failures are got over: what cannot be put right would come again and again."""
_HOOKS = frozenset(row.name for row in TABLE if row.process is Process.SUPERVISOR)
_SHIPPED = f"{__name__.partition('.')[0]}.plugins."
_ADVICE = "What is the host's as well is to be left alone by hooks of the supervisor."
_GONE = "closes-descriptors"


class Residents(NamedTuple):
    """The plugins that are called in the supervisor, for what may be any of them.

    Attributes:
        name: their names, without those that come with the host if there are others.
        origin: where they came from, as far as that is one place.
    """

    name: str
    origin: str

    @classmethod
    def of(cls, registry: Registry) -> Residents:
        """Return those of a registry."""
        found = [each for each in registry.plugins if not _HOOKS.isdisjoint(each.hooks)]
        found = [each for each in found if not _is_shipped(each.object)] or found
        origin = found[0].origin if len(found) == 1 else ""
        return cls(listed(each.name for each in found), origin)


def _is_shipped(plugin: object) -> bool:
    module = getattr(plugin, "__name__", None) or type(plugin).__module__
    return str(module).startswith(_SHIPPED)


class Repair:
    """Finds what plugins have done to this process, and puts it right.

    Args:
        residents: who may have done it.
        telemetry: told of it.
        owner: the plugin in whose code an error was raised; None if there is none.
        clock: the monotonic clock.
    """

    def __init__(
        self,
        residents: Residents,
        telemetry: Telemetry,
        owner: Callable[[BaseException], str | None],
        clock: Callable[[], float],
    ) -> None:
        self._residents, self._telemetry = residents, telemetry
        self._owner, self._clock = owner, clock
        self._watch: Watch | None = None
        self._failures = deque([-math.inf] * _MOST, maxlen=_MOST)

    def begin(self, keeping: Keeping) -> None:
        """Take what is as it should be: plugins are called from now on.

        Args:
            keeping: the descriptors without which the process cannot go on, and what it must be
                able to do.
        """
        self._watch = Watch(self._residents, keeping)

    def add(self, registry: Registry) -> None:
        """Have those of another registry named as well: a scheduler is put in."""
        more = Residents.of(registry)
        self._residents = Residents(listed([self._residents.name, more.name]), "")
        if self._watch is not None:
            self._watch.source = self._residents

    def glance(self) -> None:
        """Put right what does the most harm, and tell of it."""
        if self._watch is not None:
            self._tell(self._watch.glance(), "")

    def check_descriptors(self) -> None:
        """Look whether those are there without which no worker can be had.

        Raises:
            PluginError: a plugin has closed one.
        """
        for each in self._watch.lost() if self._watch is not None else ():
            raise each

    def get_over(self, error: Exception) -> None:
        """Put right whatever has led to an error, so that the process can go on.

        Args:
            error: what ends the process otherwise.

        Raises:
            PluginError: it cannot be put right.
            Exception: the error itself, if no plugin has brought it about.
        """
        if self._watch is None:
            raise error
        found = self._watch.look()  # first: what is called here may be gone
        if isinstance(error, HostError):
            raise error
        for each in found:
            if each.code == _GONE or isinstance(each, BrokenError):
                raise each from error
        if not found:
            found = list(self._blame(error))
        now = self._clock()
        if not found or now < self._failures[0] + _PER_SECONDS:
            raise found[0] if found else error
        self._failures.append(now)
        self._tell(found, stack_of(error))

    def _blame(self, error: Exception) -> Iterable[PluginError]:
        """Yield an error that names the plugin whose code has failed where nobody has called it."""
        plugin = self._owner(error)
        if plugin is not None:
            cause = "its code is called where the host does not call plugins"
            yield PluginError(plugin, f"{cause}: {told_with_place(error)}", hint=_ADVICE)

    def _tell(self, found: Iterable[PluginError], traceback: str) -> None:
        for each in found:
            is_blamed = each.plugin != self._residents.name
            self._telemetry.emit(
                PROCESS_HARMED,
                plugin=each.plugin,
                cause=each.cause,
                consequence="the host goes on" if is_blamed else "that is put right",
                advice=_ADVICE if each.hint == LEAVE_ALONE else each.hint or "",
                traceback=traceback,
            )
