"""Wording that several packages share."""

import errno
import os

import pytest

from host.text import reason


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
