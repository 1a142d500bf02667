"""Text of clients that others will see: what a terminal might act on is taken out."""

from __future__ import annotations

import re

_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x9b[0-?]*[ -/]*[@-~]|\x1b[ -/]*[0-Z\\^-~]")
"""Control sequences and escape sequences (ECMA-48, 5.4 and ECMA-35, 13.2)."""
_HARMFUL = dict.fromkeys(
    [
        *range(32),
        *range(127, 160),
        0x061C,  # with the next ones: marks and controls of direction (Unicode, UAX #9)
        *range(0x200E, 0x2010),
        *range(0x2028, 0x202F),  # line and paragraph separators, too
        *range(0x2066, 0x2070),
        0xFEFF,
        *range(0xFFF9, 0xFFFC),
    ],
    " ",
)


def harmless(text: str) -> str:
    """Return `text` without escape sequences, and with a space for each other control character."""
    if text.isprintable():
        return text
    return _SEQUENCE.sub("", text).translate(_HARMFUL)
