"""Echo of datagrams with an asyncio protocol; with the argument `uvloop` on uvloop."""

from __future__ import annotations

import asyncio
import importlib
import sys
from typing import Any


class Echo(asyncio.DatagramProtocol):
    """Sends back what it receives."""

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        """Keep the transport."""
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Send it back."""
        self.transport.sendto(data, addr)


async def main() -> None:
    """Serve."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    print("port", transport.get_extra_info("sockname")[1], flush=True)
    await loop.create_future()


if __name__ == "__main__":
    (importlib.import_module("uvloop") if sys.argv[1:] else asyncio).run(main())
