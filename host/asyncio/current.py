"""The connection that code runs for just now, as asyncio.current_task has the task."""

from __future__ import annotations

from contextvars import ContextVar

from host.interfaces import Connection

CONNECTION: ContextVar[Connection | None] = ContextVar("prefork connection", default=None)
"""Set in the context of each connection, which its tasks inherit."""


def current_connection() -> Connection | None:
    """Return the connection that the running task or method of a protocol serves; None if none.

    Tasks that a protocol makes serve its connection, too, and so do the tasks that they make.
    """
    return CONNECTION.get()
