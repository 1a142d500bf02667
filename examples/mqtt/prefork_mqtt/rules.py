"""Who is let in and who may do what: hooks that other plugins implement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from host import Connection, Host, hookspec

Login = tuple[str, str | None, bytes | None]
"""Name of the client, name to log in with, and password."""


class Specs:
    """The hooks that the broker brings."""

    @hookspec(firstresult=True)
    def check_login(
        self, connection: Connection, client_id: str, username: str | None, password: bytes | None
    ) -> bool | None:
        """Ask whether a client is let in.

        Runs in: the worker that serves the connection.
        Calls: once for each CONNECT, in the plugins named by the option `logins`, in that order,
            until one answers. Without an answer the client is not let in.
        Blocking: no.

        Args:
            connection: the connection; `connection.origin.tls` has the client's certificate.
            client_id: what the client calls itself; "" if the server is to choose a name.
            username: the name to log in with, None if there is none.
            password: likewise.
        Returns: whether it is let in, None to leave that to the next plugin.
        Fails: the connection is closed, others go on.

        Example:
            from host import hookimpl

            @hookimpl
            def check_login(username: str | None, password: bytes | None) -> bool:
                return username == "sensor" and password == b"secret"
        """

    @hookspec(firstresult=True)
    def check_topic(
        self, client_id: str, username: str | None, topic: str, publishes: bool
    ) -> bool | None:
        """Ask whether a client may publish to a topic, or subscribe with a filter.

        Runs in: the worker that serves the connection.
        Calls: once for each PUBLISH, each will and each filter, in the plugins named by the option
            `permissions`, in that order, until one answers. Without an answer it may not.
        Blocking: no.

        Args:
            client_id: the client.
            username: the name that it has logged in with.
            topic: the topic, or the filter with its wildcards.
            publishes: whether it is to publish; else to subscribe.
        Returns: whether it may, None to leave that to the next plugin.
        Fails: the connection is closed, others go on.

        Example:
            from host import hookimpl

            @hookimpl
            def check_topic(username: str | None, topic: str) -> bool:
                return topic.startswith(f"home/{username}/")
        """


class Rules:
    """Asks the plugins that the options name.

    Args:
        host: the host.
        logins: the plugins that implement `check_login`.
        permissions: those that implement `check_topic`.

    Raises:
        PluginError: one of them does not.
    """

    def __init__(self, host: Host, logins: Sequence[str], permissions: Sequence[str]) -> None:
        self._login: Callable[..., Any] | None = None
        self._topic: Callable[..., Any] | None = None
        if logins:
            self._login = host.hook("check_login", logins)
        if permissions:
            self._topic = host.hook("check_topic", permissions)

    def let_in(self, connection: Connection, login: Login) -> bool:
        """Tell whether a client is let in."""
        return self._login is None or bool(self._login(connection, *login))

    def allow(self, client_id: str, username: str | None, topic: str, *, publishes: bool) -> bool:
        """Tell whether a client may publish to a topic, or subscribe with a filter."""
        if publishes and topic[:1] == "$":  # which is the server's own [4.7.2]
            return False
        return self._topic is None or bool(self._topic(client_id, username, topic, publishes))
