"""Plugins come in the order that they declare, and else in the order that they have."""

from __future__ import annotations

import random
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.plugin.declarations import Declaration
from host.plugin.ordering import Order, cycles, saying


class Item(NamedTuple):
    plugin: str
    wrapper: bool = False


def arranged(names, **declarations):
    """Return in which order plugins are called; what is declared is written "after b, before c"."""
    declared = {name: Declaration() for name in names.split()}
    for name, text in declarations.items():
        lists = {"after": [], "before": []}
        for part in text.split(", "):
            key, _, other = part.partition(" ")
            lists[key].append(other)
        declared[name] = Declaration(tuple(lists["after"]), tuple(lists["before"]))
    items = [Item(each) for each in names.split()]
    return " ".join(each.plugin for each in Order(declared).arranged(items))


@pytest.mark.parametrize(
    ("names", "declarations", "expected"),
    [
        ("a b c", {}, "a b c"),
        ("a b c d", {"d": "before b"}, "a d b c"),
        ("a b c d", {"a": "after c"}, "b c a d"),
        ("a b c", {"c": "after a"}, "a b c"),
        ("a b c", {"b": "after nobody, before nobody"}, "a b c"),
        ("a b c d", {"c": "before a", "d": "before c"}, "d c a b"),
        ("a b c d", {"a": "after c, before d"}, "b c a d"),
        ("a b c", {"a": "after b", "b": "after c"}, "c b a"),
        # The two say the same thing of each other.
        ("a b c", {"a": "after c", "c": "before a"}, "c a b"),
        # Neither b nor d says anything, and yet f has d before b.
        ("b d f", {"f": "after d, before b"}, "d f b"),
    ],
)
def test_who_declares_something_moves_and_no_further_than_it_must(names, declarations, expected):
    assert arranged(names, **declarations) == expected


def test_wrappers_are_called_around_the_others_whatever_is_declared():
    silent = Declaration()
    order = Order({"outer": Declaration(after=("inner",)), "inner": silent, "c": silent})
    items = [Item("outer", True), Item("inner", True), Item("c"), Item("outer"), Item("inner")]
    assert order.arranged(items) == [
        Item("inner", True),
        Item("outer", True),
        Item("c"),
        Item("inner"),
        Item("outer"),
    ]


def test_a_declaration_holds_over_a_plugin_that_has_not_the_hook():
    between = Declaration(after=("c",))
    order = Order({"a": Declaration(after=("b",)), "b": between, "c": Declaration()})
    assert order.arranged([Item("a"), Item("c")]) == [Item("c"), Item("a")]


def test_cycles_are_all_found_and_begin_with_their_first_name():
    declared = {
        "c": Declaration(before=("a",)),
        "b": Declaration(after=("a",), before=("c",)),
        "a": Declaration(),
        "y": Declaration(after=("x",), before=("x",)),
        "x": Declaration(),
        "alone": Declaration(after=("a",)),
    }
    assert cycles(declared) == [["a", "b", "c"], ["x", "y"]]
    assert saying(declared, "a", "b") == '"b" declares after "a"'
    assert saying(declared, "b", "c") == '"b" declares before "c"'


NAMES = ("a", "b", "c", "d", "e", "f")
DECLARATIONS = st.dictionaries(
    st.sampled_from(NAMES),
    st.builds(
        Declaration,
        st.lists(st.sampled_from(NAMES), max_size=2).map(tuple),
        st.lists(st.sampled_from(NAMES), max_size=2).map(tuple),
        st.just(()),
    ),
)


@given(DECLARATIONS, st.permutations(NAMES), st.sets(st.sampled_from(NAMES)), st.randoms())
def test_every_declaration_is_kept_and_nothing_but_the_order_of_the_items_counts(
    declared, names, implementing, shuffler: random.Random
):
    declared = {name: declared.get(name, Declaration()) for name in NAMES}
    declared = {
        name: Declaration(*(tuple(n for n in names if n != name) for names in each[:2]))
        for name, each in declared.items()
    }
    circles = cycles(declared)
    shuffled = dict(shuffler.sample(list(declared.items()), len(declared)))
    assert cycles(shuffled) == circles
    if circles:
        for circle in circles:
            for first, second in zip(circle, [*circle[1:], circle[0]], strict=True):
                assert second in declared[first].before or first in declared[second].after
        return
    items = [Item(name) for name in names if name in implementing]
    found = [each.plugin for each in Order(declared).arranged(items)]
    assert sorted(found) == sorted(implementing)
    place = {name: number for number, name in enumerate(found)}
    for name, each in declared.items():
        for first, second in [(a, name) for a in each.after] + [(name, b) for b in each.before]:
            assert not {first, second} <= implementing or place[first] < place[second]
    assert [each.plugin for each in Order(shuffled).arranged(items)] == found
