"""A mark is one word of the scoreboard, and says again what went into it."""

from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.hookspecs import TABLE, on_host_start
from host.ipc.current_call import (
    CALLBACK,
    KINDS,
    CurrentCall,
    callback_words,
    kind_of,
    pack_call,
    serial_of,
    unpack_call,
)

WORDS = st.integers(0, 2**64 - 1)
CALLED = st.sampled_from(sorted(KINDS))


@given(CALLED, st.integers(0, 2**40 - 1), st.integers(0, 0xFFFF))
def test_a_mark_says_what_went_into_it_and_fits_a_word(called, serial, listener):
    word = pack_call(called, serial, listener)
    assert 0 < word < 2**64
    assert unpack_call(word) == CurrentCall(called, serial, listener)
    assert serial_of(word) == serial


@given(WORDS)
def test_any_word_is_a_mark_or_none(word):
    found = unpack_call(word)
    if word & 0xFF in KINDS:
        assert pack_call(found.called, found.serial, found.listener) == word
    else:
        assert found is None


def test_a_word_of_nothing_is_no_mark():
    assert unpack_call(0) is None


@given(CALLED, CALLED, st.integers(0, 2**40 - 1), st.integers(0, 0xFFFF))
def test_what_is_called_can_be_changed_by_its_difference(one, other, serial, listener):
    """A connection works its mark out once, and adds what it calls."""
    assert pack_call(one, serial, listener) - one + other == pack_call(other, serial, listener)


@pytest.mark.parametrize("row", [row for row in TABLE if row.call_number], ids=lambda row: row.name)
def test_hooks_are_named_as_in_the_specification(row):
    assert CurrentCall(kind_of(row.specification), 0, 0).hook == row.name


def test_what_is_no_hook_is_a_callback():
    assert CurrentCall(CALLBACK, 0, 0).hook == "a callback"


def test_callbacks_have_one_word_after_the_other():
    """Two of them within a turn can be told apart, however many there were between two looks."""
    words = list(islice(callback_words(), 10_001))
    assert all(one != other for one, other in pairwise(words))
    assert {unpack_call(word).called for word in words} == {CALLBACK}
    assert {serial_of(word) for word in words} == {0}
    for between in (2, 8, 10, 16, 50, 64, 100, 128, 200, 256, 1000):
        looks = words[::between]
        assert all(one != other for one, other in pairwise(looks))


def test_a_hook_of_the_supervisor_is_no_call_of_a_worker():
    with pytest.raises(AssertionError, match="on_host_start is a hook of the supervisor"):
        kind_of(on_host_start)
