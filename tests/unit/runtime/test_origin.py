from __future__ import annotations

import os

import pytest

from host.runtime.origin import Origin


@pytest.fixture
def started(tmp_path, monkeypatch):
    """Be in a folder of the test's, with a variable of its own."""
    folder = tmp_path / "started"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TOKEN", "secret")
    return folder


def test_variables_are_those_of_the_start(started, monkeypatch):
    origin = Origin.here()
    monkeypatch.delenv("TOKEN")
    monkeypatch.setenv("LEFT_BEHIND", "1")
    assert origin.environment["TOKEN"] == "secret"
    assert "LEFT_BEHIND" not in origin.environment


def test_it_goes_back_and_afterwards_where_it_was(started, tmp_path, monkeypatch):
    origin = Origin.here()
    monkeypatch.chdir(tmp_path)
    with origin.resumed():
        assert os.getcwd() == str(started)
    assert os.getcwd() == str(tmp_path)
    origin.go_back()
    assert os.getcwd() == str(started)


def test_a_folder_that_has_been_renamed_is_not_left(started, tmp_path):
    origin = Origin.here()
    started.rename(tmp_path / "renamed")
    (tmp_path / "started").mkdir()
    with origin.resumed():
        assert os.getcwd() == str(tmp_path / "renamed")
    assert os.getcwd() == str(tmp_path / "renamed")


@pytest.mark.parametrize("before", [True, False])
def test_a_folder_that_has_been_removed_is_no_failure(started, before):
    origin = None if before else Origin.here()
    started.rmdir()
    origin = origin or Origin.here()
    with origin.resumed():
        origin.go_back()
