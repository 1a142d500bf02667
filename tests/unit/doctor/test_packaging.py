"""Tests are looked for in the project of a plugin, and py.typed in its installed package."""

import pytest

from host.doctor.packaging import check_tests, check_typing
from host.plugin.discovery import Source


def untested(path, name="greeter", *, is_file=True):
    source = Source(name, "", "", path=path) if is_file else Source(name, "package.greeter", "P")
    return [each.code for each in check_tests(source, path)]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "package" / "greeter.py"
    path.parent.mkdir()
    path.touch()
    return path


@pytest.mark.parametrize(
    ("name", "text", "codes"),
    [
        ("tests/test_it.py", "check_protocol('greeter')", []),
        ("tests/unit/it_test.py", "from package.greeter import P", []),
        ("tests/test_it.py", "prefork_greeter", ["no-test"]),
        ("tests/support.py", "greeter", ["no-test"]),
        (".venv/test_it.py", "greeter", ["no-test"]),
        ("venv/lib/site-packages/test_it.py", "greeter", ["no-test"]),
    ],
)
def test_a_test_of_the_project_names_it(tmp_path, file, name, text, codes):
    (tmp_path / "pyproject.toml").touch()
    test = tmp_path / name
    test.parent.mkdir(parents=True, exist_ok=True)
    test.write_text(text)
    assert untested(file) == codes


def test_a_test_may_leave_out_the_beginning_of_the_name(tmp_path, file):
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "test_it.py").write_text("host_server('greeter')")
    renamed = file.rename(file.with_name("prefork_greeter.py"))
    assert untested(renamed, "prefork_greeter") == []


def test_a_file_outside_of_a_project_has_its_tests_beside_it(tmp_path, file):
    assert untested(file) == ["no-test"]
    (file.parent / "test_greeter.py").write_text("greeter")
    assert untested(file) == []


def test_nothing_is_known_of_what_is_installed_without_its_project(file):
    assert untested(file, is_file=False) == []


@pytest.mark.parametrize(
    ("files", "codes"),
    [
        (["sample_typed/__init__.py"], ["no-py-typed"]),
        (["sample_typed/__init__.py", "sample_typed/py.typed"], []),
        (["sample_typed.py"], []),
    ],
)
def test_an_installed_package_says_that_it_is_typed(tmp_path, monkeypatch, files, codes):
    monkeypatch.syspath_prepend(tmp_path)
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    source = Source("typed", "sample_typed.plugin", "P", distribution="sample", version="1")
    assert [each.code for each in check_typing(source)] == codes
    assert list(check_typing(source._replace(distribution=None))) == []
