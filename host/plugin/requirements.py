"""Says which plugins a plugin requires, and what is wrong if they are not there."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import NamedTuple

from host.plugin.discovery import Source
from host.settings import nearest
from host.text import listed, suggest

FORMS = '"NAME", "NAME>=1.2", "NAME<2" or "NAME>=1.2,<2", with versions of numbers and dots'
_REQUIREMENT = r"([^\s<>=!~,;()\[\]]+)\s*(.*)"
_BOUND = r"(?a)\s*(>=|<)\s*(\d+(?:\.\d+)*)\s*"
# Epoch, release, and what makes a version one before that release; what follows does not matter
# here (Python Packaging User Guide, "Version specifiers").
_VERSION = (
    r"(?ai)v?(?:(\d+)!)?(\d+(?:\.\d+)*)([-_.]?(?:a|b|c|rc|alpha|beta|pre|preview|dev)(?![a-z]))?.*"
)


class _Bound(NamedTuple):
    """The lowest version that will do, or the first one that will not."""

    lowest: bool
    release: tuple[int, ...]


class Requirement(NamedTuple):
    """A plugin that must be selected.

    Attributes:
        text: the requirement as it is written.
        plugin: the plugin's name.
        bounds: what its distribution's version must keep to.
    """

    text: str
    plugin: str
    bounds: tuple[_Bound, ...]


def parse(text: str) -> Requirement:
    """Return a requirement from its text.

    Raises:
        ValueError: it has none of the `FORMS`.
    """
    found = re.fullmatch(_REQUIREMENT, text)
    written = found[2].split(",") if found and found[2] else []
    bounds = [match for each in written if (match := re.fullmatch(_BOUND, each))]
    if found is None or len(bounds) < len(written):
        raise ValueError(text)
    kept = tuple(_Bound(each[1] == ">=", _release(each[2])) for each in bounds)
    return Requirement(text, found[1], kept)


def _release(text: str) -> tuple[int, ...]:
    """Return the numbers of a release; 1.2.0 is the same as 1.2."""
    numbers = [int(each) for each in text.split(".")]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def keeps(version: str, requirement: Requirement) -> bool:
    """Tell whether a distribution's version keeps to the bounds of a requirement.

    A pre-release comes before its release: neither ">=2" nor "<2" lets 2.0rc1 in.

    Raises:
        ValueError: the version cannot be compared.
    """
    found = re.fullmatch(_VERSION, version.strip())
    if found is None:
        raise ValueError(version)
    epoch, release, early = int(found[1] or 0), _release(found[2]), found[3] is not None
    return all(
        (epoch, release) > (0, bound.release)
        or (bound.release == release and not epoch and not early)
        if bound.lowest
        else (epoch, release) < (0, bound.release)
        for bound in requirement.bounds
    )


def unmet(
    requirement: Requirement, selected: Mapping[str, Source], installed: Collection[str]
) -> tuple[str, str] | None:
    """Return what is wrong, and the cure, or None if a requirement is met.

    Args:
        requirement: what a plugin requires.
        selected: the plugins that are selected, by name.
        installed: the names of all that are installed.
    """
    name, wrong = requirement.plugin, f'it requires "{requirement.text}"'
    if name in selected:
        return _unmet_version(requirement, selected[name], wrong)
    if name in installed:
        return f"{wrong}, which is not selected", f"Select it as well: --plugin {name}"
    near = suggest(nearest(name, {*selected, *installed}))
    return (
        f"{wrong}, which is not installed{near}\ninstalled: {listed(sorted(installed)) or 'none'}",
        f"Install the distribution that has it, and select it: --plugin {name}",
    )


def _unmet_version(requirement: Requirement, source: Source, wrong: str) -> tuple[str, str] | None:
    if not requirement.bounds:
        return None
    if source.distribution is None or source.version is None:
        cure = "Select it from an installed distribution, or require it without a version."
        return f"{wrong}, and {source.origin} has no version", cure
    try:
        if keeps(source.version, requirement):
            return None
    except ValueError:
        cure = "Ask the author of that distribution for a version of the usual form."
        return f"{wrong}, and {source.origin} has a version that cannot be compared", cure
    bounds = requirement.text.removeprefix(requirement.plugin).strip()
    return (
        f"{wrong}, and it is of {source.distribution} {source.version}",
        f'Install another version of that: pip install "{source.distribution}{bounds}"',
    )
