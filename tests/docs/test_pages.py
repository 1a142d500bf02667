"""Links lead somewhere, tables say what the code says, and what is named exists."""

import configparser
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import host.testing
from host.errors import ExitCode
from host.plugin.binding import HOOKS, specified
from host.plugins.line.plugin import Specs
from support.manual import generate
from support.pages import table
from walkthrough import ROOT

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
RECORDS = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    """Return a page's text without its fenced blocks."""
    text = page.read_text(encoding="utf-8")
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Return the anchors that a page's headings make."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)]+)\)", prose(page)):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        there = (page.parent / file).resolve() if file else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_page_but_the_generated_ones_fits_the_screen(page):
    name = name_of(page).removeprefix("docs/")
    if name in generate.PAGES and name not in generate.PARTLY:
        return
    for number, line in enumerate(prose(page).splitlines(), 1):
        assert len(line) <= 110 or line.startswith("|"), f"{name_of(page)}:{number}"


def test_every_page_is_reached_from_the_readme():
    seen, ahead = set(), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page in seen:
            continue
        seen.add(page)
        for target in re.findall(r"\]\(([^)#]+\.md)", prose(page)):
            ahead.append((page.parent / target).resolve())
    assert set(PAGES) - seen == set()


def test_the_readme_lists_the_exit_codes():
    assert table(ROOT / "README.md", "exit code") == [
        [str(int(code)), code.description] for code in ExitCode
    ]


def test_operations_lists_the_exit_codes():
    assert table(ROOT / "docs" / "operations.md", "exit code") == [
        [str(int(code)), code.name, code.description] for code in ExitCode
    ]


def test_the_commands_that_the_readme_lists_are_those_that_there_are():
    listed = {row[0].strip("`").split()[0] for row in table(ROOT / "README.md", "command")}
    said = subprocess.run(
        [sys.executable, "-m", "host", "--help"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    there = set(re.findall(r"^  ([\w-]+)  ", said.partition("Commands:")[2], re.MULTILINE))
    assert listed | {"run"} == there


def test_the_readme_lists_the_plugins_that_ship():
    listed = {row[0].strip("`") for row in table(ROOT / "README.md", "plugin")}
    entries = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert listed == entries["entry-points"]["host.plugins"].keys()


def tox_environments() -> set[str]:
    """Return the names of all environments in tox.ini."""
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "tox.ini", encoding="utf-8")
    sections = {each.partition(":")[2] for each in config.sections() if ":" in each}
    names = {name for name in sections if "{" not in name}
    for entry in config["tox"]["env_list"].split():
        before, brace, rest = entry.partition("{")
        inside, _, after = rest.partition("}")
        choices = inside.split(",") if brace else [""]
        names |= {f"{before}{choice}{after}" for choice in choices}
    return names


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_environments_of_tox_that_are_named_exist(page):
    for names in re.findall(r"\btox -e ([\w,]+)", page.read_text(encoding="utf-8")):
        assert set(names.split(",")) <= tox_environments(), names


def test_contributing_describes_every_environment_of_tox():
    named = {
        name
        for row in table(ROOT / "CONTRIBUTING.md", "environment")
        for name in re.findall(r"`(\w+)`", row[0])
    }
    assert named == tox_environments()


def test_every_environment_of_tox_is_described():
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "tox.ini", encoding="utf-8")
    for section in config.sections():
        assert section == "tox" or config[section].get("description"), section


def test_the_layers_in_the_design_are_those_that_are_checked():
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / ".importlinter", encoding="utf-8")
    lines = config["importlinter:contract:host-layers"]["layers"].split("\n")
    layers = [set(re.findall(r"\w+", line)) for line in lines if line]
    shown: list[set[str]] = []
    for cell, _ in table(ROOT / "docs" / "design.md", "modules of `host`"):
        # "a · b" are strangers to each other in one layer, "a, b" are two layers.
        shown += [set(re.findall(r"`(\w+)`", part)) for part in cell.split(",")]
    assert shown == layers


@pytest.mark.parametrize("record", RECORDS, ids=name_of)
def test_a_decision_has_its_number_and_its_parts(record):
    text = record.read_text(encoding="utf-8")
    assert text.startswith(f"# {int(record.name[:4])}. ")
    parts = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert parts == ["Context", "Decision", "What we gave up"]
    assert len(text.splitlines()) <= 60


def test_decisions_are_numbered_without_gaps():
    assert [int(record.name[:4]) for record in RECORDS] == list(range(1, len(RECORDS) + 1))


@pytest.mark.parametrize(
    ("page", "module"), [("host.md", host), ("testing.md", host.testing)], ids=["host", "testing"]
)
def test_the_reference_has_every_public_name(page, module):
    text = (ROOT / "docs" / "reference" / page).read_text(encoding="utf-8")
    shown = re.findall(rf"^::: {module.__name__}\.(\w+)$", text, re.MULTILINE)
    assert sorted(shown) == sorted(module.__all__)


def test_the_reference_has_every_fixture():
    text = (ROOT / "docs" / "reference" / "testing.md").read_text(encoding="utf-8")
    source = (ROOT / "prefork_pytest.py").read_text(encoding="utf-8")
    fixtures = re.findall(r"^@pytest\.fixture\ndef (\w+)", source, re.MULTILINE)
    shown = re.findall(r"^::: prefork_pytest\.(\w+)$", text, re.MULTILINE)
    assert sorted(shown) == sorted(fixtures)


def test_hooks_that_pages_name_exist():
    for page in PAGES:
        if page.name == "CHANGELOG.md":
            continue
        for name in re.findall(r"`((?:on|choose)_[a-z_]+)`", prose(page)):
            assert name in {*HOOKS, *specified(Specs)}, f"{name_of(page)}: {name}"
