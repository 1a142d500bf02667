"""A policy is set for as long as it is wanted, and only in the place of the usual one."""

import os

from host.runtime.scheduling import BatchScheduling


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
