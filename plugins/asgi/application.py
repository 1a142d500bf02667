"""The app: found, and told of the start and the end of its worker."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import os
import sys
import traceback
from typing import Any, Literal

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
            if module.endswith(".py"):
                hint = f"Name the module, not its file: {reference.replace('.py:', ':')}."
                raise _refusal(f'there is no module "{module}"', hint) from None
            raise _refusal(
                f'there is no module "{error.name}"',
                f"The app is looked for in what is installed and in {os.path.abspath(folder)}: "
                "see options.asgi.app and options.asgi.app_folder.",
            ) from None
        raise _failed(reference, error) from error
    except (Exception, SystemExit) as error:
        raise _failed(reference, error) from error
    for step in attributes.split("."):
        if not hasattr(found, step):
            hint = f"The module is {getattr(found, '__file__', None) or module}."
            raise _refusal(f'there is no "{step}" in {module}', hint)
        found = getattr(found, step)
    return found


def interface_of(app: Any, name: str) -> Literal["asgi2", "asgi3"]:
    """Return the version of ASGI that an app speaks: what it is called with tells.

    Args:
        app: the app.
        name: what it is called in messages.

    Raises:
        PluginError: it is none.
    """
    if not callable(app):
        raise _refusal(f"{name} is no ASGI app: it cannot be called (it is: {_kind(app)})", None)
    if _takes(app, 3):
        return "asgi3"
    if _takes(app, 1):
        return "asgi2"
    hint = "An app of WSGI needs an adapter, such as WSGIMiddleware of a2wsgi."
    if _takes(app, 0):
        hint = "If it makes the app, set options.asgi.factory (--factory)."
    takes = ", ".join(inspect.signature(app).parameters)
    cause = "is no ASGI app, which is called with (scope, receive, send): it takes"
    raise _refusal(f"{name} {cause} ({takes})", hint)


def check_factory(factory: Any, reference: str) -> None:
    """See that something can make the app.

    Raises:
        PluginError: it is no factory.
    """
    if not callable(factory) or not _takes(factory, 0):
        raise _refusal(
            f"{reference} is no factory: it cannot be called without arguments",
            "If it is the app, leave options.asgi.factory (--factory) away.",
        )


def _takes(function: Any, count: int) -> bool:
    """Tell whether a function can be called with so many arguments, as far as that is known."""
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # of one in C, which does not tell
        return True
    return True


def _kind(value: Any) -> str:
    return type(value).__name__


def _failed(reference: str, error: BaseException) -> PluginError:
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{last.filename}:{last.lineno}  {last.line or ''}"
    if isinstance(error, SyntaxError):
        where = f"{error.filename}:{error.lineno}  {(error.text or '').strip()}"
    cause = f"importing the app {reference} failed: {_kind(error)}: {error}"
    return PluginError(_NAME, cause, where=where)


def _refusal(cause: str, hint: str | None) -> PluginError:
    return PluginError(_NAME, cause, hint=hint)


class Lifespan(LifespanOn):
    """Tells the app of the start and the end of its worker (ASGI, lifespan protocol 2.0)."""

    failure = ""
    _task: asyncio.Task[None]

    async def send(self, message: Any) -> None:
        """Take what the app says; keep why it cannot start."""
        if message["type"] == "lifespan.startup.failed":
            self.failure = message.get("message", "").strip()
            if "\n" not in self.failure:  # all of it is told once; of a traceback, the last line
                message = {"type": message["type"]}
        await super().send(message)

    async def begin(self) -> None:
        """Tell of the start.

        Raises:
            PluginError: the app has failed to start.
        """
        self._task = asyncio.get_running_loop().create_task(self.main())
        await self.receive_queue.put({"type": "lifespan.startup"})
        await self.startup_event.wait()
        if self.startup_failed or (self.error_occurred and self.config.lifespan == "on"):
            last = self.failure.rpartition("\n")[2]
            why = last or "it does not say why; the log has what it has raised"
            raise PluginError(_NAME, f"the app has not started: {why}")


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
