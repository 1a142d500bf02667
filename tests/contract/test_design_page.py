"""The design page has a line for each module of the host, and names nothing that does not exist."""

import pkgutil
import re
from pathlib import Path

import pytest

import host

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "design.md").read_text(encoding="utf-8")
MODULES = sorted(
    each.name.removeprefix("host.")
    for each in pkgutil.walk_packages(host.__path__, "host.")
    if not each.ispkg
)
TOP = {name.partition(".")[0] for name in MODULES}


def with_a_line():
    """Return the modules that have a line in the tables of the packages, in their order."""
    _, _, after = PAGE.partition("\n## Packages\n")
    section, _, _ = after.partition("\n## ")
    _, _, tables = section.partition("\n### ")
    return re.findall(r"^\| `(?:host\.)?([\w.]+)` \|", tables, re.MULTILINE)


def named():
    """Return the dotted names in backticks that begin with a module or a package of the host."""
    names = re.findall(r"`(?:host\.)?(\w+\.[\w.]+)`", PAGE)
    return sorted({name for name in names if name.partition(".")[0] in TOP})


def test_every_module_has_one_line_in_the_tables():
    assert sorted(with_a_line()) == MODULES


@pytest.mark.parametrize("name", named())
def test_what_is_named_exists(name):
    assert pkgutil.resolve_name(f"host.{name}") is not None
