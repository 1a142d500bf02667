"""Finds the valid name that a misspelt one was probably meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, candidates: Iterable[str], likeness: float = 0.6) -> str | None:
    """Return the candidate most like `word`, or None when none is near enough to suggest.

    Case is ignored, since `PREFORK_workers` and `Limits` are misspelt only in that. A wrong
    suggestion costs the reader more than none, hence a least `likeness`: difflib's own by default.
    """
    by_folded: dict[str, str] = {}
    for candidate in candidates:
        by_folded.setdefault(candidate.casefold(), candidate)
    found = difflib.get_close_matches(word.casefold(), by_folded, n=1, cutoff=likeness)
    return by_folded[found[0]] if found else None
