"""A client of the line protocol."""

import pytest


@pytest.fixture
def connect(harness):
    """Return a function that starts the protocol with plugins and options, and connects."""

    def connect(*plugins, **options):
        return harness("line", *plugins, options={"line": options}).connect()

    return connect
