"""Makes events of what plugins print and log, and of errors that end up nowhere else."""

from __future__ import annotations

import io
import logging
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import FrameType, TracebackType
from typing import BinaryIO, TextIO, cast

from host.telemetry.emitter import Telemetry
from host.telemetry.events import (
    ERROR_IGNORED,
    PLUGIN_LOGGED,
    PLUGIN_PRINTED,
    THREAD_FAILED,
    Level,
)
from host.telemetry.tracing import trace_fields
from host.text import MAX_TRACEBACK_CHARS, in_words, shortened, stack_of

MAX_LINE_CHARS = 8_192
"""A longer line or message is shortened in the middle."""
_MAX_FRAMES = 200
_STREAMS = {"stdout": Level.INFO, "stderr": Level.WARNING}


class Capture:
    """Takes what would be raw text between the lines of the log, and tells it as events.

    That is what is printed to `sys.stdout` and `sys.stderr`, what reaches the root logger of the
    module logging, and the errors of threads and destructors. What is written to descriptors 1 and
    2 themselves is left alone. Nothing here waits, in whatever thread it is called.

    An event names the plugin whose code is innermost among those who are being called.

    Args:
        telemetry: told of all that; it may be told in any thread.
        level: the lowest level at which the root logger takes messages.

    Attributes:
        owners: the plugin of each module or package that is one plugin's, as soon as it is known.
    """

    def __init__(self, telemetry: Telemetry, level: Level) -> None:
        self._telemetry, self._level = telemetry, level
        self.owners: Mapping[str, str] = {}
        self._lines: dict[str, _Lines] = {}
        self._undo: list[Callable[[], object]] = []

    def begin(self) -> None:
        """Put itself where Python writes to; `end` undoes it."""
        for name in _STREAMS:
            self._replace_stream(name)
        for place, name, function in (
            (threading, "excepthook", self._tell_thread),
            (sys, "unraisablehook", self._tell_ignored),
        ):
            self._replace(place, name, function)
        root, handler = logging.getLogger(), _Handler(self._tell_record)
        before = root.level
        root.addHandler(handler)
        root.setLevel(self._level)
        self._undo += [lambda: root.removeHandler(handler), lambda: root.setLevel(before)]

    def change(self, telemetry: Telemetry, level: Level) -> None:
        """Go on with other telemetry; a level that a plugin has set stays."""
        root = logging.getLogger()
        if root.level == self._level:
            root.setLevel(level)
        self._telemetry, self._level = telemetry, level

    def end(self) -> None:
        """Tell what was printed of lines that have no end, and undo what `begin` has done.

        Whoever has kept one of the streams prints to the real one from now on.
        """
        for each in self._lines.values():
            each.finish()
        while self._undo:
            with suppress(Exception):  # a plugin may have broken logging, or what it has kept
                self._undo.pop()()

    def forget(self) -> None:
        """Forget lines that have no end yet: after a fork they are the parent's."""
        for each in self._lines.values():
            each.forget()

    def end_in_fork(self) -> None:
        """Leave all to the parent, in a child that a plugin has forked."""
        self.forget()
        self.end()

    def _replace(self, place: object, name: str, value: object) -> None:
        """Set an attribute until the end; if a plugin sets it meanwhile, that stays."""
        before = getattr(place, name)
        setattr(place, name, value)

        def undo() -> None:
            if getattr(place, name) == value:
                setattr(place, name, before)

        self._undo.append(undo)

    def _replace_stream(self, name: str) -> None:
        behind: TextIO = getattr(sys, name)

        def tell(text: str, frame: FrameType) -> None:
            self._tell_printed(name, text, frame)

        lines = self._lines[name] = _Lines(behind, tell)
        # Each piece is passed on at once, so that the pieces of two threads are not mixed.
        stream = io.TextIOWrapper(
            cast("BinaryIO", lines), encoding="utf-8", errors="backslashreplace", write_through=True
        )
        self._replace(sys, name, stream)

    def _tell_printed(self, stream: str, text: str, frame: FrameType) -> None:
        plugin = self.plugin_above(frame)
        self._telemetry.emit_at(
            _STREAMS[stream],
            PLUGIN_PRINTED,
            source=plugin or _module(frame),
            plugin=plugin,
            stream=stream,
            text=text,
            **trace_fields(self._telemetry.served()),
        )

    def _tell_record(self, record: logging.LogRecord) -> None:
        plugin = self.plugin_above(sys._getframe(1)) or self._owner(record.name)
        self._telemetry.emit_at(
            _level(record.levelno),
            PLUGIN_LOGGED,
            source=plugin or record.name,
            plugin=plugin,
            logger=record.name,
            text=_text(record),
            **trace_fields(self._telemetry.served()),
            traceback=_stacks(record),
        )

    def _tell_thread(self, args: threading.ExceptHookArgs) -> None:
        error = args.exc_value
        if error is None or isinstance(error, SystemExit):  # as Python's own hook has it
            return
        plugin, module = self.place_of(error)
        self._telemetry.emit(
            THREAD_FAILED,
            source=plugin or module,
            plugin=plugin,
            thread=args.thread.name if args.thread else "unknown",
            error=in_words(error),
            traceback=stack_of(error),
        )

    def _tell_ignored(self, args: sys.UnraisableHookArgs) -> None:
        error = args.exc_value
        if error is None:
            return
        plugin, module = self.place_of(error)
        self._telemetry.emit(
            ERROR_IGNORED,
            source=plugin or module,
            plugin=plugin,
            error=in_words(error),
            place=shortened(_repr(args.object), MAX_LINE_CHARS),
            traceback=stack_of(error),
        )

    def place_of(self, error: BaseException) -> tuple[str | None, str]:
        """Return the plugin that is innermost in an error's traceback, and the innermost module."""
        plugin, module = None, "unknown"
        step: TracebackType | None = error.__traceback__
        while step is not None:
            module = _module(step.tb_frame)
            plugin = self._owner(module) or plugin
            step = step.tb_next
        return plugin, module

    def plugin_above(self, frame: FrameType | None) -> str | None:
        """Return the innermost plugin among this frame and those that have called it."""
        for _ in range(_MAX_FRAMES):
            if frame is None:
                break
            plugin = self._owner(_module(frame))
            if plugin is not None:
                return plugin
            frame = frame.f_back
        return None

    def _owner(self, module: str) -> str | None:
        """Return whose a module is: by its own name, or by that of a package around it."""
        owners = self.owners
        while module:
            if module in owners:
                return owners[module]
            module = module.rpartition(".")[0]
        return None


class _Lines(io.RawIOBase):
    """What is printed to one stream, cut into lines.

    A line is told when it is complete. What each thread has printed of one is kept by itself.

    Args:
        behind: the real stream; its descriptor is told to whoever asks.
        tell: told of each line, and of the frame that prints it.
    """

    def __init__(self, behind: TextIO, tell: Callable[[str, FrameType], None]) -> None:
        self._behind, self._tell = behind, tell
        self._begun = threading.local()
        self._finished = False

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._behind.fileno()

    def write(self, data: bytes | bytearray | memoryview) -> int:  # type: ignore[override]
        piece = bytes(data)
        if self._finished:
            self._behind.write(piece.decode("utf-8", "backslashreplace"))
            return len(piece)
        begun = self._begun
        *lines, rest = (getattr(begun, "line", b"") + piece).split(b"\n")
        if len(rest) > MAX_LINE_CHARS:
            lines.append(rest)
            rest = b""
        begun.line = rest
        for line in lines:
            self._say(line, sys._getframe(1))
        return len(piece)

    def forget(self) -> None:
        """Forget the lines that have no end yet."""
        self._begun = threading.local()

    def finish(self) -> None:
        """Tell what this thread has printed of a line; pass on all that comes later."""
        if not self._finished:
            self._finished = True
            self._say(getattr(self._begun, "line", b""), sys._getframe(1))
            self.forget()

    def _say(self, line: bytes, frame: FrameType) -> None:
        text = line.decode("utf-8", "backslashreplace").rstrip()
        if text:
            self._tell(shortened(text, MAX_LINE_CHARS), frame)


class _Handler(logging.Handler):
    """Hands records to `tell`."""

    def __init__(self, tell: Callable[[logging.LogRecord], None]) -> None:
        super().__init__()
        self._tell = tell

    def handle(self, record: logging.LogRecord) -> bool:
        """Hand a record over without the handler's lock: nobody waits for another thread."""
        self._tell(record)
        return True


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "unknown"))


def _level(number: int) -> Level:
    """Return the highest level that is not above one of the module logging."""
    return max((each for each in Level if each <= number), default=Level.DEBUG)


def _text(record: logging.LogRecord) -> str:
    try:
        return shortened(record.getMessage(), MAX_LINE_CHARS)
    except Exception as error:  # arguments that do not fit, or one that has no text
        return f"a message of {record.pathname}:{record.lineno} has no text: {in_words(error)}"


def _stacks(record: logging.LogRecord) -> str | None:
    """Return the traceback and the stack that come with a record; None if there are none."""
    found = record.exc_text or ""
    if record.exc_info and record.exc_info[1] is not None and not found:
        found = stack_of(record.exc_info[1])
    found = "\n".join(filter(None, (found, record.stack_info)))
    return shortened(found, MAX_TRACEBACK_CHARS) or None


def _repr(value: object) -> str:
    with suppress(Exception):
        return repr(value)
    return f"a {type(value).__name__}"
