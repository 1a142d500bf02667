r"""Requests that come as arrays of words: `*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n` is the line `ECHO hi`.

The form is that of Redis (its protocol specification, RESP, "Sending commands to a Redis server").
Here whole arrays are read, many at a time; one that comes in parts is put together word by word.
"""

from __future__ import annotations

MAX_WORDS = 1024
"""The longest array of words; the bytes of all of them are limited like a line."""
AT_ONCE_BYTES = 2048
"""In how many bytes whole arrays are looked for at a time."""

_COUNTS = {b"*%d" % count: count for count in range(1, MAX_WORDS + 1)}
_LENGTHS = [b"$%d" % size for size in range(AT_ONCE_BYTES + 1)]
_length_of = _LENGTHS.__getitem__


def cut_arrays(data: bytes, max_bytes: int) -> tuple[list[bytes], list[int], list[bytes]]:
    """Cut the whole arrays with which `data` begins, up to the first that is odd or unfinished.

    Args:
        data: at most `AT_ONCE_BYTES` bytes.
        max_bytes: the longest line.

    Returns:
        A line for each array; the number of pieces before each array and after the last one; and
        the pieces, which are what is between the ends of lines in `data`.
    """
    pieces = data.split(b"\r\n")
    lines, places, at, last = [], [0], 0, len(pieces) - 1
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
