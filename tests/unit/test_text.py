"""Wording that several packages share."""

import errno
import functools
import os

import pytest

from host.text import Count, counted, named, reason


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
