"""An authority of our own."""

import pytest

from support.certificates import Authority


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)
