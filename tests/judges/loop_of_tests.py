"""A plugin for pytest: the tests of a library for asyncio run on the host's connections.

`pytest -p judges.loop_of_tests FOLDER`, with `tests` on the path. How many connections were served
so is said at the end; none is an error.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from judges import served


def pytest_configure() -> None:
    """Have all event loops be the host's from now on."""
    asyncio.SelectorEventLoop = served.ServedLoop  # type: ignore[assignment, misc]
    asyncio.DefaultEventLoopPolicy._loop_factory = served.ServedLoop  # type: ignore[attr-defined]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how many connections there were."""
    terminalreporter.write_line(f"{served.COUNTED} connections were served as the host serves")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """End with an error if there were none."""
    if not served.COUNTED:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
