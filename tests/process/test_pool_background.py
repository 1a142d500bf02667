"""A process of a pool where the kernel refuses what would have it come second."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="it has other system calls"),
]

_SCHED_SETSCHEDULER, _SCHED_GETSCHEDULER, _SETPRIORITY, _SCHED_SETATTR = 144, 145, 141, 314
_REFUSED = r"""
import ctypes, errno, os, struct, sys
from host.offload.background import compute_in_background

def refuse(numbers):
    # Classic BPF (seccomp(2)): load the number; EPERM if it is one of these; else go on.
    steps = [(0x20, 0, 0, 0)]
    for number in numbers:
        steps += [(0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | errno.EPERM)]
    steps.append((0x06, 0, 0, 0x7FFF0000))
    text = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = struct.pack("=HxxxxxxQ", len(steps), ctypes.addressof(text))
    libc = ctypes.CDLL(None)
    assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    assert libc.prctl(22, 2, program, 0, 0) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER

before = os.getpriority(os.PRIO_PROCESS, 0)
os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))  # whoever runs the tests
refuse(map(int, sys.argv[1:]))
compute_in_background(1, only_idle_cpu=False)
with open("/proc/self/stat", encoding="ascii") as file:
    fields = file.read().rpartition(")")[2].split()
after = int(fields[16]), int(fields[38])
print(int(after[0] == min(before + 1, 19)), int(after[1] == os.SCHED_BATCH))
"""


@pytest.mark.parametrize(
    ("refused", "nicer_and_batch"),
    [
        ([], "1 1"),
        ([_SCHED_SETATTR], "1 1"),
        ([_SCHED_SETSCHEDULER], "1 0"),
        ([_SCHED_GETSCHEDULER], "1 0"),
        ([_SETPRIORITY], "0 1"),
    ],
)
def test_a_process_begins_all_the_same_where_a_filter_refuses(
    refused: list[int], nicer_and_batch: str
) -> None:
    arguments = [sys.executable, "-c", _REFUSED, *map(str, refused)]
    made = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert made.stdout.strip() == nicer_and_batch, made.stderr
