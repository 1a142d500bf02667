"""The admin socket, with a loop that is run by hand."""

import pytest

from support.admin_scene import running


@pytest.fixture
def scene():
    with running() as found:
        yield found
