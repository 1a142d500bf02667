"""Tries what each process of the host does, where plugins were loaded that may have broken it."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from host.errors import ExitCode, HostError, Interrupted, TrialError
from host.runtime import forks, processes
from host.settings import SettingsError
from host.startup.essentials import do_essentials
from host.text import reason, told_with_place

_SECONDS = 10.0
_DONE = 64
"""The exit code of who has done it all: who ends on the way may do so with 0."""
_STAND_INS = 4
_CAUSE = "the host cannot work with what plugins have done"


def try_out() -> None:
    """Fork a process, have it do what workers live on, and reap it.

    A plugin that was just loaded may have put something else in place of what the host calls, in
    a module that nobody thinks of, or forbid forks by an audit hook. In a supervisor that would
    show when it has to fork its workers, and end it.

    Raises:
        TrialError: something of it fails.
    """
    try:
        said = os.memfd_create("trial")
        try:
            pid = processes.fork(functools.partial(_live, said))
            os.kill(pid, 0)
            ended = processes.wait(pid, _SECONDS)
            failure = processes.end_of(said)
        finally:
            os.close(said)
    except Interrupted:
        raise
    except Exception as error:
        raise TrialError(f"{_CAUSE}: {told_with_place(error)}") from error
    if failure or ended is None or ended.code != _DONE:
        raise TrialError(f"{_CAUSE}: {failure or ended or f'no end within {_SECONDS:g} s'}")


def try_elsewhere(load: Callable[[], object]) -> None:
    """Load plugins in a fork of this process and try there what it does: nothing changes here.

    It waits until that is over, but not for ever as this process would if it loaded them itself.

    Args:
        load: loads them.

    Raises:
        HostError: this process must not load them.
    """
    try:
        said = os.memfd_create("trial")
        try:
            pid = processes.fork(functools.partial(_load_elsewhere, load, said, os.getpid()))
            ended = processes.wait(pid, _SECONDS)
            failure = processes.end_of(said)
        finally:
            os.close(said)
    except OSError as error:
        raise TrialError(f"it cannot be tried in another process: {reason(error)}") from error
    if failure:
        raise HostError(failure)
    if ended is None or ended.code != _DONE:
        how = ended or f"no end within {_SECONDS:g} s"
        raise TrialError(f"{how} while it was loaded in another process, to try it")


def _load_elsewhere(load: Callable[[], object], said: int, parent: int) -> int:
    """Load plugins and return `_DONE`; write down why that fails."""
    if not processes.die_with_parent(parent):
        return ExitCode.OK
    processes.offer_to_oom_killer()
    try:
        load()
        forks.exit_if_plugin_fork()
        try_out()
    except (HostError, SettingsError) as error:
        os.write(said, str(error).encode("utf-8", "replace"))
        return ExitCode.PLUGIN
    return _DONE


@contextmanager
def stand_ins() -> Iterator[tuple[int, ...]]:
    """Open descriptors that stand for those which a host has open while plugins are loaded."""
    with ExitStack() as opened:
        yield tuple(
            opened.enter_context(open(os.memfd_create("stand-in"), "wb")).fileno()
            for _ in range(_STAND_INS)
        )


def _live(said: int) -> int:
    """Do what a worker lives on, and return `_DONE`; write down why that fails."""
    try:
        do_essentials()
    except Exception as error:
        os.write(said, told_with_place(error).encode("utf-8", "replace"))
        return 1
    return _DONE
