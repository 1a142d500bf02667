"""A policy is set for as long as it is wanted; turns are as short as the kernel lets them be."""

import ctypes
import os
import platform
import struct

import pytest

from host.runtime.libc import libc
from host.runtime.scheduling import SHORT_TURN_SECONDS, BatchScheduling, take_short_turns

_ATTRIBUTES = struct.Struct("=IIQiIQQQ")
_SCHED_GETATTR = {"x86_64": 315, "aarch64": 275}.get(platform.machine())


class Policies(list):
    """The policies that a process has had; the last one is its own."""

    def policy_of(self, pid):
        assert pid == 0
        return self[-1]

    def set_policy(self, pid, policy, parameter):
        assert (pid, parameter.sched_priority) == (0, 0)
        self.append(policy)


def scheduling(policies):
    return BatchScheduling(policies.policy_of, policies.set_policy)


def test_who_is_scheduled_in_batches_is_so_until_it_ends():
    policies = Policies([os.SCHED_OTHER])
    batch = scheduling(policies)
    batch.end()
    batch.begin()
    batch.begin()
    batch.end()
    batch.end()
    assert policies == [os.SCHED_OTHER, os.SCHED_BATCH, os.SCHED_OTHER]


def test_a_policy_that_an_operator_has_chosen_stays():
    policies = Policies([os.SCHED_RR])
    batch = scheduling(policies)
    batch.begin()
    batch.end()
    assert policies == [os.SCHED_RR]


def test_where_no_policy_may_be_chosen_nothing_happens():
    def refuse(*_):
        raise PermissionError

    batch = BatchScheduling(lambda _: os.SCHED_OTHER, refuse)
    batch.begin()
    batch.end()


def turn_and_policy():
    """Return how long the kernel says that turns of this process are, its policy, and its nice."""
    place = ctypes.create_string_buffer(_ATTRIBUTES.size)
    assert libc.syscall(_SCHED_GETATTR, 0, place, _ATTRIBUTES.size, 0) == 0
    _, policy, _, nice, _, turn, _, _ = _ATTRIBUTES.unpack(place.raw)
    return turn / 1e9, policy, nice


def in_a_child(function):
    """Return what a function returns in a process of its own, a tuple of numbers."""
    reader, writer = os.pipe()
    if not os.fork():
        try:
            os.write(writer, repr(function()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as said:
        text = said.read()
    os.wait()
    return tuple(map(float, text.strip("()").split(",")))


@pytest.mark.skipif(_SCHED_GETATTR is None, reason="the test knows no number of sched_getattr here")
def test_turns_get_short_and_the_rest_stays():
    def short():
        BatchScheduling().begin()
        os.nice(3)
        before = turn_and_policy()
        take_short_turns()
        return before + turn_and_policy()

    turn, *rest, short_turn, policy, nice = in_a_child(short)
    assert rest == [policy, nice] == [os.SCHED_BATCH, 3 + os.nice(0)]
    assert short_turn == (SHORT_TURN_SECONDS if turn else 0)  # before Linux 6.12 there is none


@pytest.mark.parametrize("machine", ["x86_64", "pdp11"])
def test_where_turns_cannot_be_had_nothing_happens(monkeypatch, machine):
    monkeypatch.setattr(platform, "machine", lambda: machine)
    take_short_turns(2**22 + 1)  # no process has that number
