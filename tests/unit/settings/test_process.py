"""The section `process`: what it takes, and what a reload may not change in it."""

import pytest
from pydantic import ValidationError

from host.settings import Listen, Process


@pytest.mark.parametrize("values", [{"group": "daemon"}, {"keep": ("bind",)}])
def test_what_says_nothing_without_a_user_is_refused(values):
    with pytest.raises(ValidationError, match=f"{next(iter(values))} says nothing without user"):
        Process(**values)


@pytest.mark.parametrize("text", ["nobody", "65534", "a.b-c_d", "machine$", ""])
def test_names_and_numbers(text):
    assert Process(user=text).user == text


@pytest.mark.parametrize("text", ["-x", "a b", "a:b", "a/b", "a\n", "x" * 33])
def test_what_is_no_name(text):
    with pytest.raises(ValidationError, match="should match pattern"):
        Process(user=text)


@pytest.mark.parametrize("text", ["8", "0o027", "27", "00027", "0028"])
def test_what_is_no_umask(text):
    with pytest.raises(ValidationError, match="should match pattern"):
        Process(umask=text)


def test_user_group_and_keep_hold_until_a_restart():
    before = Process(user="nobody", umask="027")
    assert before.change_since(before) == ""
    assert Process(user="nobody", umask="077").change_since(before) == ""
    assert Process().change_since(before) == (
        'process.user changes from "nobody" to "", which takes a restart'
    )
    assert Process(user="nobody", group="x", keep=("bind",)).change_since(before) == (
        'process.group changes from "" to "x", process.keep changes from [] to ["bind"], which'
        " takes a restart"
    )


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "unix:@name", "fd:name"])
@pytest.mark.parametrize("key", ["owner", "group"])
def test_only_files_have_an_owner(address, key):
    with pytest.raises(ValidationError, match="owner and group are for the file"):
        Listen(address=address, **{key: "nobody"})
    assert getattr(Listen(address="unix:/run/x.sock", **{key: "nobody"}), key) == "nobody"
