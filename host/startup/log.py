"""The log of a running host: what writes it, and what plugins print."""

from __future__ import annotations

import functools
import os
from contextlib import suppress
from types import FrameType
from typing import Self

from host.runtime import forks, stacks, streams
from host.runtime.accounts import Account
from host.runtime.guided import LedError, check_folder
from host.runtime.privileges import acting_as
from host.settings import Loaded, Settings
from host.startup.last_words import place_of
from host.startup.prepare import unusable_path
from host.supervisor.reload.handover import Handover
from host.telemetry.capture import Capture
from host.telemetry.emitter import Telemetry
from host.telemetry.events import PLUGIN_ENDS_HOST, Level
from host.telemetry.log_file import LogFile, open_for
from host.telemetry.logs import Format, LogWriter, json_line, text_line
from host.text import reason


class HostLog:
    """The log of a running host, with all that plugins print; a context manager that ends it.

    Args:
        handed: what the supervisor before an exec has handed over; None if there was none.

    Attributes:
        writer: writes the lines, as soon as `begin` was called. After an exec they go where they
            went before, until the supervisor has the file opened anew.
        telemetry: what tells the writer.
        capture: makes events of what plugins print.
    """

    writer: LogWriter
    telemetry: Telemetry
    capture: Capture

    def __init__(self, handed: Handover | None) -> None:
        self._handed, self._begun = handed, False

    def tell_last_words(self, status: int, frame: FrameType) -> None:
        """Tell which plugin ends this process, by os._exit(`status`) in this frame."""
        if self._begun:
            plugin, place = self.capture.plugin_above(frame), place_of(frame)
            self.telemetry.emit(PLUGIN_ENDS_HOST, plugin=plugin, code=status, place=place)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def begin(self, loaded: Loaded, wanted: Account | None = None) -> None:
        """Begin as these settings say, before plugins are loaded.

        Args:
            loaded: the settings.
            wanted: the user that root's process is to become: the log file is then that user's.

        Raises:
            SettingsError: the log file can neither be opened nor made.
        """
        settings, handed = loaded.settings, self._handed
        if handed is None:
            # Its own descriptor: a plugin may close number 2, which a client's socket would get.
            self._use(settings, streams.keep(2), _file(loaded, wanted))
        else:
            self._use(settings, handed.log_descriptor, _file_after_exec(settings, handed))
            self.writer.restore(*handed.log)
        self.capture = Capture(self.telemetry, _level(settings))
        self.capture.begin()
        self._begun = True
        stacks.print_crash_to(self.writer.fileno())
        forks.close_in_plugin_fork(self.capture.end_in_fork)

    def change(self, settings: Settings) -> None:
        """Go on as other settings say: after an exec, when it is certain that they hold."""
        before, handed = self.writer, self._handed
        assert handed is not None
        self._use(settings, handed.log_descriptor, _file_after_exec(settings, handed))
        self.writer.restore(*before.state(), before.uncounted)
        before.forget()
        before.close()
        self.capture.change(self.telemetry, _level(settings))

    def end(self) -> None:
        """Write what waits, if somebody takes it; what is printed from now on is left alone."""
        if self._begun:
            self.capture.end()
            self.writer.close()

    def _use(self, settings: Settings, descriptor: int, file: LogFile | None) -> None:
        self.writer = LogWriter(descriptor, _format(settings), _level(settings), file=file)
        self.telemetry = Telemetry(self.writer)


def _file(loaded: Loaded, wanted: Account | None) -> LogFile | None:
    path = loaded.settings.log.file
    if not path:
        return None
    try:
        if wanted is None:
            return LogFile(path)
        with acting_as(wanted):
            # In a folder of a user links could lead root anywhere: there it does not help.
            if os.access(os.path.dirname(path) or ".", os.W_OK, effective_ids=True):
                return LogFile(path)
            with suppress(PermissionError):
                return LogFile(path)
        check_folder(os.path.dirname(path) or ".", wanted)
        return LogFile(path, open_for(path, wanted.uid, wanted.gid))
    except LedError as error:
        cause = f"root does not, since {error} and could lead root to any file"
        raise unusable_path(loaded, "log.file", path, cause) from None
    except OSError as error:
        raise unusable_path(loaded, "log.file", path, reason(error)) from None


def _file_after_exec(settings: Settings, handed: Handover) -> LogFile | None:
    before = handed.log_file
    if settings.log.file:
        return LogFile(
            settings.log.file, streams.keep(handed.log_descriptor) if before is None else before
        )
    if before is not None:
        os.close(before)
    return None


def _level(settings: Settings) -> Level:
    return Level[settings.log.level.upper()]


def _format(settings: Settings) -> Format:
    if settings.log.format == "text":
        return text_line
    return functools.partial(json_line, host=settings.name)
