"""Wording that several packages share."""

import errno
import functools
import os
import time
import tracemalloc

import pytest

from host.text import Count, counted, in_words, named, reason, shown, stack_of


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.ENOENT, os.strerror(errno.ENOENT), "/nowhere"), "No such file or directory"),
        (OSError("timed out"), "timed out"),
        (ValueError("no number"), "no number"),
    ],
)
def test_a_reason_is_the_systems_words_or_the_errors_own(error, text):
    assert reason(error) == text


@pytest.mark.parametrize(("number", "said"), [(0, "0 words"), (1, "1 word"), (2, "2 words")])
def test_one_of_a_thing_is_told_in_the_singular(number, said):
    assert counted(number, "word") == said
    assert f"{Count(number):word}" == said
    assert f"{Count(number):long word}" == said.replace("word", "long word")


def test_a_count_is_a_number_in_every_other_format():
    assert f"{Count(7)} {Count(7):d} {Count(7):04} {Count(7):.1f} {Count(10):x}" == "7 7 0007 7.0 a"


class Secretive:
    def __call__(self, *_):
        pass


def test_a_name_has_nothing_of_what_is_given_to_a_function():
    bound = functools.partial(functools.partial(reason, "secret"), "secret")
    assert named(bound) == named(reason) == ("host.text", "reason")
    assert named(functools.partial(Secretive(), "secret")) == (__name__, "Secretive")
    assert named(print) == ("builtins", "print")
    assert named("secret".join) == ("?", "str.join")


class Unspeakable(type):
    """The class of classes that do not tell their names."""

    def __getattribute__(cls, name):
        if name in ("__name__", "__qualname__"):
            raise ValueError("it has none")
        return super().__getattribute__(name)


class Nameless(Exception, metaclass=Unspeakable):
    pass


class Leaving(Exception):
    def __str__(self):
        raise SystemExit(9)


def caused(count):
    """Return an error with so many causes."""
    error = None
    for number in range(count):
        error, before = ValueError(number), error
        error.__cause__ = before
    return error


def nested(count):
    error = ValueError("innermost")
    for _ in range(count):
        error = ExceptionGroup("group", [error])
    return error


def circular():
    one, other = ValueError("one"), ValueError("other")
    one.__context__, other.__context__ = other, one
    return one


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Nameless("x"), "Nameless: its text cannot be made"),
        (Leaving(), "test_text.Leaving: <exception str() failed>"),
        (caused(50), "ValueError: 49"),
        (caused(100_000), "ValueError: 99999"),
        (nested(5_000), "ExceptionGroup: group (1 sub-exception)"),
        (ExceptionGroup("g", [ValueError("x")] * 500_000), "ExceptionGroup: g (500000 sub-excepti"),
        (circular(), "ValueError: one"),
    ],
)
def test_any_error_is_told_in_no_time(error, said):
    began = time.process_time()
    assert in_words(error).endswith(said) or said in in_words(error)
    assert said.rpartition(":")[2].strip() in stack_of(error)
    assert time.process_time() - began < 1.0


@pytest.mark.parametrize("wrap", [lambda error: error, lambda error: ExceptionGroup("g", [error])])
def test_a_long_text_is_cut_before_python_copies_it(wrap):
    error, size = wrap(ValueError("x" * 20_000_000)), 0
    tracemalloc.start()
    try:
        for told in (in_words(error), stack_of(error)):
            assert len(told) < 70_000
            size = max(size, tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
    assert size < 2_000_000


class Unspeakable(type):
    def __repr__(cls):
        raise ValueError


class Reticent(metaclass=Unspeakable):
    def __repr__(self):
        raise SystemExit


def test_any_value_is_shown_in_few_characters_and_in_no_time():
    assert shown("x" * 100) == f"'{'x' * 100}'"
    assert shown(Reticent()) == "a Reticent"
    assert "Unspeakable" in shown(Reticent)
    began = time.process_time()
    assert len(shown([*range(1_000_000)])) < 250
    assert len(shown("x" * 100_000_000)) < 250
    assert time.process_time() - began < 1.0


def test_causes_that_are_few_are_shown_and_many_are_left_out():
    assert stack_of(caused(50)).count("direct cause") == 49
    assert "direct cause" not in stack_of(caused(65))
    assert "too much to be shown" in stack_of(caused(65))
