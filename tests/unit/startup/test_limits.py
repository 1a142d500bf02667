"""How many connections fit into the descriptors that this process may have."""

import resource

import pytest

from host.errors import ExitCode, LimitsError
from host.settings import Limits, PoolSettings
from host.startup.limits import (
    RESERVED_DESCRIPTORS,
    max_connections,
    pool_descriptors,
    raise_descriptor_limit,
)


def test_the_limit_of_descriptors_is_raised_as_far_as_needed(descriptors):
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, descriptors))
    assert max_connections(Limits(max_connections_per_worker=300), 2) == 300
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 300 + 2 + RESERVED_DESCRIPTORS


def test_a_limit_that_suffices_is_left_alone(descriptors):
    resource.setrlimit(resource.RLIMIT_NOFILE, (500, descriptors))
    assert raise_descriptor_limit(400) == 500
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (500, descriptors)


def test_a_default_that_does_not_fit_is_lowered():
    assert max_connections(Limits(), 1, lambda needed: 1000) == 1000 - 1 - RESERVED_DESCRIPTORS


def test_a_wish_that_does_not_fit_is_refused():
    room = 1000 - 1 - RESERVED_DESCRIPTORS
    with pytest.raises(LimitsError, match=f"set it to {room} at most") as caught:
        max_connections(Limits(max_connections_per_worker=60_000), 1, lambda needed: 1000)
    assert caught.value.exit_code is ExitCode.LIMITS


def test_processes_of_pools_take_descriptors():
    assert pool_descriptors({}) == 0
    assert pool_descriptors({"a": PoolSettings(kind="threads", size=50)}) == 0
    pools = {"a": PoolSettings(size=4), "b": PoolSettings(size=1)}
    assert pool_descriptors(pools) == 2 * (4 + 1) + 2 * (1 + 1) + 2
