"""Reloads: a process of its own tries new settings and plugins before this one re-executes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from host.errors import HostError
from host.runtime.loop import Loop, TimerHandle
from host.runtime.origin import Origin
from host.runtime.processes import Exit, end_of, is_lost, start_program
from host.runtime.rehearsal import KEPT, REHEARSAL
from host.settings import BusSettings, Listen, Process
from host.supervisor.generations import Generations
from host.supervisor.reload import handover
from host.supervisor.workers.pool import Pool
from host.telemetry.emitter import Telemetry
from host.telemetry.events import HOST_RELOADING, RELOAD_FAILED


class Plan(BaseModel):
    """What the new settings ask for, as far as it must be known before the exec.

    Attributes:
        format: the format of handovers that the new code understands.
        process: which user to be.
        bus: what workers are to talk through.
        listen: what to listen on.
        ops: where to show how the host is.
        control: the name that commands find the host by; None if it takes none.
        address_space: how many bytes a process has that has loaded them; 0 if it is not known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    format: int
    process: Process
    bus: BusSettings
    listen: list[Listen]
    ops: list[Listen]
    control: str | None
    address_space: int = 0


class Program(NamedTuple):
    """What is executed for a reload.

    Attributes:
        file: the file.
        arguments: all arguments, the program's name first.
        origin: the variables, the working directory and the umask that it gets.
        kept: the descriptor of what root has read of certificates, which it gets, if there is any.
    """

    file: str
    arguments: list[str]
    origin: Origin
    kept: int | None = None


@dataclass(slots=True, eq=False)
class _Rehearsal:
    """A process that loads the new settings and plugins, and says what they ask for."""

    pid: int
    output: int
    errors: int
    timer: TimerHandle
    timed_out: bool = False
    cancelled: bool = False

    def kill(self) -> None:
        with suppress(ProcessLookupError):  # it has ended, and a plugin has taken its exit code
            os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        self.timer.cancel()
        os.close(self.output)
        os.close(self.errors)


class ReloadError(HostError):
    """A reload that does not happen: the reason in one line, and more in `details`."""

    def __init__(self, reason: str, details: str = "") -> None:
        super().__init__(reason)
        self.reason, self.details = reason, details

    @property
    def text(self) -> str:
        """The reason and the details."""
        return "\n".join(filter(None, [self.reason, self.details]))


Done = Callable[[ReloadError | None], object]
"""Told the reason why a reload fails, or None just before the process is re-executed."""


class Reloader:
    """Carries out one reload at a time: a rehearsal first, then the exec.

    Args:
        pool: tells whether the workers of the newest generation have all been ready.
        generations: told why a reload does not happen.
        program: what is executed to rehearse.
        patience: seconds that the rehearsal may take.
        reexec: re-executes this process as the plan says; it returns only by an error.

    Attributes:
        wanted: whether a reload was asked for while none could begin.
    """

    def __init__(
        self,
        loop: Loop,
        telemetry: Telemetry,
        pool: Pool,
        generations: Generations,
        program: Program,
        *,
        patience: float,
        reexec: Callable[[Plan, Callable[[], None]], object],
    ) -> None:
        self._loop, self._telemetry = loop, telemetry
        self._pool, self._generations = pool, generations
        self._program, self._patience, self._reexec = program, patience, reexec
        self._rehearsal: _Rehearsal | None = None
        self._done: list[Done] = []
        self._stopped = False
        self.wanted = False

    @property
    def under_way(self) -> bool:
        """Whether a rehearsal is running."""
        return self._rehearsal is not None

    @property
    def starting(self) -> bool:
        """Whether a generation is to take over, as far as is known."""
        outcome = self._generations.outcome
        failed = outcome is not None and outcome.failed
        return (self._generations.coming is not None or not self._pool.complete) and not failed

    def rehearses(self, pid: int) -> bool:
        """Tell whether a process is the rehearsal that is running."""
        return self._rehearsal is not None and self._rehearsal.pid == pid

    def request(self, cause: str, done: Done | None = None) -> None:
        """Try the new settings, and reload if they load, as soon as no other reload is under way.

        Args:
            cause: why, for the log.
            done: told how it ends; not while a generation is starting, when none can begin.
        """
        if self._stopped:
            return
        if self.starting:
            self.wanted = True
            return
        if done is not None:
            self._done.append(done)
        if self.under_way:
            self.wanted = True
            return
        self.wanted = False
        self._telemetry.emit(HOST_RELOADING, cause=cause)
        try:
            self._rehearsal = self._rehearse()
        except OSError as error:
            self._fail(ReloadError(f"cannot start a process: {error.strerror}"))

    def begin_wanted(self) -> None:
        """Begin a reload that was asked for while none could begin, if one can now."""
        if self.wanted and not self.under_way and not self.starting:
            self.request("a signal that came meanwhile")

    def stop(self) -> None:
        """Reload no more, and give up a rehearsal: the host is stopping."""
        self._stopped, self.wanted = True, False
        if self._rehearsal is not None:
            self._rehearsal.cancelled = True
            self._rehearsal.kill()

    def check_health(self) -> None:
        """Go on also when a plugin has taken the exit code of the rehearsal (waitpid(2))."""
        rehearsal = self._rehearsal
        if rehearsal is not None and is_lost(rehearsal.pid):
            self.handle_exit(Exit(rehearsal.pid, None, None))

    def handle_exit(self, ended: Exit) -> bool:
        """Go on when the rehearsal has ended; False if the process was no rehearsal."""
        rehearsal = self._rehearsal
        if rehearsal is None or not self.rehearses(ended.pid):
            return False
        self._rehearsal = None
        output, errors = end_of(rehearsal.output), end_of(rehearsal.errors)
        rehearsal.close()
        if rehearsal.cancelled:
            self._tell(ReloadError("the host is stopping"))
        elif self.wanted:
            self.request("a signal that came meanwhile")
        else:
            self._finish(ended, output, errors, rehearsal.timed_out)
        return True

    def _finish(self, ended: Exit, output: str, errors: str, timed_out: bool) -> None:
        """Re-execute if the rehearsal went well."""
        try:
            plan = self._plan(ended, output, errors, timed_out)
            self._reexec(plan, lambda: self._tell(None))
        except ReloadError as error:
            self._fail(error)
        except HostError as error:
            self._fail(ReloadError(str(error)))
        except OSError as error:
            self._fail(ReloadError(f"cannot re-execute: {error.strerror}"))

    def _rehearse(self) -> _Rehearsal:
        output, errors = (os.memfd_create(name, os.MFD_CLOEXEC) for name in ("plan", "errors"))
        file, arguments, origin, kept = self._program
        environment = {**origin.environment, REHEARSAL: str(os.getpid())}
        if kept is not None:
            environment[KEPT] = str(kept)
        try:
            pid = start_program(
                file, arguments, origin._replace(environment=environment), output, errors, kept
            )
        except OSError:
            os.close(output)
            os.close(errors)
            raise
        timer = self._loop.call_at(self._loop.now + self._patience, self._time_out)
        return _Rehearsal(pid, output, errors, timer)

    def _time_out(self) -> None:
        if self._rehearsal is not None:
            self._rehearsal.timed_out = True
            self._rehearsal.kill()

    def _plan(self, ended: Exit, output: str, errors: str, timed_out: bool) -> Plan:
        if timed_out:
            raise ReloadError(
                f"the new settings and plugins did not load within {self._patience:g} s "
                "(start_timeout_seconds)"
            )
        if ended.code != 0 and not (ended.is_unknown and output):
            said = errors.strip()
            if ended.signal is not None:  # it has said where it was
                raise ReloadError(f"{ended} while the new settings were tried", said)
            first, _, rest = said.removeprefix("host: ").partition("\n")
            raise ReloadError(first or f"{ended} while the new settings were tried", rest)
        try:
            # What plugins print while they load comes before it.
            plan = Plan.model_validate_json(output.strip().rpartition("\n")[2])
        except ValidationError as error:
            raise ReloadError("the new version does not say what it needs", str(error)) from None
        if plan.format != handover.FORMAT:
            raise ReloadError("the new version cannot take over from this one: restart the host")
        return plan

    def _fail(self, error: ReloadError) -> None:
        self._telemetry.emit(RELOAD_FAILED, reason=error.reason, details=error.details)
        self._generations.note_refusal(error.text)
        self._tell(error)

    def _tell(self, error: ReloadError | None) -> None:
        done, self._done = self._done, []
        for each in done:
            each(error)
