"""Protocols of well-known libraries say goodbye in the way of each."""

import asyncio
from types import SimpleNamespace

import pytest

from host.asyncio import goodbyes

DEADLINE_FAR = 1e12


class Calls(list):
    """A transport, or a protocol, that notes what is called."""

    closing = False

    def write(self, data):
        self.append(data)

    def close(self, *words):
        self.append(("close", *words))

    def disconnect(self, *words):
        self.append(("disconnect", *words))

    def is_closing(self):
        return self.closing


def of(library, **attributes):
    """Return a protocol whose class is one of a library's, or derived from one."""
    base = type("Base", (Calls,), {"__module__": f"{library}.deep.inside"})
    made = type("Mine", (base,), attributes)
    return made()


@pytest.mark.parametrize("library", sorted(goodbyes.GOODBYES))
def test_a_library_is_known_by_the_module_of_a_base(library):
    assert goodbyes.goodbye_of(of(library)) is goodbyes.GOODBYES[library]


def test_others_are_not_known():
    assert goodbyes.goodbye_of(asyncio.Protocol()) is None
    assert goodbyes.goodbye_of(of("aiosmtpd_of_mine")) is None


def test_mail_that_is_being_sent_is_waited_for():
    transport, envelope = Calls(), SimpleNamespace(mail_from="a@x")
    protocol = of("aiosmtpd", envelope=envelope)

    async def scene():
        task = asyncio.create_task(goodbyes.aiosmtpd(protocol, transport, DEADLINE_FAR))
        await asyncio.sleep(0)
        assert transport == []
        envelope.mail_from = None
        await task

    asyncio.run(scene())
    assert transport == [b"421 4.3.2 the server goes away\r\n", ("close",)]


def test_mail_is_not_waited_for_beyond_the_deadline():
    transport = Calls()
    protocol = of("aiosmtpd", envelope=SimpleNamespace(mail_from="a@x"))
    asyncio.run(goodbyes.aiosmtpd(protocol, transport, 0.0))
    assert transport[-1] == ("close",)


def test_a_connection_that_is_closing_is_told_nothing():
    transport = Calls()
    transport.closing = True
    asyncio.run(goodbyes.aiosmtpd(of("aiosmtpd"), transport, DEADLINE_FAR))
    assert transport == []


def test_sessions_are_waited_for():
    protocol = of("asyncssh", _channels={1: "shell"})

    async def scene():
        task = asyncio.create_task(goodbyes.asyncssh(protocol, Calls(), DEADLINE_FAR))
        await asyncio.sleep(0)
        assert protocol == []
        protocol._channels.clear()
        await task

    asyncio.run(scene())
    assert protocol == [("disconnect", 11, "the server goes away")]


def test_websockets_are_closed_without_a_code_before_the_handshake_is_over():
    protocol, transport = of("websockets", state=SimpleNamespace(name="CONNECTING")), Calls()
    goodbyes.websockets(protocol, transport, DEADLINE_FAR)
    assert (protocol, transport) == ([], [("close",)])


def test_websockets_are_closed_with_a_code():
    protocol = of("websockets")
    goodbyes.websockets(protocol, Calls(), DEADLINE_FAR)
    assert protocol == [("close", 1001, "the server goes away")]
