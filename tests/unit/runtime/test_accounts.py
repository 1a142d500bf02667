"""Users and groups are found by name and by number, or it is said that there are none."""

import os
import pwd

import pytest

from host.errors import ExitCode
from host.runtime.accounts import Account, AccountError, account, find_group, find_user

ME = pwd.getpwuid(os.getuid())
NOBODY_HAS = "54321"
"""A number that no user of this machine has."""


def test_a_user_has_all_groups_of_the_database():
    found = account(ME.pw_name)
    assert found[:3] == (ME.pw_name, ME.pw_uid, ME.pw_gid)
    assert set(found.groups) == set(os.getgrouplist(ME.pw_name, ME.pw_gid))


def test_a_number_is_as_good_as_a_name():
    assert account(str(ME.pw_uid)) == account(ME.pw_name)
    assert find_user(str(ME.pw_uid)) == find_user(ME.pw_name) == ME.pw_uid


def test_the_group_replaces_that_of_the_database():
    found = account(ME.pw_name, "daemon")
    assert found.gid == find_group("daemon") == find_group(str(found.gid))
    assert found.gid in found.groups


def test_a_number_without_a_name_needs_a_group():
    with pytest.raises(AccountError, match=r"uid 54321 has no name .* say its group"):
        account(NOBODY_HAS)
    assert account(NOBODY_HAS, "7") == Account(NOBODY_HAS, 54321, 7, (7,))
    assert find_user(NOBODY_HAS) == 54321


@pytest.mark.parametrize("text", ["no-such", "4294967295", "99999999999", "-1", "٣", ""])
def test_what_is_neither_a_name_nor_a_number_is_refused(text):
    for find in (account, find_user):
        with pytest.raises(AccountError, match="there is no user") as caught:
            find(text)
    with pytest.raises(AccountError, match="there is no group"):
        find_group(text)
    assert caught.value.exit_code == ExitCode.SETTINGS


def test_whether_this_process_has_it_already():
    own = Account(ME.pw_name, os.getuid(), os.getgid(), tuple(os.getgroups()))
    assert own.is_current
    assert not own._replace(uid=own.uid + 1).is_current
    assert not own._replace(gid=own.gid + 1).is_current
