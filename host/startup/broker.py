"""What a host needs to speak to a broker: the code that does, a password, files for TLS."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from host.settings import Loaded, Problem, SettingsError
from host.startup.secret_file import first_line
from host.text import reason

if TYPE_CHECKING:
    import ssl

    from host.bus.broker import BrokerSettings

MODULE = "host.bridge.process"
"""What runs in the process; only a host that has one imports it, before it opens anything."""


def prepare_broker(loaded: Loaded) -> BrokerSettings | None:
    """Import what speaks to a broker, if settings ask for that: later it might be other code.

    Returns:
        Which broker it is, and how it is spoken to; None if there is none.

    Raises:
        SettingsError: a package is missing, or a file cannot be used.
    """
    settings = loaded.settings.bus
    if settings.is_embedded:
        return None
    try:
        importlib.import_module(MODULE)
    except ModuleNotFoundError as error:
        if error.name != "hiredis":
            raise
        message = "it takes the package hiredis: pip install 'prefork[redis]'"
        raise _problem(loaded, "url", message) from None
    from host.bus.broker import BrokerSettings  # noqa: PLC0415  (that code has imported it)

    password = settings.password.get_secret_value()
    if settings.password_file:
        try:
            password = _password_in(settings.password_file)
        except OSError as error:
            raise _problem(loaded, "password_file", reason(error)) from None
        except ValueError as error:
            raise _problem(loaded, "password_file", str(error)) from None
    return BrokerSettings(
        address=settings.address,
        password=password,
        context=_context(loaded) if settings.address.is_tls else None,
        namespace=settings.namespace,
        lease_seconds=settings.lease_seconds,
    )


def _context(loaded: Loaded) -> ssl.SSLContext:
    """Return how TLS is spoken with the broker.

    Raises:
        SettingsError: a file cannot be used.
    """
    import ssl  # noqa: PLC0415  (a host without TLS does not import it)

    settings = loaded.settings.bus
    try:
        context = ssl.create_default_context(cafile=settings.ca or None)
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        raise _problem(loaded, "ca", _cause(error)) from None
    if settings.certificate:
        try:
            context.load_cert_chain(settings.certificate, settings.key, password=_no_password)
        except (OSError, ValueError) as error:
            raise _problem(loaded, "certificate", f"with its key: {_cause(error)}") from None
    return context


def _password_in(file: str) -> str:
    """Return the password of a file.

    Raises:
        OSError: it cannot be read.
        ValueError: there is none.
    """
    if password := first_line(file):
        return password
    raise ValueError("its first line is empty")


def _no_password() -> str:
    """Have a key that is encrypted be refused: else somebody would be asked at the terminal."""
    raise ValueError("the key is encrypted")


def _cause(error: Exception) -> str:
    import ssl  # noqa: PLC0415  (as above)

    if isinstance(error, ssl.SSLError):
        return error.reason or "it is no certificate in PEM"
    return reason(error) if isinstance(error, OSError) else str(error)


def _problem(loaded: Loaded, name: str, message: str) -> SettingsError:
    key, value = f"bus.{name}", getattr(loaded.settings.bus, name)
    return SettingsError([Problem(key, f'"{value}"', message, f"from {loaded.origin(key)}")])
