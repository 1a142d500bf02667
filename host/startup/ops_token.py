"""What a host needs to show how it is: the code that does, and the token of its settings."""

from __future__ import annotations

import importlib

from pydantic import SecretStr

from host.settings import Loaded, Problem, SettingsError
from host.settings.ops import check_token
from host.startup.secret_file import first_line
from host.text import reason

MODULE = "host.ops.process"
"""What runs in the process; only a host that has one imports it, before it opens anything."""


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
        return SecretStr(check_token(first_line(settings.token_file)))
    except OSError as error:
        raise _problem(loaded, "ops.token_file", reason(error)) from None
    except ValueError as error:
        raise _problem(loaded, "ops.token_file", f"its first line: {error}") from None


def _problem(loaded: Loaded, key: str, message: str) -> SettingsError:
    value = getattr(loaded.settings.ops, key.removeprefix("ops."))
    shown = ", ".join(f'"{each}"' for each in ([value] if isinstance(value, str) else value))
    return SettingsError([Problem(key, shown, message, f"from {loaded.origin(key)}")])
