"""Libraries for asyncio, served as their own pages have it."""

from __future__ import annotations

import asyncio
import os
import ssl
from typing import Any

import asyncssh
import trustme
from aiohttp import web
from aiosmtpd.smtp import SMTP
from websockets.asyncio.server import serve as serve_websockets

from host.asyncio import AsyncioProtocol, serve

CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
trustme.CA().issue_cert("localhost").configure_cert(CONTEXT)
KEY = asyncssh.generate_private_key("ssh-ed25519")
RELEASE = "RELEASE"
"""A variable with the name of a pipe: a slow page is answered when somebody writes to it."""


class Sink:
    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        print(envelope.mail_from, envelope.rcpt_tos, len(envelope.content), flush=True)
        return "250 OK"


mail = serve(lambda: SMTP(Sink(), tls_context=CONTEXT))


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()


secure = serve(echo, ssl=CONTEXT)


class SecureServer(AsyncioProtocol):
    async def start(self, worker: Any) -> Any:
        return await asyncio.start_server(echo, "prefork", ssl=CONTEXT)


class Anybody(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return False


class Shell(AsyncioProtocol):
    async def start(self, worker: Any) -> Any:
        async def handle(process: Any) -> None:
            data = await process.stdin.read()
            process.stdout.write(f"{process.command} {len(data)}\n")
            process.exit(7)

        return await asyncssh.listen(
            "prefork", 0, server_host_keys=[KEY], server_factory=Anybody, process_factory=handle
        )


class Sockets(AsyncioProtocol):
    async def start(self, worker: Any) -> Any:
        async def echo(client: Any) -> None:
            async for message in client:
                await client.send(message)

        return await serve_websockets(echo, "prefork")


class Streams(AsyncioProtocol):
    async def start(self, worker: Any) -> Any:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while line := await reader.readline():
                writer.write(line)
            writer.close()

        server = await asyncio.start_server(echo, "prefork")
        assert server.is_serving()
        return server


class Twice(AsyncioProtocol):
    async def start(self, worker: Any) -> Any:
        await asyncio.start_server(print, "prefork")
        await asyncio.start_server(print, "prefork")


class Nothing(AsyncioProtocol):
    pass


class Site(AsyncioProtocol):
    async def start(self, worker: Any) -> None:
        async def page(_request: web.Request) -> web.Response:
            return web.Response(text="hello\n")

        async def big(_request: web.Request) -> web.Response:
            return web.Response(body=b"x" * 50_000_000)

        async def file(_request: web.Request) -> web.FileResponse:
            return web.FileResponse(__file__)

        async def slow(_request: web.Request) -> web.Response:
            print("slow", flush=True)
            loop = asyncio.get_running_loop()
            pipe = await loop.run_in_executor(None, open, os.environ[RELEASE])
            text = await loop.run_in_executor(None, pipe.read)
            pipe.close()
            return web.Response(text=text)

        async def upload(request: web.Request) -> web.Response:
            return web.Response(text=str(len(await request.read())))

        app = web.Application(client_max_size=10_000_000)
        app.add_routes([web.get("/", page), web.get("/big", big), web.get("/file", file)])
        app.add_routes([web.get("/slow", slow), web.post("/upload", upload)])
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        await web.TCPSite(self.runner, "prefork").start()

    async def stop(self, worker: Any) -> None:
        await self.runner.cleanup()
