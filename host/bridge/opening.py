"""How a connection to a broker begins: logged in, told of the scripts, and asked who it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

from host.bridge.link import Link, LinkError, ask, connect, load
from host.bridge.scripts import SCRIPTS
from host.bus.broker import BrokerSettings
from host.runtime.loop import Loop


class Opened(NamedTuple):
    """A connection that can be used.

    Attributes:
        link: the connection.
        run: the run of the server.
        version: its version.
        digests: the digest of each script.
    """

    link: Link
    run: bytes
    version: str
    digests: dict[str, str]


async def open_link(
    settings: BrokerSettings,
    on_push: Callable[[list[Any]], object],
    on_end: Callable[[str], object],
    on_read: Callable[[], object],
    host_loop: Loop | None,
) -> Opened:
    """Connect, log in and load the scripts, all in the time of one beat.

    Raises:
        LinkError: the broker is away, or refuses.
    """
    link = None
    try:
        async with asyncio.timeout(settings.beat_seconds):
            link = await connect(
                *(settings.address, settings.password, on_push, on_end, on_read),
                *(settings.context, host_loop),
            )
            info = await ask(link, "INFO", "server")
            digests = await load(link, SCRIPTS)
            run, version = _field(info, b"run_id"), _field(info, b"redis_version")
    except (LinkError, TimeoutError) as error:
        cause = "it does not answer" if isinstance(error, TimeoutError) else str(error)
        if link is not None:
            link.close(cause)
        raise LinkError(cause) from None
    return Opened(link, run, version.decode(errors="replace"), digests)


def _field(info: Any, name: bytes) -> bytes:
    """Return one field of what INFO returns.

    Raises:
        LinkError: it is not there.
    """
    for line in info.splitlines() if isinstance(info, bytes) else ():
        if line.startswith(name + b":"):
            return bytes(line.partition(b":")[2].strip())
    raise LinkError(f"it does not tell its {name.decode()}")
