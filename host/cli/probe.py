"""`status --ready`, with no more than that takes: it may be asked each second."""

from __future__ import annotations

import os
from collections.abc import Sequence

from host.control.client import ask, default_name, running
from host.errors import RemoteError
from host.runtime import early_signals, streams
from host.text import printable

TYPE_CHECKING = False  # see host/__init__.py
if TYPE_CHECKING:
    from typing import Any

_SECONDS = 10.0


def readiness(name: str, timeout: float) -> dict[str, Any]:
    """Return whether new connections should be sent to a host, and why not.

    Args:
        name: the host's name; one that is not there is not ready.
        timeout: seconds that it may take.
    """
    try:
        found = ask(name, "status", {"ready": True}, timeout)
    except RemoteError as error:
        found = {"ready": False, "not_ready": str(error)}
    return {key: found[key] for key in ("ready", "not_ready")}


def in_words(found: dict[str, Any]) -> str:
    """Return what is said of it."""
    return "ready" if found["ready"] is True else f"not ready: {printable(found['not_ready'])}"


def answer(arguments: Sequence[str]) -> int | None:
    """Carry out `status --ready`; return the exit code.

    All that has more options is left to the command line, which takes five times as long to import.

    Args:
        arguments: what was typed besides: nothing, `--name NAME` or `--name=NAME`.

    Returns:
        None if something else was typed, or a name is needed; then nothing has happened.
    """
    match arguments:
        case []:
            name = os.environ.get("PREFORK_NAME", "")
        case ["--name", given]:
            name = given
        case [word] if word.startswith("--name="):
            name = word.removeprefix("--name=")
        case _:
            return None
    early_signals.unblock()
    try:
        found = readiness(name or default_name(running()), _SECONDS)
        print(in_words(found), flush=True)
    except (RemoteError, KeyError):  # several run; or an answer that is not understood
        return None
    except OSError:  # nobody takes it, but the code is what is asked for
        pass
    if not streams.flush():
        streams.forget()
    return 0 if found["ready"] is True else 1
