"""Letters that look like others of the same script, or of another one."""

from __future__ import annotations

import unicodedata
from itertools import pairwise

_RARE = "ƁɓƆɔƉɖƊɗƏəƐɛƑƒƓɠƔɣƗɨƘƙƝɲƠơƤƥƩʃƬƭƯưƱʊƳƴɄʉɅʌ"
"""Letters of the Latin extensions that languages of today are written with: Vietnamese and
Azerbaijani, Hausa, Fula, Ewe, Akan, and others of Africa."""
_IN_USE = {
    "LATIN": frozenset(
        map(
            chr,
            (
                *range(0x41, 0x180),
                *range(0x1CD, 0x1F6),
                *range(0x1F8, 0x21C),
                *range(0x21E, 0x220),
                *range(0x226, 0x234),
                *range(0x1E00, 0x1F00),
                *map(ord, _RARE),
            ),
        )
    )
    - {"ĸ", "ǝ"},
    "CYRILLIC": frozenset(map(chr, (*range(0x400, 0x484), *range(0x48A, 0x530)))),
    "GREEK": frozenset(map(chr, (*range(0x370, 0x400), *range(0x1F00, 0x2000)))) - {"\u03f3"},
}
"""What names are written with in the scripts that have most letters besides, which phonetics and
old manuscripts need: small capitals, clicks, turned letters. Many look like others of the script,
and Unicode's table of those is not at hand."""
_DECORATION = frozenset("ـߺ")
"""Lines that make a word of Arabic or N'Ko longer, and are no letters."""

_SEEN_AS = {
    "CYRILLIC": str.maketrans("авгеікмнорстухьјѕһԁԛԝӏ", "abreikmhopctyxbjshdqwl"),
    "GREEK": str.maketrans("αβγεζηικμνορτυχω", "abyeznikmvoptuxw"),
    "CHEROKEE": str.maketrans("ᎪᏴᏟᎠᎬᏀᎻᎫᏦᏞᎷᏢᎡᏚᎢᏙᎳᎽᏃ", "abcdeghjklmprstvwyz"),
    "LISU": str.maketrans("ꓮꓐꓚꓓꓰꓝꓖꓧꓲꓙꓗꓡꓟꓠꓳꓑꓣꓢꓔꓴꓦꓪꓫꓬꓜ", "abcdefghijklmnoprstuvwxyz"),
}
"""As what letters are seen, small or capital ones, where there is no other to show the script."""


def is_in_use(char: str, script: str) -> bool:
    """Tell whether names are written with this letter of a script."""
    in_use = _IN_USE.get(script)
    return char not in _DECORATION and (in_use is None or char in in_use)


def is_stacked(name: str) -> bool:
    """Tell whether a mark follows itself: one is drawn over the other and cannot be seen."""
    return any(one == next_one and unicodedata.combining(one) for one, next_one in pairwise(name))


def seen_as(folded: str, script: str) -> str:
    """Return a name as it looks to those who read Latin letters, if it can look so, or itself.

    Args:
        folded: the name.
        script: that of its letters.
    """
    table = _SEEN_AS.get(script)
    if table is None:
        return folded
    seen = folded.translate(table)
    return seen if seen.isascii() else folded
