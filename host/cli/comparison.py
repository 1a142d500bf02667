"""Says what a reload of a running host would change."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from host.control.client import ask, bad_answer
from host.settings import AppliedSetting, Difference, differences, is_fixed
from host.text import aligned, printable

_SECONDS = 10.0
_KEPT = ("(flag)", "(environment)")
"""How the origin of a value ends that a host keeps over a reload: it was started with it."""

_SHARDS = re.compile(r"(listen\[\d+\])\.shards")


def running_settings(name: str) -> list[AppliedSetting]:
    """Ask a running host for its settings.

    Raises:
        RemoteError: the host cannot be asked.
    """
    answer = ask(name, "applied", {}, _SECONDS)
    try:
        return [AppliedSetting(**each) for each in answer["settings"]]
    except (KeyError, TypeError) as error:
        raise bad_answer(name) from error


def compared(
    name: str, running: Sequence[AppliedSetting], found: Sequence[AppliedSetting]
) -> Iterator[str]:
    """Yield lines that say what a reload of a host would change.

    Args:
        name: the host's name.
        running: its settings.
        found: the settings that a reload would find.
    """
    started = {each.key: each.origin for each in running if each.origin.endswith(_KEPT)}
    changed, kept = [], []
    for each in differences(running, found):
        origin = _origin_at_start(each, started)
        if origin is None:
            changed.append(each)
        else:
            kept.append(each._replace(origin=origin))
    keys = {each.key for each in changed}
    refused = [each for each in changed if _takes_restart(each.key, keys)]
    changed = [each for each in changed if each not in refused]
    if refused:
        yield f'a reload of host "{name}" would be refused, since only a restart can change:'
        yield _table(refused)
    if changed:
        yield "it would change besides:" if refused else f'a reload of host "{name}" would change:'
        yield _table(changed)
    elif refused:
        pass
    else:
        yield f'a reload of host "{name}" would change no setting'
    if kept:
        yield "it would keep what the host was started with, and only a restart would change:"
        yield _table(kept)


def _takes_restart(key: str, changed: Collection[str]) -> bool:
    """Tell whether a reload is refused for a setting, as `reexec` does.

    Another listener in the same place of the list has other shards, and no fewer or more.
    """
    if found := _SHARDS.fullmatch(key):
        return f"{found[1]}.address" not in changed
    return is_fixed(key)


def _origin_at_start(each: Difference, started: Mapping[str, str]) -> str | None:
    """Return with what a host was started that a setting comes from or belongs to, or None.

    An item belongs to its list, also in what it does not say itself; so do the options that only
    one side has to the choice of plugins.

    Args:
        each: the setting.
        started: the origin, by key, of what it was started with.
    """
    if each.key in started:
        return started[each.key]
    name, *_ = each.key.partition("[")
    lists = {key.partition("[")[0]: origin for key, origin in started.items() if "[" in key}
    if name in lists:
        return lists[name]
    one_sided = each.before is None or each.after is None
    return started.get("plugins") if one_sided and each.key.startswith("options.") else None


def _table(found: Sequence[Difference]) -> str:
    rows = [
        tuple(printable(text) for text in (f"  {each.key}", _shown(each), f"# {each.origin}"))
        for each in found
    ]
    return aligned(rows, text=range(3))


def _shown(each: Difference) -> str:
    before, after = ("nothing" if value is None else value for value in (each.before, each.after))
    return f"{before} -> {after}"
