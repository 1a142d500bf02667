"""The app: found, and told of the start and the end of its worker."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import traceback
from typing import Any

from uvicorn.lifespan.on import LifespanOn
from uvicorn.protocols.http.flow_control import service_unavailable

from host import PluginError

_NAME = "asgi"


def find(reference: str, folder: str) -> Any:
    """Import an app.

    Args:
        reference: `module:attribute`.
        folder: is searched after all that is installed; empty: nothing is.

    Raises:
        PluginError: it cannot be imported, or there is none.
    """
    if folder and (path := os.path.abspath(folder)) not in sys.path:
        sys.path.append(path)
    module, _, attributes = reference.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or f"{module}.".startswith(f"{error.name}."):
            raise _refusal(
                f'there is no module "{error.name}"',
                f"The app is looked for in what is installed and in {os.path.abspath(folder)}: "
                "see options.asgi.app and options.asgi.app_folder.",
            ) from None
        raise _failed(reference, error) from error
    except Exception as error:
        raise _failed(reference, error) from error
    for step in attributes.split("."):
        if not hasattr(found, step):
            hint = f"The module is {getattr(found, '__file__', None) or module}."
            raise _refusal(f'there is no "{step}" in {module}', hint)
        found = getattr(found, step)
    if not callable(found):
        kind = type(found).__name__
        raise _refusal(f"{reference} is no ASGI app: it cannot be called (it is: {kind})", None)
    return found


def check(app: Any, reference: str) -> None:
    """Check that an app can be called as in ASGI: with scope, receive and send (3), or scope (2).

    Raises:
        PluginError: it cannot: it is an app of WSGI, or a function that makes one.
    """
    try:
        signature = inspect.signature(app)
    except (TypeError, ValueError):  # of what is written in C it is not known
        return
    if not any(_takes(signature, count) for count in (3, 1)):
        hint = "An app of WSGI needs an adapter, such as WSGIMiddleware of a2wsgi."
        if _takes(signature, 0):
            hint = "If it makes the app, set options.asgi.factory (--factory)."
        takes = ", ".join(signature.parameters)
        cause = "is no ASGI app, which is called with (scope, receive, send): it takes"
        raise _refusal(f"{reference} {cause} ({takes})", hint)


def _takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def _failed(reference: str, error: Exception) -> PluginError:
    last = traceback.extract_tb(error.__traceback__)[-1]
    cause = f"importing the app {reference} failed: {type(error).__name__}: {error}"
    return PluginError(_NAME, cause, where=f"{last.filename}:{last.lineno}  {last.line or ''}")


def _refusal(cause: str, hint: str | None) -> PluginError:
    return PluginError(_NAME, cause, hint=hint)


class StartupError(Exception):
    """The app has said that it cannot start."""


class Lifespan(LifespanOn):
    """Tells the app of the start and the end of its worker (ASGI, lifespan protocol 2.0)."""

    failure = ""

    async def send(self, message: Any) -> None:
        """Take what the app says; keep why it cannot start."""
        if message["type"] == "lifespan.startup.failed":
            self.failure = message.get("message", "")
        await super().send(message)

    async def begin(self) -> None:
        """Tell of the start.

        Raises:
            StartupError: the app has failed to start.
        """
        await self.startup()
        if self.should_exit:
            why = self.failure.strip() or "it does not say why; the log has what it has raised"
            raise StartupError(f"the app has not started: {why}")


class Limited:
    """An app that answers 503 by itself when it has too many requests.

    Args:
        app: the app.
        most: how many requests it may have at a time.
    """

    def __init__(self, app: Any, most: int) -> None:
        self._app, self._most, self._count = app, most, 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif self._count >= self._most:
            await service_unavailable(scope, receive, send)
        else:
            self._count += 1
            try:
                await self._app(scope, receive, send)
            finally:
                self._count -= 1
