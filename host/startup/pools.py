"""What processes of pools need, looked at before anything starts: an interpreter, and modules."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from host.settings import Loaded, Problem, SettingsError


def check_pools(loaded: Loaded, *, interpreter: str = "", library: str = "") -> None:
    """Check that processes of pools can start, as the user that this process is; none is started.

    Args:
        loaded: the settings.
        interpreter: the program of these processes; this one's if left out.
        library: the folder of the standard library; this one's if left out.

    Raises:
        SettingsError: this user may not read the interpreter or its library, or there is no module
            of a name in `preload`.
    """
    interpreter = interpreter or sys.executable
    library = library or os.path.dirname(os.__file__)
    pools = {name: p for name, p in loaded.settings.pools.items() if p.kind == "processes"}
    problems = []
    if cause := _unusable(interpreter, os.X_OK) or _unusable(library, os.R_OK | os.X_OK):
        message = (
            f"its processes could not start: {cause}. Let that user read the interpreter and its "
            'library, run one that everybody can read, or set kind = "threads"'
        )
        for name in pools:
            problems.append(_problem(loaded, f"pools.{name}.kind", "processes", message))
    else:
        problems += _missing(loaded)
    if problems:
        raise SettingsError(problems)


def _missing(loaded: Loaded) -> Iterator[Problem]:
    """Yield the modules that there are not; none is imported."""
    for name, pool in loaded.settings.pools.items():
        for module in pool.preload:
            if importlib.util.find_spec(module.partition(".")[0]) is None:
                cause = "there is no such module, so no process of this pool could start"
                yield _problem(loaded, f"pools.{name}.preload", module, cause)


def _unusable(path: str, mode: int) -> str:
    """Say what keeps this user from a file or folder; "" for nothing."""
    if path and os.access(path, mode, effective_ids=True):
        return ""
    who = f"uid {os.geteuid()}"
    for folder in reversed(Path(os.path.realpath(path)).parents):
        if os.path.exists(folder) and not os.access(folder, os.X_OK, effective_ids=True):
            return f"{who} may not enter {folder}, on the way to {path}"
    if not os.path.exists(path):
        return f'there is no "{path}"'
    return f"{who} may not read or execute {path}"


def _problem(loaded: Loaded, key: str, value: str, message: str) -> Problem:
    return Problem(key, f'"{value}"', message, f"from {loaded.origin(key)}")
