"""`plugins doctor`: each rule has a plugin that breaks it, and no plugin of ours breaks any."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from host.doctor.rules import RULES
from host.testing.machine import patience
from support.hosting import environment
from support.ill_plugins import BY_RULE, HANGING, HOSTILE, READS, in_class

pytestmark = pytest.mark.process

ELSEWHERE = {"not-found", "import-hangs", "no-py-typed", "order-cycle"}
"""Rules that need something else than one file, or more time: each has a test of its own."""

INVALID = "options.options_invalid.most=many"

Done = subprocess.CompletedProcess[str]
Found = dict[str, Any]


def doctor(*arguments: str, folder: Path, code: int, **variables: str) -> Done:
    """Run the command, which must end with this exit code and say nothing else."""
    limit = ("--timeout", str(patience(30)))
    done = subprocess.run(
        [sys.executable, "-m", "host", "plugins", "doctor", *limit, *arguments],
        cwd=folder,
        env=environment(variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=patience(60),
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert done.stderr == ""
    return done


@pytest.fixture(name="project")
def make_project(tmp_path: Path) -> Path:
    """The folder of a project, with a test of the plugin `ill`."""
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "test_ill.py").write_text("ill")
    return tmp_path


def examine(folder: Path, plugins: dict[str, str], *arguments: str) -> dict[str, list[Found]]:
    """Write a project with plugins and have all of them examined by one command."""
    (folder / "pyproject.toml").touch()
    for name, text in plugins.items():
        (folder / f"{name}.py").write_text(text)
    (folder / "test_all.py").write_text(" ".join(plugins.keys() - {"no_test"}))
    flags = [f"--plugin=./{name}.py" for name in plugins]
    done = doctor(*flags, "--json", *arguments, folder=folder, code=1)
    found = {each["plugin"]: each["findings"] for each in json.loads(done.stdout)["plugins"]}
    return {name: found[name] for name in plugins}


def marked(name: str, text: str) -> str:
    """Return the place that a finding must name."""
    lines = text.splitlines()
    numbers = [number for number, line in enumerate(lines, 1) if line.endswith("# here")]
    return f"{name}.py:{numbers[0]}" if numbers else f"{name}.py"


@pytest.fixture(scope="module", name="by_rule")
def examine_by_rule(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Found]]:
    """What is found in the plugins that break one rule each."""
    plugins = {code.replace("-", "_"): text for code, text in BY_RULE.items()}
    return examine(tmp_path_factory.mktemp("ill"), plugins, "--set", INVALID)


@pytest.fixture(scope="module", name="hostile")
def examine_hostile(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Found]]:
    """What is found in the plugins that are hostile."""
    plugins = {name: text for name, (_, text) in HOSTILE.items()}
    return examine(tmp_path_factory.mktemp("hostile"), plugins)


@pytest.fixture(scope="module", name="hanging")
def examine_hanging(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Found]]:
    """What is found in the plugins that are never imported."""
    return examine(tmp_path_factory.mktemp("hanging"), HANGING, "--timeout", str(patience(1)))


def test_each_rule_has_a_plugin_that_breaks_it() -> None:
    assert BY_RULE.keys() | ELSEWHERE == RULES.keys()


@pytest.mark.parametrize("code", BY_RULE)
def test_a_plugin_that_breaks_one_rule_has_this_finding_and_no_other(
    by_rule: dict[str, list[Found]], code: str
) -> None:
    name = code.replace("-", "_")
    [found] = by_rule[name]
    assert (found["code"], found["severity"]) == (code, RULES[code].severity)
    assert found["message"]
    assert found["cure"]
    place = (
        "from --set options.options_invalid.most (flag)"
        if code == "options-invalid"
        else marked(name, BY_RULE[code])
    )
    if code == "leaves-thread" and sys.version_info < (3, 12):
        place = "leaves_thread.py"  # before 3.12 a start of a thread is no audit event
    assert found["place"] == place


@pytest.mark.parametrize("name", HOSTILE)
def test_whatever_a_plugin_does_there_is_one_clear_finding(
    hostile: dict[str, list[Found]], name: str
) -> None:
    code, text = HOSTILE[name]
    [found] = hostile[name]
    assert (found["code"], found["place"]) == (code, marked(name, text))
    assert "Traceback" not in found["message"]
    assert "\x1b" not in found["message"]


@pytest.mark.parametrize("name", HANGING)
def test_a_plugin_that_is_never_imported_is_given_up(
    hanging: dict[str, list[Found]], name: str
) -> None:
    [found] = hanging[name]
    assert (found["code"], found["place"]) == ("import-hangs", marked(name, HANGING[name]))


@pytest.mark.parametrize("text", ["./missing.py", "missing", "missing.module:Class", "./"])
def test_what_is_not_there_is_a_finding(project: Path, text: str) -> None:
    report = json.loads(doctor(text, "--json", folder=project, code=1).stdout)
    assert [each["code"] for each in report["plugins"][0]["findings"]] == ["not-found"]


def test_all_that_ship_are_in_order() -> None:
    done = doctor("--strict", folder=Path(__file__).parent, code=0)
    assert done.stdout.splitlines()[-1].endswith("plugins, none with findings")


def test_advice_ends_the_command_with_1_if_that_is_asked_for(project: Path) -> None:
    (project / "ill.py").write_text(BY_RULE["prints"])
    doctor("./ill.py", folder=project, code=0)
    doctor("./ill.py", "--strict", folder=project, code=1)


def test_what_a_refused_plugin_has_opened_is_told_as_well(project: Path) -> None:
    made = "def __init__(self): self.s = socket.socket()\n@hookimpl\ndef on_acept(self): ..."
    found = examined(project, f"import socket\n{in_class(made)}", code=1)
    assert [each["code"] for each in found] == ["unknown-hook", "leaves-socket"]


def test_findings_of_a_rule_can_be_left_out(project: Path) -> None:
    (project / "ill.py").write_text(BY_RULE["blocking-call"])
    done = doctor("./ill.py", "--ignore", "blocking-call", folder=project, code=0)
    assert done.stdout == "ill (file ./ill.py): ok\n"


def test_people_read_what_is_wrong_where_it_is_and_what_to_do(project: Path) -> None:
    (project / "ill.py").write_text(BY_RULE["blocking-call"])
    place = marked("ill", BY_RULE["blocking-call"])
    assert doctor("./ill.py", folder=project, code=1).stdout.splitlines() == [
        "ill (file ./ill.py): 1 error",
        "  error blocking-call: time.sleep() waits in on_readable",
        f"    at    {place}  time.sleep(1)",
        f"    cure  {RULES['blocking-call'].cure}",
    ]


def test_without_a_plugin_all_are_examined_that_are_installed_or_selected(project: Path) -> None:
    (project / "ill.py").write_text(BY_RULE["no-hook"])
    done = doctor("--plugin", "./ill.py", "--json", folder=project, code=1)
    report = json.loads(done.stdout)
    assert {"echo", "line", "ill"} <= {each["plugin"] for each in report["plugins"]}
    assert (report["errors"], report["advice"]) == (1, 0)


def examined(project: Path, text: str, *arguments: str, code: int) -> list[Found]:
    """Return what is found in the plugin `ill` of this text."""
    (project / "ill.py").write_text(text)
    done = doctor("./ill.py", "--json", *arguments, folder=project, code=code)
    findings: list[Found] = json.loads(done.stdout)["plugins"][0]["findings"]
    return findings


def install(project: Path, *plugins: str) -> dict[str, Any]:
    """Make a distribution of packages named as their plugins; return arguments for `doctor`."""
    info = project / "ill-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ill\nVersion: 1.0\n")
    points = [f"{name} = {name}_package:Ill\n" for name in plugins]
    (info / "entry_points.txt").write_text("".join(["[host.plugins]\n", *points]))
    for name in plugins:
        (project / f"{name}_package").mkdir()
        (project / f"{name}_package" / "py.typed").touch()
    return {"folder": project, "PYTHONPATH": str(project)}


def test_an_installed_package_needs_py_typed(project: Path) -> None:
    arguments = install(project, "ill")
    package = project / "ill_package"
    (package / "py.typed").unlink()
    (package / "__init__.py").write_text("from ill_package.plugin import Ill\n")
    (package / "plugin.py").write_text(BY_RULE["blocking-call"])
    [found] = json.loads(doctor("ill", "--json", code=1, **arguments).stdout)["plugins"]
    assert [each["code"] for each in found["findings"]] == ["blocking-call", "no-py-typed"]
    assert found["findings"][0]["place"].startswith("ill_package/plugin.py:")


def test_installed_plugins_that_go_in_a_circle_are_both_told(project: Path) -> None:
    arguments = install(project, "one", "two")
    (project / "test_all.py").write_text("one two")
    for name, other in (("one", "two"), ("two", "one")):
        text = in_class(f"host_plugin = {{'after': ['{other}'], 'requires': ['echo']}}")
        (project / f"{name}_package" / "__init__.py").write_text(text)
    for name in ("one", "two"):
        [report] = json.loads(doctor(name, "--json", code=1, **arguments).stdout)["plugins"]
        [found] = report["findings"]
        assert (found["code"], found["place"]) == ("order-cycle", f"{name}_package/__init__.py")
        assert found["message"].endswith("one -> two -> one")


NEEDY = f"""\
from pydantic import BaseModel
from host import hookimpl
class Options(BaseModel):
    file: str
class Ill:
    def __init__(self, options): self.file = open(options.file)
{READS}
"""


def test_options_that_have_to_be_set_are_no_fault(project: Path) -> None:
    (project / "ill.py").write_text(NEEDY)
    done = doctor("./ill.py", "--strict", folder=project, code=0)
    assert "it was not constructed, since it needs options" in done.stdout
    [found] = examined(project, NEEDY, "--set", "options.ill.file=ill.py", code=0)
    assert (found["code"], found["place"]) == ("leaves-file", "ill.py:6")


def test_hooks_are_checked_even_if_options_have_to_be_set(project: Path) -> None:
    [found] = examined(project, NEEDY.replace("on_readable", "on_readible"), code=1)
    assert found["code"] == "unknown-hook"


@pytest.mark.parametrize(
    ("parameters", "codes"), [("line", []), ("connection, lines", ["wrong-argument"])]
)
def test_the_hooks_that_other_plugins_bring_are_known(
    project: Path, parameters: str, codes: list[str]
) -> None:
    text = f"from host import hookimpl\n@hookimpl\ndef on_line({parameters}): ...\n"
    assert [each["code"] for each in examined(project, text, code=bool(codes))] == codes


def test_flags_are_written_behind_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "host", "plugins", "--plugin", "echo", "doctor"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=patience(60),
        check=False,
    )
    assert done.returncode == 2
    assert "flags come after the command: plugins doctor" in done.stderr
