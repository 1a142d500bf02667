"""What a plugin requires is understood as installers understand it, or refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet

from host.plugin.discovery import Source
from host.plugin.requirements import keeps, parse, unmet

LINE = Source("line", "a.b", "Line", distribution="prefork-line", version="0.1.0", entry=True)
SELECTED = {"line": LINE, "mine": Source("mine", "", "", path=Path("mine.py"))}
INSTALLED = ("chat", "line")


@pytest.mark.parametrize("text", ["", ">=1", "line>1", "line==1", "line>=1.x", "line>=1,", "a b"])
def test_what_is_not_understood_is_refused(text):
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        parse(text)


@pytest.mark.parametrize("text", ["line", "line>=0.1", "line <0.2, >=0.0.9", "line>=0.1.0", "mine"])
def test_met(text):
    assert unmet(parse(text), SELECTED, INSTALLED) is None


@pytest.mark.parametrize(
    ("text", "wrong", "cure"),
    [
        ("chat>=1", 'it requires "chat>=1", which is not selected', "--plugin chat"),
        ("lime", 'not installed; did you mean "line"?\ninstalled: chat, line', "--plugin lime"),
        (
            "line >=0.2",
            'it requires "line >=0.2", and it is of prefork-line 0.1.0',
            'pip install "prefork-line>=0.2"',
        ),
        ("mine>=1", "and file ./mine.py has no version", "without a version"),
    ],
)
def test_unmet_is_told_with_the_cure(text, wrong, cure):
    found = unmet(parse(text), SELECTED, INSTALLED)
    assert found is not None
    assert wrong in found[0]
    assert cure in found[1]


def test_a_version_of_no_form_is_told():
    found = unmet(parse("line<2"), {"line": LINE._replace(version="latest")}, INSTALLED)
    assert found is not None
    assert "has a version that cannot be compared" in found[0]


NUMBERS = st.lists(st.integers(0, 3), min_size=1, max_size=4).map(lambda n: ".".join(map(str, n)))
EARLY = ["a1", "b2", "rc1", ".dev0", "-c1", "_pre2", "alpha", "preview1", "rc1.post1"]
ENDS = st.sampled_from(["", *EARLY, ".post1", "-1", ".post2.dev3", "+local.1", ".post1+dev.a"])
VERSIONS = st.builds("{}{}{}".format, st.sampled_from(["", "", "v", "0!", "1!"]), NUMBERS, ENDS)


@given(VERSIONS, st.lists(st.tuples(st.sampled_from([">=", "<"]), NUMBERS), max_size=3))
def test_versions_are_compared_as_installers_do(version, bounds):
    text = ", ".join(f"{sign} {release}" for sign, release in bounds)
    expected = SpecifierSet(text).contains(version, prereleases=True)
    assert keeps(version, parse(f"line{text}")) == expected
