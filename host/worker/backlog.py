"""What the kernel has not taken yet of what a connection has written: bytes, and parts of files."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections import deque
from collections.abc import Callable, Sequence

from host.interfaces import HasFileno
from host.text import counted

_SLICE = 262_144
"""How many bytes one system call is offered: about what a loopback socket takes at a time."""

_MOST_PIECES = 64
_SMALL_BYTES, _TOGETHER_BYTES = 1024, 16_384
"""What is smaller is put together, into pieces of about this size."""

Write = Callable[[int, Sequence[memoryview]], int]
"""Sends pieces one after the other, as writev(2) does."""
SendFile = Callable[[int, int, int, int], int]
"""Sends from a file as sendfile(2) does: socket, file, offset and count."""


class FileUnsendableError(Exception):
    """A file has become shorter than what was to be sent of it, or cannot be read."""


_OF_THE_PEER = frozenset(
    {errno.EPIPE, errno.ECONNRESET, errno.ECONNABORTED, errno.ETIMEDOUT, errno.ENOTCONN}
    | {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN, errno.ENOBUFS}
)
"""Errors of sendfile(2) that the socket has; all others are the file's."""


class BytesBacklog:
    """A backlog without files.

    What is written is kept as it is, and not copied: of a message to a thousand slow readers there
    is one in memory. Small pieces are put together, since each would take more memory by itself
    than the bytes in it.
    """

    __slots__ = ("_pieces", "in_memory")

    def __init__(self, data: bytes | memoryview) -> None:
        self._pieces: deque[bytes | bytearray | memoryview] = deque([data])
        self.in_memory = len(data)

    def __len__(self) -> int:
        return self.in_memory

    def append(self, data: bytes) -> None:
        """Add what was written after all this."""
        self.in_memory += len(data)
        last = self._pieces[-1]
        if len(data) >= _SMALL_BYTES:
            self._pieces.append(data)
        elif isinstance(last, bytearray) and len(last) < _TOGETHER_BYTES:
            last += data
        else:
            self._pieces.append(bytearray(data))

    def send(self, fd: int, write: Write, _send_file: SendFile) -> int:
        """Send some of it to `fd` and forget that; return how many bytes.

        Raises:
            BlockingIOError: the peer takes nothing now.
            OSError: nothing can be sent any more.
        """
        offered, size = [], 0
        for piece in self._pieces:
            offered.append(memoryview(piece)[: _SLICE - size])
            size += len(offered[-1])
            if size == _SLICE or len(offered) == _MOST_PIECES:
                break
        try:
            sent = left = write(fd, offered)
        finally:
            offered.clear()  # a bytearray of which there is a view cannot grow
        while left and left >= len(self._pieces[0]):
            left -= len(self._pieces.popleft())
        if left:
            self._pieces[0] = rest_of(self._pieces[0], left)
        self.in_memory -= sent
        return sent

    def close(self) -> None:
        """Give up what waits."""
        self._pieces.clear()
        self.in_memory = 0


class Farewell(BytesBacklog):
    """The last word of a connection that has sent all: the end of its TLS session.

    None of it is the plugin's, so it has no length. But the kernel may have no room for it.

    Args:
        flush: sends it to a descriptor; tells whether all of it is taken.
    """

    __slots__ = ("_flush", "_waits")

    def __init__(self, flush: Callable[[int], bool]) -> None:
        super().__init__(b"")
        self._flush, self._waits = flush, True

    def __bool__(self) -> bool:
        return self._waits

    def send(self, fd: int, _write: Write, _send_file: SendFile) -> int:
        """Send it, or what is left of it; none of it counts.

        Raises:
            BlockingIOError: the peer does not take all of it now.
            OSError: nothing can be sent any more.
        """
        if not self._flush(fd):
            raise BlockingIOError
        self._waits = False
        return 0


def rest_of(piece: bytes | bytearray | memoryview, start: int) -> bytes | memoryview:
    """Return what follows `start`: a view, or a copy if that keeps less in memory."""
    view = memoryview(piece)[start:]
    kept = view.obj
    whole = len(kept) if isinstance(kept, bytes) else 0
    return view if whole and whole <= 2 * len(view) else view.tobytes()


class FilePart:
    """A part of a file that is to be sent; it has a descriptor of its own, and closes it.

    Args:
        file: an open regular file, or its descriptor.
        offset: where the part begins, in bytes.
        count: how many bytes it has; None: up to the end of the file.

    Raises:
        ValueError: it is no regular file, not open for reading, or has no such part.
        OSError: the descriptor is closed, or there is no other left (dup(2)).
    """

    __slots__ = ("_fd", "_offset", "left")

    def __init__(self, file: int | HasFileno, offset: int, count: int | None) -> None:
        given = file if isinstance(file, int) else file.fileno()
        found = os.fstat(given)
        mode = fcntl.fcntl(given, fcntl.F_GETFL)
        if mode & os.O_ACCMODE == os.O_WRONLY or mode & os.O_PATH:
            raise ValueError("send_file() takes a file that is open for reading")
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("send_file() takes a regular file, not a pipe, socket or device")
        left = found.st_size - offset if count is None else count
        if offset < 0 or left < 0 or offset + left > found.st_size:
            size = counted(found.st_size, "byte")
            raise ValueError(f"the file has {size}: there are no {left} from {offset} on")
        self._offset, self.left = offset, left
        self._fd = os.dup(given)

    def send(self, fd: int, send_file: SendFile) -> int:
        """Send some of it to `fd`; return how many bytes.

        Raises:
            BlockingIOError: the peer takes nothing now.
            OSError: nothing can be sent any more.
            FileUnsendableError: the file is too short, or cannot be read.
        """
        try:
            sent = send_file(fd, self._fd, self._offset, min(self.left, _SLICE))
        except BlockingIOError:
            raise
        except OSError as error:
            if error.errno in _OF_THE_PEER:
                raise
            raise FileUnsendableError(
                f"the file to be sent cannot be read: {error.strerror}"
            ) from error
        if not sent:
            raise FileUnsendableError(
                f"the file to be sent has ended {counted(self.left, 'byte')} too early"
            )
        self._offset += sent
        self.left -= sent
        return sent

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._fd)


class Mark:
    """A place in a backlog: once all that was written before it is sent, `function` is called.

    It is called while the backlog is sent, so it must neither send nor give up what waits.
    """

    __slots__ = ("function",)

    def __init__(self, function: Callable[[], object]) -> None:
        self.function = function

    def close(self) -> None:
        """Have nothing to close."""


class FilesBacklog:
    """A backlog with files and marks: pieces that are sent one after the other, and never empty.

    A mark is never the first of them.
    """

    __slots__ = ("_left", "_pieces", "in_memory")

    def __init__(self, before: BytesBacklog | None = None) -> None:
        self._pieces: deque[BytesBacklog | FilePart | Mark] = deque([before] if before else [])
        self._left = self.in_memory = len(before) if before else 0

    def __len__(self) -> int:
        return self._left

    def append(self, data: bytes) -> None:
        """Add what was written after all this."""
        last = self._pieces[-1] if self._pieces else None
        if isinstance(last, BytesBacklog):
            last.append(data)
        else:
            self._pieces.append(BytesBacklog(data))
        self.in_memory += len(data)
        self._left += len(data)

    def append_file(self, part: FilePart) -> None:
        """Add a part of a file, which is closed here."""
        self._pieces.append(part)
        self._left += part.left

    def append_mark(self, mark: Mark) -> None:
        """Add a mark behind what waits; something does."""
        self._pieces.append(mark)

    def send(self, fd: int, write: Write, send_file: SendFile) -> int:
        """Send some of it to `fd` and forget that; return how many bytes, or raise."""
        piece = self._pieces[0]
        assert not isinstance(piece, Mark)
        if isinstance(piece, FilePart):
            sent, left = piece.send(fd, send_file), piece.left
        else:
            sent = piece.send(fd, write, send_file)
            left = len(piece)
            self.in_memory -= sent
        self._left -= sent
        if not left:
            self._pieces.popleft().close()
            if self._pieces and isinstance(mark := self._pieces[0], Mark):
                self._pieces.popleft()
                mark.function()
        return sent

    def close(self) -> None:
        """Give up what waits, and close the files."""
        for piece in self._pieces:
            piece.close()
        self._pieces.clear()
        self._left = self.in_memory = 0


Backlog = BytesBacklog | FilesBacklog
"""What waits, in the order in which it was written; its length is all of it in bytes."""
