"""Makes what writes the log of a running host."""

from __future__ import annotations

import functools
import os

from host.runtime import streams
from host.settings import Loaded, Settings
from host.startup.prepare import unusable_path
from host.supervisor.reload.handover import Handover
from host.telemetry.events import Level
from host.telemetry.log_file import LogFile
from host.telemetry.logs import Format, LogWriter, json_line, text_line
from host.text import reason


def make_log(loaded: Loaded, handed: Handover | None) -> LogWriter:
    """Return what writes the log.

    After an exec lines go where they went before, until the supervisor has the file opened anew.

    Args:
        loaded: the settings.
        handed: what the supervisor before an exec has handed over; None if there was none.

    Raises:
        SettingsError: the log file can neither be opened nor made.
    """
    settings = loaded.settings
    # Its own descriptor: a plugin may close number 2, which a client's socket would get.
    descriptor = streams.keep(2) if handed is None else handed.log_descriptor
    file = _file(loaded) if handed is None else _file_after_exec(settings, handed)
    return LogWriter(descriptor, _format(settings), Level[settings.log.level.upper()], file=file)


def _file(loaded: Loaded) -> LogFile | None:
    path = loaded.settings.log.file
    if not path:
        return None
    try:
        return LogFile(path)
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


def _format(settings: Settings) -> Format:
    if settings.log.format == "text":
        return text_line
    return functools.partial(json_line, host=settings.name)
