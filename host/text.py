"""Wording that several packages share: columns, names in messages, characters made visible."""

from __future__ import annotations

import functools
import os
from collections.abc import Collection, Iterable, Sequence

_CONTROL = {code: f"\\x{code:02x}" for code in [*range(0x20), *range(0x7F, 0xA0)]}
# Line and paragraph separators, and what reverses the order of the characters around it.
_CONTROL |= {code: f"\\u{code:04x}" for code in [*range(0x2028, 0x202F), *range(0x2066, 0x206A)]}


def aligned(lines: Sequence[Sequence[str]], text: Collection[int]) -> str:
    """Return lines whose columns are as wide as their longest cell.

    Args:
        lines: the cells of each line, as many in each.
        text: the numbers of the columns that begin at the left; the others are numbers.
    """
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in text else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def printable(text: str) -> str:
    """Return `text` with every control character spelled out.

    What a client sends ends up in log lines; it must neither forge one nor reach a terminal.
    """
    return text.translate(_CONTROL).encode("utf-8", "backslashreplace").decode()


def suggest(near: str | None) -> str:
    """Return the tail of a message that suggests the nearest valid name, if there is one."""
    return f'; did you mean "{near}"?' if near else ""


def counted(number: int, noun: str) -> str:
    """Return a number with what it counts: "1 worker", "2 workers"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


class Count(int):
    """A number that a format may name what it counts for: `{workers:worker}` is "2 workers"."""

    def __format__(self, specification: str) -> str:
        if len(specification) > 1 and specification.replace(" ", "").isalpha():
            return counted(self, specification)
        return super().__format__(specification)


def listed(names: Iterable[str]) -> str:
    """Return names as messages list them."""
    return ", ".join(names)


def named(called: object) -> tuple[str, str]:
    """Return the module and the name of what is called, as messages show them.

    Of an object that is no function they are those of its kind, and of functools.partial() those
    of the function in it: what objects and arguments say of themselves may be secret.
    """
    while isinstance(called, functools.partial) and not hasattr(called, "__qualname__"):
        called = called.func
    name = getattr(called, "__qualname__", type(called).__qualname__)
    return getattr(called, "__module__", None) or "?", name


def shorten(filename: str) -> str:
    """Return a file's name as messages show it: relative if it is below the current folder."""
    try:
        return filename.removeprefix(os.path.join(os.getcwd(), ""))
    except OSError:  # the folder was removed
        return filename


def reason(error: BaseException) -> str:
    """Return why something failed: for an OSError without its number and file."""
    return getattr(error, "strerror", None) or str(error)


MAX_ERROR_CHARS = 1_000
MAX_TRACEBACK_CHARS = 65_536
"""Longer texts are shortened in the middle: one may have all that a client has sent in it."""
MAX_VALUE_CHARS = 200


def shown(value: object) -> str:
    """Return a value of somebody else's as Python writes it, its beginning if that is long.

    It costs little, also for a list of a million members, and never raises an exception.
    """
    import reprlib  # noqa: PLC0415  (for that)

    form = reprlib.Repr()
    form.maxother = form.maxstring = form.maxlong = MAX_VALUE_CHARS
    try:
        return form.repr(value)
    except (Exception, SystemExit):
        return f"a {_kind(value)}"


_MOST_RELATED = 64
"""So many causes and members of groups of an error are shown. Python goes through all of them, also
for one line: a hundred thousand take longer than a worker may."""
_MOST_CHARS = 16 * MAX_TRACEBACK_CHARS
"""So long may the texts of all of them be."""


def in_words(error: BaseException) -> str:
    """Return kind and text of an error, as Python shows them, in one line, whatever it is."""
    import traceback  # noqa: PLC0415  (which `status --ready` does not need)

    try:
        lines = traceback.format_exception_only(error) if _is_small(error) else [_told(error)]
        text = "".join(lines).strip()
    except (Exception, SystemExit):  # what is shown of it are its own attributes
        text = f"{_kind(error)}: its text cannot be made"
    return shortened(text, MAX_ERROR_CHARS).replace("\n", "; ")


def told_with_place(error: BaseException) -> str:
    """Return what has failed, and in which line."""
    import traceback  # noqa: PLC0415  (for that)

    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{in_words(error)}, in {shorten(last.filename)}:{last.lineno}  {last.line}".rstrip()


def stack_of(error: BaseException) -> str:
    """Return an error's traceback, as Python shows it, or only what it is if it has none."""
    import traceback  # noqa: PLC0415  (for that)

    try:
        if _is_small(error):
            lines = traceback.format_exception(error)
        else:
            first = "(what caused it, and what is in it, is too much to be shown)\n"
            lines = [first, *traceback.format_tb(error.__traceback__), _told(error), "\n"]
        text = "".join(lines)
    except (Exception, SystemExit):
        text = f"{in_words(error)}\n"
    return shortened(text, MAX_TRACEBACK_CHARS)


def _is_small(error: BaseException) -> bool:
    """Tell whether few errors are causes of one or members of it, directly or not, in few words.

    Python copies their texts several times: with 200 MB of them that takes seconds.
    """
    seen: set[int] = set()
    left, members, length = [error], 0, 0
    while left and len(seen) + members <= _MOST_RELATED and length <= _MOST_CHARS:
        each = left.pop()
        if id(each) not in seen:
            seen.add(id(each))
            length += _length(each)
            left += [one for one in (each.__cause__, each.__context__) if one is not None]
            if isinstance(each, BaseExceptionGroup):
                members += len(each.exceptions)
                left += each.exceptions[:_MOST_RELATED]
    return len(seen) + members <= _MOST_RELATED and length <= _MOST_CHARS


def _told(error: BaseException) -> str:
    return f"{_kind(error)}: {shortened(str(error), MAX_TRACEBACK_CHARS)}"


def _length(error: BaseException) -> int:
    try:
        return len(str(error))
    except (Exception, SystemExit):  # that is told in its place
        return 0


def _kind(value: object) -> str:
    """Return the name of a value's class, whatever the class says of itself."""
    name: str = type.__dict__["__name__"].__get__(type(value))
    return name


def shortened(text: str, limit: int) -> str:
    """Return `text`, or its beginning and its end with what is left out counted between them."""
    if len(text) <= limit:
        return text
    half = limit // 2
    left_out = counted(len(text) - 2 * half, "character")
    return f"{text[:half]}\n... {left_out} left out ...\n{text[-half:]}"
