"""Text made harmless has nothing that acts on a terminal."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from host.plugins.encoding import harmless


@given(st.text())
def test_harmless_text_has_nothing_that_acts(text):
    shown = harmless(text)
    assert len(shown) <= len(text)
    for char in shown:
        assert unicodedata.category(char) not in ("Cc", "Zl", "Zp")
        assert unicodedata.bidirectional(char) not in (
            "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI",
        )  # fmt: skip
    assert harmless(shown) == shown
