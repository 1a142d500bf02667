import ast
import tomllib

import pytest
from click.testing import CliRunner

from host.cli.new_plugin import KINDS, ScaffoldError, check_name, new_plugin, package
from host.errors import ExitCode


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(new_plugin, arguments)


@pytest.mark.parametrize("kind", KINDS)
def test_a_package_is_complete(kind):
    files = package("my_thing", kind)
    assert set(files) == {
        *("pyproject.toml", "README.md", "prefork_my_thing.py", "tests/test_my_thing.py")
    }
    project = tomllib.loads(files["pyproject.toml"])
    assert project["project"]["name"] == "prefork-my-thing"
    module, _, name = project["project"]["entry-points"]["host.plugins"]["my_thing"].partition(":")
    assert project["tool"]["setuptools"]["py-modules"] == [module] == ["prefork_my_thing"]
    classes = {
        node.name
        for node in ast.parse(files[f"{module}.py"]).body
        if isinstance(node, ast.ClassDef)
    }
    assert classes == {name, "Options"}
    assert "$" not in "".join(files.values())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["a", "connection", "options", "line_framer", "x1_y2", "a" * 30])
def test_any_name_makes_code_that_parses(name, kind):
    for path, text in package(name, kind).items():
        if path.endswith(".py"):
            ast.parse(text)
            assert max(map(len, text.splitlines())) <= 130


@pytest.mark.parametrize(
    "name",
    ["", "A", "a-b", "1a", "_a", "a__b", "a_", "a b", "ä", "a/b", "../a", "a.b", "a" * 31, "a\n"],
)
def test_bad_names(name):
    with pytest.raises(ScaffoldError, match="cannot be the name of a plugin: use small letters"):
        check_name(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("class", "it is a word of Python"),
        ("echo", 'a plugin named "echo" is installed already by prefork'),
    ],
)
def test_names_that_are_taken(name, message):
    with pytest.raises(ScaffoldError, match=message):
        check_name(name)


def test_writes_the_files_and_says_which(run, tmp_path):
    done = run("shout", "--kind", "scheduler", "--into", "a/b")
    assert done.exit_code == 0
    *paths, last = done.output.splitlines()
    assert sorted(paths) == sorted(
        str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()
    )
    assert last.startswith("Next: ")
    assert (tmp_path / "a/b/prefork-shout/pyproject.toml").is_file()


def test_an_existing_folder_is_left_alone(run, tmp_path):
    (tmp_path / "prefork-shout").mkdir()
    done = run("shout")
    assert done.exit_code == ExitCode.USAGE
    assert done.output.startswith("host: prefork-shout exists already: nothing was written")
    assert list((tmp_path / "prefork-shout").iterdir()) == []


def test_a_file_in_the_way(run, tmp_path):
    (tmp_path / "file").touch()
    done = run("shout", "--into", "file")
    assert done.exit_code == ExitCode.USAGE
    assert done.output.startswith("host: ")
    assert done.output.count("\n") == 1


def test_a_bad_name_writes_nothing(run, tmp_path):
    done = run("No")
    assert done.exit_code == ExitCode.USAGE
    assert done.output.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
