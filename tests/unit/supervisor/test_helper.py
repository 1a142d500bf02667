"""A helper process that cannot be started now is started later."""

import resource

from host.settings import Lifecycle
from host.supervisor.helper import Helper, HelperProcess
from host.telemetry.events import HELPER_ENDED
from support.fakes import FakeLoop, Told


def test_without_descriptors_it_is_tried_again():
    loop, told = FakeLoop(), Told()
    helper = Helper("some", run=lambda _: 0, close=lambda: None, last_beat=lambda: loop.now)
    process = HelperProcess(helper, loop, told.telemetry, Lifecycle())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))  # nothing can be opened
    try:
        process.start()
        loop.advance(loop.now)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    causes = [each["cause"] for each in told.of(HELPER_ENDED)]
    assert len(causes) == 2
    assert all("Too many open files" in cause for cause in causes)
    process.end()
