import resource

import pytest


@pytest.fixture
def descriptors():
    """Keeps the process's own limit of descriptors; gives the hard one."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, before)
