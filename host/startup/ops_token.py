"""What a host needs to show how it is: the code that does, and the token of its settings."""

from __future__ import annotations

import importlib
import os
import stat

from pydantic import SecretStr

from host.settings import Loaded, Problem, SettingsError
from host.settings.ops import check_token
from host.text import reason

MODULE = "host.ops.process"
"""What runs in the process; only a host that has one imports it, before it opens anything."""
_MAX_LINE_BYTES = 8_192


def prepare_ops(loaded: Loaded) -> SecretStr | None:
    """Import what shows how the host is, if settings ask for that: later it might be other code.

    Returns:
        The token that requests must bear, empty if none is asked for; None if nothing is shown.

    Raises:
        SettingsError: a package is missing, or the file of the token cannot be used.
    """
    settings = loaded.settings.ops
    if not settings.listen:
        return None
    try:
        importlib.import_module(MODULE)
    except ModuleNotFoundError as error:
        if error.name != "h11":
            raise
        message = "it takes the package h11: pip install 'prefork[ops]'"
        raise _problem(loaded, "ops.listen", message) from None
    if not settings.token_file:
        return settings.token
    try:
        return SecretStr(check_token(_first_line(settings.token_file)))
    except OSError as error:
        raise _problem(loaded, "ops.token_file", reason(error)) from None
    except ValueError as error:  # it may be no text at all, which must not be shown
        words = "it is no text" if isinstance(error, UnicodeError) else str(error)
        raise _problem(loaded, "ops.token_file", f"its first line: {words}") from None


def _first_line(path: str) -> str:
    # Without O_NONBLOCK the host would wait for whoever writes to a FIFO (fifo(7)).
    with open(path, "rb", opener=lambda file, flags: os.open(file, flags | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is no regular file")
        return file.readline(_MAX_LINE_BYTES).decode().strip()


def _problem(loaded: Loaded, key: str, message: str) -> SettingsError:
    value = getattr(loaded.settings.ops, key.removeprefix("ops."))
    shown = ", ".join(f'"{each}"' for each in ([value] if isinstance(value, str) else value))
    return SettingsError([Problem(key, shown, message, f"from {loaded.origin(key)}")])
