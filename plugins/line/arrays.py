r"""Requests that come as arrays of words: `*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n` is the line `ECHO hi`.

The form is that of Redis (its protocol specification, RESP, "Sending commands to a Redis server").
Here whole arrays are read, many at a time; one that comes in parts is put together word by word.
"""

from __future__ import annotations

from collections.abc import Sequence

MAX_WORDS = 1024
"""The longest array of words; the bytes of all of them are limited like a line."""
AT_ONCE_BYTES = 2048
"""In how many bytes whole arrays are looked for at a time."""

_COUNTS = {b"*%d" % count: count for count in range(1, MAX_WORDS + 1)}
_LENGTHS = [b"$%d" % size for size in range(AT_ONCE_BYTES + 1)]
_length_of = _LENGTHS.__getitem__


def cut_arrays(data: bytes, max_bytes: int) -> tuple[list[bytes], Sequence[int], list[bytes]]:
    """Cut the whole arrays with which `data` begins, up to the first that is odd or unfinished.

    Args:
        data: at most `AT_ONCE_BYTES` bytes.
        max_bytes: the longest line.

    Returns:
        A line for each array; the number of pieces before each array and after the last one; and
        the pieces, which are what is between the ends of lines in `data`.
    """
    pieces = data.split(b"\r\n")
    last = len(pieces) - 1
    count = _COUNTS.get(pieces[0])
    step = 0 if count is None else 1 + 2 * count
    if count is not None and last > step and data.count(b"\n") == last:
        alike = _cut_alike(pieces, count)
        if alike and max(map(len, alike)) <= max_bytes:
            return alike, range(0, step * len(alike) + 1, step), pieces
    lines, places, at = [], [0], 0
    while at < last:
        count = _COUNTS.get(pieces[at])
        if count is None:
            break
        end = at + 1 + 2 * count
        if end > last:
            break
        if count == 1:
            line = pieces[at + 2]
            if pieces[at + 1] != _LENGTHS[len(line)]:
                break  # the word holds an end of line, too
        else:
            words = pieces[at + 2 : end : 2]
            if pieces[at + 1 : end : 2] != list(map(_length_of, map(len, words))):
                break
            line = b" ".join(words)
        if len(line) > max_bytes:
            break
        # Whoever answers lines relies on there being no end of line in them.
        lines.append(line.replace(b"\n", b" ") if b"\n" in line else line)
        places.append(end)
        at = end
    return lines, places, pieces


def _cut_alike(pieces: list[bytes], count: int) -> list[bytes]:
    """Return the lines if all whole arrays have `count` words, as those of a pipeline often have.

    All of them are compared at once, which takes a fraction of the time. Empty if they differ.
    """
    step = 1 + 2 * count
    end = (len(pieces) - 1) // step * step
    if pieces[0:end:step].count(pieces[0]) * step != end:
        return []
    columns = []
    for at in range(1, step, 2):
        words = pieces[at + 1 : end : step]
        if pieces[at:end:step] != list(map(_length_of, map(len, words))):
            return []
        columns.append(words)
    return columns[0] if count == 1 else list(map(b" ".join, zip(*columns, strict=True)))
