"""Which system call a process of a pool asks for long turns with."""

import pytest

from host.offload.background import _sched_setattr


@pytest.mark.parametrize(
    ("machine", "pointer_bytes", "number"),
    [
        ("x86_64", 8, 314),
        ("aarch64", 8, 274),
        ("x86_64", 4, None),  # sync_file_range(2) in a program of 32 bits
        ("aarch64", 4, None),  # mq_open(2)
        ("i686", 4, None),
        ("sparc64", 8, None),
    ],
)
def test_nothing_but_that_call_is_made(machine, pointer_bytes, number):
    assert _sched_setattr(machine, pointer_bytes) == number
