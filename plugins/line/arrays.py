r"""Requests that come as arrays of words: `*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n` is `ECHO hi`.

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
_END = b"\r\n"


Words = Sequence[bytes]
"""The words of a request, as they came."""


def line_of(words: Words) -> bytes:
    """Return the words as one line, without an end of line in it: some plugins rely on that."""
    line = b" ".join(words)
    return line.replace(b"\n", b" ") if b"\n" in line else line


def one_array(data: bytes) -> list[bytes] | None:
    """Return the words of `data` if it is one whole array, as most often; None if it is not.

    Args:
        data: at most `AT_ONCE_BYTES` bytes.
    """
    pieces = data.split(_END)
    words = pieces[2::2]
    if len(words) != _COUNTS.get(pieces[0]):
        return None
    return words if pieces[1::2] == [*map(_length_of, map(len, words)), b""] else None


Cut = tuple[list[bytes], list[Words], Sequence[int], list[bytes]]
"""Whole arrays as lines; the words of each; the number of pieces before each and after the last
one; and the pieces, which are what is between the ends of lines in the data."""


def cut_arrays(data: bytes, max_bytes: int) -> Cut:
    """Cut the whole arrays with which `data` begins, up to the first that is odd or unfinished.

    Args:
        data: at most `AT_ONCE_BYTES` bytes.
        max_bytes: the longest line.
    """
    pieces = data.split(_END)
    count = _COUNTS.get(pieces[0])
    last = len(pieces) - 1
    if count is not None and len(data) <= max_bytes and data.count(b"\n") == last:
        alike = _cut_alike(pieces, count)
        if alike:
            whole: list[Words] = list(zip(*alike, strict=True))
            lines = alike[0] if count == 1 else list(map(b" ".join, whole))
            step = 1 + 2 * count
            return lines, whole, range(0, step * len(whole) + 1, step), pieces
    return _cut_one_by_one(pieces, max_bytes)


def _cut_one_by_one(pieces: list[bytes], max_bytes: int) -> Cut:
    """Cut arrays of which nothing is known."""
    requests: list[Words] = []
    places, at = [0], 0
    last = len(pieces) - 1
    while at < last:
        count = _COUNTS.get(pieces[at])
        if count is None:
            break
        end = at + 1 + 2 * count
        if end > last:
            break
        words = pieces[at + 2 : end : 2]
        sizes = list(map(len, words))
        if pieces[at + 1 : end : 2] != list(map(_length_of, sizes)):
            break  # a word holds an end of line, too
        if sum(sizes) + count - 1 > max_bytes:
            break
        requests.append(words)
        places.append(end)
        at = end
    return list(map(line_of, requests)), requests, places, pieces


def _cut_alike(pieces: list[bytes], count: int) -> list[list[bytes]]:
    """Return all first words, all second ones, … if all whole arrays have `count` of them.

    Those of a pipeline often have: all are compared at once, which takes a fraction of the time.
    Empty if they differ.
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
    return columns
