"""A policy is set for as long as it is wanted, and only in the place of the usual one."""

import os
import subprocess
import sys

import pytest

from host.runtime import scheduling as under_test
from host.runtime.scheduling import BatchScheduling, groups_by_session, have_session_give_way
from support.sessions import group_of, niceness_of_session


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


@pytest.fixture
def pid():
    """A process with a session of its own."""
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as process:
        yield process.pid


@pytest.mark.skipif(not groups_by_session(), reason="the kernel has no groups of sessions")
@pytest.mark.parametrize(("cpus", "given", "found"), [(1, 10, 10), (2, 10, 13), (64, 10, 19)])
def test_a_session_gives_way_by_as_much_as_there_are_cpus(pid, monkeypatch, cpus, given, found):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cpus)))
    before = group_of(os.getpid())
    assert niceness_of_session(pid) == 0
    assert have_session_give_way(pid, given)
    assert niceness_of_session(pid) == found
    assert group_of(os.getpid()) == before


@pytest.mark.skipif(not groups_by_session(), reason="the kernel has no groups of sessions")
def test_a_session_of_others_is_left_alone():
    shell = ["sh", "-c", "cat & echo $!; cat"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(shell, **pipes, start_new_session=True) as leader:
        member = int(leader.stdout.readline())
        assert os.getsid(member) == leader.pid
        assert have_session_give_way(member, 10)
        assert niceness_of_session(member) == 0


def test_who_has_ended_is_not_tried_again():
    assert have_session_give_way(2**22 + 1, 10)


def test_who_may_not_do_it_now_tries_it_again(pid, monkeypatch):
    def refuse(*_, **__):
        raise BlockingIOError

    monkeypatch.setattr("builtins.open", refuse)
    assert not have_session_give_way(pid, 10)


@pytest.mark.parametrize(("text", "groups"), [("0\n", False), ("1\n", True), (None, False)])
def test_groups_are_those_of_a_kernel_that_makes_them(tmp_path, monkeypatch, text, groups):
    switch = tmp_path / "enabled"
    if text is not None:
        switch.write_text(text)
    monkeypatch.setattr(under_test, "_SWITCH", str(switch))
    monkeypatch.setattr(os, "access", lambda *_: True)
    assert groups_by_session() == groups
