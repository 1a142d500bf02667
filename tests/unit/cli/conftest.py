"""Hosts that are none, for the commands to ask, and terminals that commands are typed in."""

import pytest

from support.at_terminal import Terminal
from support.fake_host import FakeHost


@pytest.fixture
def host():
    """Return a function that starts one; its arguments are the answers to commands."""
    started = []

    def start(**answers):
        started.append(FakeHost(**answers))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture
def terminal():
    """Return a function that runs a command in a terminal of its own."""
    started = []

    def start(*args, **size):
        started.append(Terminal(*args, **size))
        return started[-1]

    yield start
    for each in started:
        each.close()
