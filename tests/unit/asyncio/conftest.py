"""What tests of event loops share."""

import pytest

from host.asyncio import HostEventLoop
from host.runtime.loop import Loop


@pytest.fixture
def loop():
    host_loop = Loop(100)
    loop = HostEventLoop(host_loop)
    yield loop
    loop.close()
    host_loop.close()
