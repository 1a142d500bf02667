"""How a broker is tried: what does not answer is told of in the time of one beat."""

import asyncio
import re
from contextlib import suppress
from pathlib import Path

import pytest

from host.bridge.link import LinkError
from host.bridge.scripts import SCRIPTS
from host.bridge.trial import commands, try_broker
from host.bus.broker import BrokerSettings
from host.settings.bus import parse_url


def tried(answers):
    """Try a server that has these answers, one for each piece that comes, and then none."""

    async def serve(reader, writer):
        with suppress(OSError, EOFError):
            for answer in answers:
                await reader.read(65_536)
                writer.write(answer)
            await reader.read()
        writer.close()
        ended.set()

    async def run():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            address = parse_url(f"redis://127.0.0.1:{port}")
            try:
                return await try_broker(BrokerSettings(address, "", None, "n", lease_seconds=0.6))
            finally:
                await ended.wait()

    ended = asyncio.Event()
    return asyncio.run(run())


def test_what_scripts_do_is_found_and_is_what_the_page_tells_of():
    """A command that is not found is not tried."""
    page = (Path(__file__).parents[3] / "docs" / "bus.md").read_text()
    rights = set(re.findall(r"\+(\w+)", page.partition("\nACL SETUSER ")[2].partition("```")[0]))
    others = "hello auth select info script evalsha subscribe unsubscribe psubscribe punsubscribe"
    assert {each.lower() for each in commands()} == rights - set(others.split())
    text = "".join(SCRIPTS.values())
    assert len(re.findall(r"redis\.p?call\(", text)) - 2 * text.count("local function try(") == len(
        re.findall(r"redis\.p?call\('[A-Z]+'", text)
    )


@pytest.mark.parametrize(
    ("answers", "cause"),
    [
        ([], "does not answer"),
        ([b"%0\r\n"], "does not answer"),
        ([b"-ERR unknown command 'HELLO'\r\n"], "refuses 'HELLO'"),
        ([b"%0\r\n", b"-NOPERM no\r\n"], "refuses 'INFO'"),
        ([b"HTTP/1.1 400 Bad Request\r\n\r\n"], "not the protocol of Redis"),
        ([b"%0\r\n" + b"%0\r\n" * 2], "an answer to no question"),
    ],
)
def test_what_cannot_be_used_is_told_of(answers, cause):
    with pytest.raises(LinkError, match=cause):
        tried(answers)


def test_who_does_not_say_who_it_is_is_told_of():
    with pytest.raises(LinkError, match="does not tell its run_id"):
        tried([b"%0\r\n", b"$4\r\nrole\r\n", b"+digest\r\n" * len(SCRIPTS)])
