"""What the tests here have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from host.testing import RunningHost
from support.asking import fresh_name


@pytest.fixture
def serve(host_server: Callable[..., RunningHost]) -> Callable[..., tuple[RunningHost, str]]:
    """Start a host that shows how it is; return it with where that is, as `127.0.0.1:40123`."""

    def start(*more: str, **settings: Any) -> tuple[RunningHost, str]:
        host = host_server(
            "echo",
            workers=2,
            settings={"ops.listen": ["tcp://127.0.0.1:0"], **settings},
            listen=["tcp://127.0.0.1:0", *more],
            flags=["--name", fresh_name()],
        )
        [event] = host.events("ops_listening")
        return host, event["address"].removeprefix("tcp://")

    return start
