"""Nicks and rooms: what is allowed in them, and when two are the same."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

from host.plugins.chat.lookalikes import is_in_use, is_stacked, seen_as

_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
"""Letters and marks that show nothing (Unicode, Default_Ignorable_Code_Point)."""
_WRITTEN_TOGETHER = (
    frozenset({"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "IDEOGRAPHIC"}),
    frozenset({"CJK", "HANGUL"}),
    frozenset({"CJK", "BOPOMOFO"}),
)


def fold(name: str) -> str:
    """Return a name in the form in which names are compared: equal if they count as the same.

    The i of Turkish that has no dot is a small I, and its I that has one a capital i: in any other
    language the two cannot be told from each other.
    """
    folded = unicodedata.normalize("NFKC", name).casefold().replace("\u0131", "i")
    return unicodedata.normalize("NFKC", folded.replace("i\u0307", "i"))


def key_of(nick: str) -> str:
    """Return what only one user may have: nicks that look the same have the same key.

    That is meant of nicks of different scripts, of which all letters look like Latin ones.
    """
    folded = fold(nick)
    scripts = set(_scripts(folded))
    return seen_as(folded, scripts.pop()) if len(scripts) == 1 else folded


def nick_of(given: str, max_chars: int) -> tuple[str, str]:
    """Return the nick and what is wrong with it, which is empty if nothing is."""
    nick = unicodedata.normalize("NFC", given)
    return nick, _problem("a nick", nick, max_chars) or _problem("a nick", fold(nick), max_chars)


def room_of(given: str, max_chars: int) -> tuple[str, str]:
    """Return the room's name, folded and with its `#`, and what is wrong with it."""
    if not given.startswith("#"):
        return given, f"a room's name begins with #, as in #{given[:max_chars]}"
    name = fold(given[1:])
    return f"#{name}", _problem("a room's name", name, max_chars)


def _problem(what: str, name: str, max_chars: int) -> str:
    if len(name) > max_chars:
        return f"{what} has {max_chars} characters at most"
    if not name or not _may_begin(name[0]) or not all(map(_may_follow, name)):
        return f"{what} has letters, digits, and - _ . after the first one"
    if not _is_of_one_script(name):
        return f"{what} has letters of one script: others look the same and are not"
    if is_stacked(name) or not all(is_in_use(char, _script(char)) for char in name):
        return f"{what} has letters that people are named with: others only look like them"
    return ""


def _may_begin(char: str) -> bool:
    return char == "_" or (char.isalnum() and char not in _BLANK)


def _may_follow(char: str) -> bool:
    if char in "-." or _may_begin(char):
        return True
    # Some scripts write vowels as marks, which have the script's name. Those that are hung on any
    # letter are a part of it already (NFC) or mere decoration; those that choose a glyph (FE00 to
    # FE0F, 180B to 180F, E0100 on) show nothing.
    if char in _BLANK or _script(char) in ("COMBINING", "VARIATION", "MONGOLIAN", "ENCLOSING", "?"):
        return False
    return unicodedata.category(char).startswith("M")


def _script(char: str) -> str:
    return unicodedata.name(char, "?").split()[0]


def _is_of_one_script(name: str) -> bool:
    """Tell whether all letters are of one script, or of those that are written together.

    A letter's name begins with that of its script, for want of the property itself in unicodedata
    (Unicode Technical Standard 39, 5.1, has what is written together), and so does that of a number
    that is no digit. Digits of a script go with its letters, those of ASCII with all letters, and
    with no other digits (the same, 5.3): a Bengali four looks like an eight.
    """
    others = [char for char in name if char.isdecimal() and not char.isascii()]
    if others and any(char in "0123456789" for char in name):
        return False
    scripts = {*_scripts(name), *map(_script_of_digit, others)}
    return len(scripts) <= 1 or any(scripts <= together for together in _WRITTEN_TOGETHER)


def _scripts(name: str) -> Iterator[str]:
    """Yield the script of each letter and mark, and of each number that is no digit."""
    for char in name:
        if unicodedata.category(char)[0] in "LM" or (char.isnumeric() and not char.isdecimal()):
            yield _script(char)


def _script_of_digit(char: str) -> str:
    script = _script(char)
    return "ARABIC" if script in ("ARABIC-INDIC", "EXTENDED") else script
