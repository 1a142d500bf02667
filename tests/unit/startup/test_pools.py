"""What processes of pools need is looked at before anything starts."""

import os
import re
import sys

import pytest

from host.settings import Loaded, PoolSettings, Settings, SettingsError
from host.startup.pools import check_pools


def with_pools(**pools):
    return Loaded(Settings(pools=pools))


def test_modules_that_pools_import_first_are_there():
    check_pools(with_pools(a=PoolSettings(preload=("json.decoder", "os"))))
    with pytest.raises(SettingsError, match=r'pools\.a\.preload = "nonsuch\.x"  there is no such'):
        check_pools(with_pools(a=PoolSettings(preload=("os", "nonsuch.x"))))


NEEDS = [{"interpreter": "/nonsuch/python"}, {"library": "/nonsuch/lib"}]


@pytest.mark.parametrize("missing", NEEDS)
def test_processes_need_an_interpreter_and_its_library(missing):
    text = r'pools\.a\.kind = "processes"  its processes could not start: there is no "/nonsuch/'
    with pytest.raises(SettingsError, match=text):
        check_pools(with_pools(a=PoolSettings()), **missing)


@pytest.mark.parametrize("missing", NEEDS)
def test_threads_and_hosts_without_pools_need_none(missing):
    check_pools(with_pools(a=PoolSettings(kind="threads")), **missing)
    check_pools(with_pools(), **missing)


def test_what_is_there_and_no_program_is_told_as_it_is(tmp_path):
    program = tmp_path / "python"
    with pytest.raises(SettingsError, match=re.escape(f'there is no "{program}"')):
        check_pools(with_pools(a=PoolSettings()), interpreter=str(program))
    program.touch()
    text = f"uid {os.geteuid()} may not read or execute {program}"
    with pytest.raises(SettingsError, match=re.escape(text)):
        check_pools(with_pools(a=PoolSettings()), interpreter=str(program))
    check_pools(with_pools(a=PoolSettings()), interpreter=sys.executable)
