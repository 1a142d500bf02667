"""Rehearsals: new settings and plugins are loaded elsewhere before the supervisor loads them.

The first one is a process of its own, which the supervisor starts before it re-executes itself. The
second one is a fork of the re-executed supervisor: what has changed meanwhile, and what fails only
in its environment, with its descriptors and limits, ends that fork and not the supervisor.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from contextlib import closing
from typing import BinaryIO, NamedTuple

from host.errors import ExitCode, HostError
from host.runtime import lineage, processes, stacks, streams
from host.runtime.descriptors import identities
from host.runtime.origin import Origin
from host.runtime.privileges import give_up_capabilities
from host.runtime.signal_table import IGNORED_BY_WORKERS
from host.runtime.signals import Signals
from host.runtime.usage import address_space
from host.settings import Loaded, SettingsError
from host.startup.last_words import last_words
from host.startup.prepare import prepare_uninterrupted
from host.startup.trial import try_out
from host.startup.umask import setting_umask
from host.supervisor.reload.handover import FORMAT, Handover, take_kept
from host.supervisor.reload.reloader import Plan

_LOADED = "loaded"
_CLOSED = 64
"""The exit code that says that descriptors of the host are closed: one of them is for words."""
_MARGIN_SECONDS = 1.0


def rehearse(load_settings: Callable[[], Loaded]) -> ExitCode:
    """Load settings and plugins, and print what they ask for; everything else stays as it is."""
    lineage.take()
    stacks.print_crash_to(2)
    processes.offer_to_oom_killer()
    with closing(Signals(IGNORED_BY_WORKERS)):
        kept = take_kept()
        if kept is not None:
            processes.hide_memory()
        load = functools.partial(_load_unprivileged, setting_umask(load_settings, Origin.here()))
        with streams.lent(), last_words():
            prepared = prepare_uninterrupted(load, kept)
            try_out()
        settings = prepared.settings
        plan = Plan(
            format=FORMAT,
            process=settings.process,
            bus=settings.bus.without_secrets(),
            listen=[listen for listen, _ in prepared.served],
            ops=list(settings.ops.listens),
            control=settings.name if settings.admin.enabled else None,
            address_space=address_space(),
        )
        print(f"\n{plan.model_dump_json()}", flush=True)
        return ExitCode.OK


def _load_unprivileged(load_settings: Callable[[], Loaded]) -> Loaded:
    """Load settings; what the supervisor keeps is not for plugins that are tried."""
    loaded = load_settings()
    if loaded.settings.process.keep:
        give_up_capabilities()
    return loaded


class _Second(NamedTuple):
    """A second rehearsal.

    Attributes:
        load_settings: loads the settings.
        supervisor: the pid of the process that the rehearsal is for.
        seconds: how long it may take.
        descriptors: those that plugins must leave alone.
        said: takes the word that settings and plugins are loaded, or why not.
        printed: takes what plugins print.
        certificates: what root has read of them, if there is anything.
    """

    load_settings: Callable[[], Loaded]
    supervisor: int
    seconds: float
    descriptors: tuple[int, ...]
    said: BinaryIO
    printed: BinaryIO
    certificates: int | None


def rehearse_again(load_settings: Callable[[], Loaded], handed: Handover) -> str:
    """Load settings and plugins in a fork of a fork of this process; nothing changes here.

    The fork is no child of the supervisor, as the supervisor itself is none: a plugin that looks
    at its parent does the same in both.

    Args:
        load_settings: loads the settings.
        handed: what this process was handed: its descriptors must stay open.

    Returns:
        Why this process must not load them, or "".

    Raises:
        Interrupted: the host is told to stop (see `Signals.interrupting`).
    """
    seconds = handed.settings_before.lifecycle.start_timeout_seconds
    try:
        with _memory("said") as said, _memory("printed") as printed:
            kept = (*handed.descriptors(), said.fileno())
            second = _Second(load_settings, os.getpid(), seconds, kept, said, printed, handed.kept)
            pid = processes.fork(functools.partial(_fork_again, second))
            ended = processes.wait(pid, seconds + _MARGIN_SECONDS)
            word = (
                processes.end_of(said.fileno())
                or f"{ended or 'no answer'} from the second rehearsal"
            )
            return (
                "" if word == _LOADED else f"{word}\n{processes.end_of(printed.fileno())}".strip()
            )
    except OSError as error:
        return f"the second rehearsal cannot be held: {error.strerror}"


def _fork_again(second: _Second) -> int:
    """Load in a fork of this process, and say how that has ended if it says nothing itself."""
    if not processes.die_with_parent(second.supervisor):
        return ExitCode.OK
    processes.offer_to_oom_killer()
    for descriptor in (1, 2):
        os.dup2(second.printed.fileno(), descriptor)
    pid = processes.fork(functools.partial(_load, second, os.getpid()))
    ended = processes.wait(pid, second.seconds)
    if ended is None:
        within = f"within {second.seconds:g} s (start_timeout_seconds)"
        _say(second, f"the settings and plugins did not load a second time {within}")
    elif ended.code == _CLOSED:
        _say(second, "plugins have closed descriptors of the host while they were loaded")
    elif not processes.end_of(second.said.fileno()):
        _say(second, f"{ended} while the settings and plugins were loaded a second time")
    return ExitCode.OK


def _load(second: _Second, parent: int) -> int:
    """Load, and say how that went."""
    if not processes.die_with_parent(parent):
        return ExitCode.OK
    stacks.print_crash_to(second.printed.fileno())
    before, word = identities(second.descriptors), _LOADED
    with closing(Signals(IGNORED_BY_WORKERS)):
        try:
            with last_words():
                prepare_uninterrupted(second.load_settings, second.certificates)
                try_out()
        except (HostError, SettingsError) as error:
            word = str(error)
    if identities(second.descriptors) != before:
        return _CLOSED
    _say(second, word)
    return ExitCode.OK


def _say(second: _Second, word: str) -> None:
    second.said.write(word.encode("utf-8", "replace"))


def _memory(name: str) -> BinaryIO:
    """Return a file in memory that processes may share; the caller closes it."""
    return open(os.memfd_create(name), "r+b", buffering=0)
