"""Echo with an asyncio protocol on uvloop, over TLS: `uvloop_tls CERTIFICATE KEY`."""

from __future__ import annotations

import asyncio
import ssl
import sys

import uvloop

from bench.peers.asyncio_protocol import BACKLOG, Echo


async def main(certificate: str, key: str) -> None:
    """Serve."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0, ssl=context, backlog=BACKLOG)
    print("port", server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
