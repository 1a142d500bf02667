"""What holds for all tests: time-outs fit the machine, and Ctrl-C is not ignored."""

import os
import signal
import tempfile

import pytest
import pytest_timeout
from hypothesis import HealthCheck, settings

from host.testing.machine import patience

# How long an example takes is the machine's affair.
settings.register_profile(
    "unit", max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unit")

# The path of a socket has 107 bytes (unix(7)): pytest's folders have no more in /tmp, but may have
# in another folder for temporary files.
os.environ["TMPDIR"] = tempfile.tempdir = "/tmp"

# A shell starts what is to run in the background with SIGINT ignored (POSIX, Shell Command
# Language, 2.11), and what the tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Be content with files of which `-m` leaves all tests to another run."""
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and session.config.option.markexpr:
        session.exitstatus = pytest.ExitCode.OK


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: pytest_timeout.Settings) -> object:
    """Give a test as long as it needs here, where others use the machine, too."""
    scaled = settings._replace(timeout=patience(settings.timeout))
    return pytest_timeout.pytest_timeout_set_timer(item, scaled)
