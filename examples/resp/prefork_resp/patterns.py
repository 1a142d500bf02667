"""Patterns as Redis has them for channels and names of settings (PSUBSCRIBE in its reference)."""

from __future__ import annotations

import re

_PARTS = re.compile(
    rb"""
    (?P<stars>\*+) | (?P<one>\?)
    | \[(?P<no>\^?)(?P<set>(?: \\. | [^\]]-. | [^\]] )*)(?:\]|\Z)  # the end of a range may be ]
    | \\?(?P<byte>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_MEMBERS = re.compile(
    rb"\\(?P<byte>.) | (?P<first>.)-(?P<last>.) | (?P<other>.)", re.VERBOSE | re.DOTALL
)


def compile_pattern(pattern: bytes) -> re.Pattern[bytes]:
    r"""Return what matches what a pattern does, as a whole.

    `*` stands for any bytes and `?` for one, `[ab]` and `[a-z]` for one of these, `[^a]` for one
    that is none of these, and `\` takes the meaning from what follows. Only an empty pattern
    matches what is empty.

    What stands between two stars is looked for once and never again (an atomic group): so the time
    is bounded by the product of both lengths, whoever has written the pattern.
    """
    groups = [b"(?=.)" if pattern else b""]
    for part in _PARTS.finditer(pattern):
        if part["stars"]:
            groups.append(b"")
        elif part["one"]:
            groups[-1] += b"."
        elif part["set"] is not None:
            groups[-1] += _one_of(part["set"], negated=bool(part["no"]))
        else:
            groups[-1] += re.escape(part["byte"])
    first, *rest = groups
    if not rest:
        return re.compile(first, re.DOTALL)
    *between, last = rest
    return re.compile(
        first + b"".join(b"(?>.*?%b)" % group for group in between) + b".*" + last, re.DOTALL
    )


def _one_of(members: bytes, negated: bool) -> bytes:
    """Return what matches one byte of a set, or one that is not in it."""
    found = []
    for member in _MEMBERS.finditer(members):
        single = member["byte"] or member["other"]
        ends = sorted((member["first"] or single, member["last"] or single))
        found.append(b"\\x%02x-\\x%02x" % (ends[0][0], ends[1][0]))
    if not found:
        return b"." if negated else b"(?!)"
    return b"[%b%b]" % (b"^" * negated, b"".join(found))
