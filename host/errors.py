"""Errors that say whose fault it is, and the exit code each of them ends the host with."""

from __future__ import annotations

import os
from enum import IntEnum

from host.text import shown

TYPE_CHECKING = False  # see host/__init__.py
if TYPE_CHECKING:
    from typing import Self


class ExitCode(IntEnum):
    """What the supervisor's exit code means; `description` is the documented line."""

    description: str

    def __new__(cls, code: int, description: str) -> Self:
        """Make a member of a number and its documented line."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.description = description
        return member

    OK = 0, "stopped when asked to, with nothing cut short"
    BUG = 1, "a fault of the host itself: please report it"
    USAGE = 2, "the command line is wrong"
    SETTINGS = 3, "the settings are invalid"
    PLUGIN = 4, "a plugin cannot be loaded, refused to start, or has broken the running host"
    LISTEN = 5, "an address cannot be listened on"
    WORKER_START = 6, "the first workers failed to start"
    LIMITS = 7, "the machine's limits are too low for the settings"
    WORKERS_GONE = 8, "every worker has ended and none is to be replaced"
    CUT_SHORT = 9, "stopped, but connections or workers had to be cut at the deadline"
    REMOTE = 10, "no answer from the host that was asked, or it refused"
    OUTPUT = 11, "what a command prints could not be written: a full disk, a reader that has gone"


class Interrupted(KeyboardInterrupt):
    """A signal that stops the host came while it waited for plugins: `cause` is the signal's name.

    It is raised in what the plugins do then. To them it is what Ctrl-C is in any program.
    """

    def __init__(self, cause: str) -> None:
        self.cause = cause
        super().__init__(f"the host was told to stop meanwhile ({cause})")


class HostError(Exception):
    """Base of the errors that end the host; `exit_code` says how."""

    exit_code = ExitCode.BUG


class PluginError(HostError):
    """A plugin is at fault: its author, or the user who selected it, can mend it.

    Attributes:
        plugin: the name it was selected by.
        hook: the hook concerned, or None.
        cause: what is wrong, in one sentence.
        origin: distribution, version and entry point, as far as known.
        where: `file:line` and the line's subject, or None.
        hint: what to do about it, or None.
        code: the rule that it breaks, as `plugins doctor` names it.
    """

    exit_code = ExitCode.PLUGIN

    def __init__(
        self,
        plugin: str,
        cause: str,
        *,
        hook: str | None = None,
        origin: str | None = None,
        where: str | None = None,
        hint: str | None = None,
        code: str = "refused",
    ) -> None:
        self.plugin, self.cause, self.hook = plugin, cause, hook
        self.origin, self.where, self.hint, self.code = origin, where, hint, code
        super().__init__(str(self))

    def __str__(self) -> str:
        found = f" ({self.origin})" if self.origin else ""
        lines = [f'plugin "{self.plugin}"{found} cannot be used']
        if self.where:
            lines.append(f"  {self.where}")
        lines.extend(f"    {line}" for line in self.cause.splitlines())
        if self.hint:
            lines.append(f"  {self.hint}")
        return "\n".join(lines)


class TrialError(HostError):
    """What plugins have done while they were loaded keeps processes of the host from working."""

    exit_code = ExitCode.PLUGIN


class ListenError(HostError):
    """The machine refuses an address.

    Attributes:
        address: the address as configured.
        errno: the system's error number.
        advice: what to do about it.
        cause: what is wrong, where that says more than the system's own words.
    """

    exit_code = ExitCode.LISTEN

    def __init__(self, address: str, errno: int, advice: str, cause: str = "") -> None:
        self.address, self.errno, self.advice = address, errno, advice
        super().__init__(f"cannot listen on {address}: {cause or os.strerror(errno)}; {advice}")


class LimitsError(HostError):
    """The machine's limits (setrlimit(2)) are too low for what the settings ask for."""

    exit_code = ExitCode.LIMITS


class RemoteError(HostError):
    """A running host cannot be asked, or does not do what it was asked to; the text says why."""

    exit_code = ExitCode.REMOTE


class NothingReadError(Exception):
    """What is reported of a plugin whose `on_readable` did not read."""

    def __init__(self) -> None:
        super().__init__(
            "on_readable returned without calling connection.read(), so it would be called again "
            "for ever: read, or call pause_reading() or close()"
        )


class NoCandidateError(Exception):
    """What is reported of a scheduler whose answer is not one of the workers it was given."""

    def __init__(self, answer: object) -> None:
        super().__init__(f"choose_worker answered {shown(answer)}, which is none of the candidates")


class SlowCallError(Exception):
    """What is reported of a plugin whose call took too long, though it raised nothing.

    Attributes:
        seconds: how long it took.
        limit: the seconds above which a call counts as a failure.
    """

    def __init__(self, seconds: float, limit: float) -> None:
        self.seconds, self.limit = seconds, limit
        super().__init__(
            f"the call took {seconds * 1000:.0f} ms, and nothing else was served meanwhile; "
            f"above {limit * 1000:g} ms (breaker.slow_call_ms) it counts as a failure"
        )


class RealWorkerNeededError(TypeError):
    """A plugin was given a fake worker and needs a real one."""

    def __init__(self) -> None:
        super().__init__(
            "a fake worker has no sockets, files and processes: test the plugin with a RunningHost"
        )
