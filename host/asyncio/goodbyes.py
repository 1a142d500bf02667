"""How protocols of well-known libraries say goodbye to their peers, as the worker goes away.

No library is imported for this: a protocol tells by its class which one it is of.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

Goodbye = Callable[[Any, asyncio.Transport, float], object]
"""Called with a protocol, its transport and the deadline; returns nothing, or a coroutine."""

_GOING_AWAY = 1001
"""The code of a WebSocket that is closed since its server goes away (RFC 6455, 7.4.1)."""
_BY_APPLICATION = 11
"""SSH_DISCONNECT_BY_APPLICATION (RFC 4253, 11.1)."""
_REASON = "the server goes away"
_LAST_SECONDS = 1.0
"""So long before the deadline what is still open is ended, in order that it ends in order."""
_LOOK_SECONDS = 0.1


def goodbye_of(protocol: object) -> Goodbye | None:
    """Return how the library that a protocol is of says goodbye; None if it is not known."""
    for kind in type(protocol).__mro__:
        goodbye = GOODBYES.get(kind.__module__.partition(".")[0])
        if goodbye is not None:
            return goodbye
    return None


def uvicorn(protocol: Any, _transport: asyncio.Transport, _deadline: float) -> None:
    """Close when the response under way has been sent, at once if there is none."""
    protocol.shutdown()


def aiohttp(protocol: Any, _transport: asyncio.Transport, deadline: float) -> object:
    """Close when the response under way has been sent; end its handler before the deadline."""
    return protocol.shutdown(max(0.0, _seconds_left(deadline) - _LAST_SECONDS))


def websockets(protocol: Any, _transport: asyncio.Transport, _deadline: float) -> object:
    """Close with the code 1001."""
    return protocol.close(_GOING_AWAY, _REASON)


async def asyncssh(protocol: Any, _transport: asyncio.Transport, deadline: float) -> None:
    """Disconnect when no session is open any more, at the latest just before the deadline."""
    while getattr(protocol, "_channels", None) and _seconds_left(deadline) > _LAST_SECONDS:
        await asyncio.sleep(_LOOK_SECONDS)
    protocol.disconnect(_BY_APPLICATION, _REASON)


async def aiosmtpd(protocol: Any, transport: asyncio.Transport, deadline: float) -> None:
    """Reply with 421 (RFC 5321, 3.8) once no mail is being sent, and close."""
    while _has_mail(protocol) and _seconds_left(deadline) > _LAST_SECONDS:
        await asyncio.sleep(_LOOK_SECONDS)
    if not transport.is_closing():
        transport.write(b"421 4.3.2 %s\r\n" % _REASON.encode())
        transport.close()


def _has_mail(protocol: Any) -> bool:
    envelope = getattr(protocol, "envelope", None)
    return getattr(envelope, "mail_from", None) is not None


def _seconds_left(deadline: float) -> float:
    return deadline - asyncio.get_running_loop().time()


GOODBYES: Mapping[str, Goodbye] = {
    "aiohttp": aiohttp,
    "aiosmtpd": aiosmtpd,
    "asyncssh": asyncssh,
    "uvicorn": uvicorn,
    "websockets": websockets,
}
"""By the name of the library."""
