"""What the kernel counts of a process is told."""

import os
import time

import pytest

from host.runtime.usage import cpu_seconds, read_calls

NO_PROCESS = 2**22 + 1  # above the highest pid_max (proc(5))


def test_cpu_time_is_that_of_the_process():
    before = time.process_time()
    told = cpu_seconds(os.getpid())
    assert before <= told <= time.process_time()


def test_each_read_counts():
    there, here = os.pipe()
    try:
        before = read_calls(os.getpid())
        after_none = read_calls(os.getpid())
        for _ in range(100):
            os.write(here, b"x")
            os.read(there, 1)
        asked = after_none - before
        assert read_calls(os.getpid()) == after_none + asked + 100
    finally:
        os.close(there)
        os.close(here)


@pytest.mark.parametrize("count", [cpu_seconds, read_calls])
def test_nothing_is_known_of_a_process_that_does_not_exist(count):
    assert count(NO_PROCESS) is None
