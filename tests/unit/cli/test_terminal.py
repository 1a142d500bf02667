"""Keys are told apart from the sequences that have letters in them."""

import pytest

from host.cli.terminal import QUIT, keys


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("q", [QUIT]),
        ("cE R", ["c", "e", " ", "r"]),
        ("\x1b[A\x1bOBq", ["up", "down", QUIT]),
        ("\x1b[5~\x1b[6~\x1b[H", ["page up", "page down", "home"]),
        ("\x1b[1;5C", ["\x1b[1;5C"]),
        ("\x1ba", ["\x1ba"]),
        ("\x1b", ["\x1b"]),
        ("é", ["é"]),
        ("", []),
    ],
)
def test_what_is_typed(typed, expected):
    assert keys(typed) == expected
