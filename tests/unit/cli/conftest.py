"""Hosts that are none, for the commands to ask."""

import pytest

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
