"""Who may read what: tokens, and names that a request may be for."""

from __future__ import annotations

import functools
import hmac
import ipaddress
import re
import socket
from collections.abc import Iterable
from contextlib import suppress
from http import HTTPStatus

from host.ops.http import Request, Response, text

_PORT = re.compile(r":[0-9]{0,5}$")


class Access:
    """Lets requests in, or says why not.

    Args:
        token: the token that requests must bear; "" if none is asked for.
        hosts: names of this machine, beside its own.
        open_paths: paths for which no token is asked: nothing of the host is in what they show.
        probes: paths for which no name is checked either: whatever probes them names the machine as
            it likes, and learns a word.
    """

    def __init__(
        self, token: str, hosts: Iterable[str], open_paths: Iterable[str], probes: Iterable[str]
    ) -> None:
        own = {"localhost", socket.gethostname().lower()}
        self._token, self._hosts = token.encode(), own | {each.lower() for each in hosts}
        self._open, self._probes = frozenset(open_paths), frozenset(probes)
        self._is_own = functools.lru_cache(64)(self._means_this_machine)  # each asks with one name

    def refusal(self, request: Request) -> Response | None:
        """Return what a request is told that is not let in; None if it is."""
        if request.path in self._probes:
            return None
        named = request.headers.get("host", "")
        if named and not self._is_own(named):
            words = "this host has another name: add the one of the request to ops.hosts"
            return text(HTTPStatus.MISDIRECTED_REQUEST, words)
        if not self._token or request.path in self._open:
            return None
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        # As long for a wrong one as for the right one, wherever they differ.
        if scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self._token):
            return None
        words = "the header Authorization must be `Bearer` and the token of ops.token"
        asked = {"WWW-Authenticate": 'Bearer realm="prefork"'}
        return text(HTTPStatus.UNAUTHORIZED, words, asked)

    def _means_this_machine(self, named: str) -> bool:
        """Tell whether a header `Host` (RFC 9110, 7.2) means this machine: by its address, too."""
        host = _PORT.sub("", named.strip().lower()).rstrip(".")
        if host in self._hosts:
            return True
        with suppress(ValueError):
            ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
            return True
        return False
