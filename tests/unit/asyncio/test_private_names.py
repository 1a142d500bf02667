"""The names of asyncio that are private and that the host relies on, in this version of Python."""

import asyncio
import inspect
import ssl

import pytest

from host.asyncio.event_loop import OWNER


def test_what_is_ready_and_what_is_due(loop):
    assert not loop._ready
    loop.call_soon(print)
    assert len(loop._ready) == 1
    assert not loop._scheduled
    loop.call_later(20, print)
    first = loop.call_later(10, print)
    assert loop._scheduled[0] is first
    assert first._when == first.when()
    assert loop.has_work()


def test_stopping(loop):
    assert loop._stopping is False
    loop.stop()
    assert loop._stopping is True
    loop.run_forever()
    assert loop._stopping is False


def test_handles_know_their_callback_and_context(loop):
    handle = loop.call_soon(print)
    assert handle._callback is print
    assert handle._context.get(OWNER) is None


def test_tasks_take_an_attribute(loop):
    async def nothing():
        pass

    task = loop.create_task(nothing())
    task.prefork_plugin = 1
    assert task.prefork_plugin == 1
    loop.run_until_complete(task)


def test_signals(loop):
    assert loop._signal_handlers == {}
    with pytest.raises(ValueError, match="invalid signal number"):
        loop._check_signal(1000)


def test_what_transports_are_asked_for():
    mode = asyncio.constants._SendfileMode
    assert mode.FALLBACK is not mode.TRY_NATIVE
    assert issubclass(asyncio.transports._FlowControlMixin, asyncio.Transport)
    assert isinstance(asyncio.base_events._SendfileFallbackProtocol, type)


def test_files_are_sent_by_a_method_of_the_loop():
    parameters = inspect.signature(asyncio.SelectorEventLoop._sendfile_native).parameters
    assert [*parameters] == ["self", "transp", "file", "offset", "count"]


def test_tls_shows_the_protocol_that_is_spoken(loop):
    protocol, context = asyncio.Protocol(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made = asyncio.sslproto.SSLProtocol(loop, protocol, context, None, server_side=True)
    assert made._app_protocol is protocol
    assert made._get_app_transport().get_protocol() is protocol
    made._get_app_transport()._closed = True  # else it complains when it goes away
