"""What tasks print, on its way to the worker: a part of the program of a process (`child`)."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from typing import Any, Protocol

_OUTPUT_BYTES = 1024
"""How much of what is printed is one frame, if lines are not longer."""
_LONGEST_LINE = 65_536
"""How long a line may be that is kept until it is complete."""


class Sender(Protocol):
    """What output needs of the process's end of its socket."""

    def is_fork(self) -> bool:
        """Tell whether this process is one that a task has forked."""

    def send(self, kind: int, data: bytes = b"") -> None:
        """Send a frame, whole."""


class Output(io.RawIOBase):
    """Sends what is printed to the worker, which tells each line as an event.

    A line is kept until it is complete, since `print` writes its end apart from its text.

    Args:
        kind: the kind of its frames.
        channel: sends them.
    """

    def __init__(self, kind: int, channel: Sender) -> None:
        super().__init__()
        self._kind, self._channel = kind, channel
        self._line = bytearray()
        self._is_told = False  # what there was of this line was sent before its end
        self._lock = threading.Lock()

    def writable(self) -> bool:
        """Tell that it can be written to."""
        return True

    def write(self, data: Any) -> int:
        """Send the lines that are complete."""
        text = bytes(data)
        if self._channel.is_fork():
            return len(text)
        with self._lock:
            if end := text.rfind(b"\n") + 1:
                self._send(bytes(self._line) + text[:end])
                self._line = bytearray()
            self._line += text[end:]
            if len(self._line) > _LONGEST_LINE:
                self._send_line()
        return len(text)

    def end_line(self) -> None:
        """Send what there is of a line that is not complete."""
        if not self._channel.is_fork():
            with self._lock:
                self._send_line()

    def _send_line(self) -> None:
        if self._line:
            self._send(bytes(self._line))
            self._line, self._is_told = bytearray(), True

    def _send(self, text: bytes) -> None:
        if self._is_told:
            text, self._is_told = text.removeprefix(b"\n"), False
        for piece in in_pieces(text):
            self._channel.send(self._kind, piece)


class Stream(io.TextIOWrapper):
    """What a task prints to; a line that is not complete is told when it is flushed.

    Args:
        output: where it goes. It is flushed by itself after each line, apart from `flush`.
    """

    def __init__(self, output: Output) -> None:
        self._output = output
        super().__init__(
            io.BufferedWriter(output), "utf-8", "backslashreplace", line_buffering=True
        )

    def flush(self) -> None:
        """Have all told that was printed."""
        super().flush()
        self._output.end_line()


def in_pieces(text: bytes) -> Iterator[bytes]:
    """Yield a text in pieces of whole lines, of about a kilobyte: the worker tells them in turn."""
    start = 0
    while start < len(text):
        end = text.rfind(b"\n", start, start + _OUTPUT_BYTES) + 1
        if not end:  # a longer line stays whole
            end = text.find(b"\n", start) + 1 or len(text)
        yield text[start:end]
        start = end
