"""What a ClientHello offers, in one record or several."""

import ssl
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.tls.client_hello import offers_protocols


def hello(protocols, version=ssl.TLSVersion.TLSv1_3):
    context = ssl.create_default_context()
    context.maximum_version = version
    if protocols:
        context.set_alpn_protocols(protocols)
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="a.example")
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def in_records(data, size):
    """Cut one record into several."""
    head, body = data[:3], data[5:]
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(head + len(part).to_bytes(2) + part for part in parts)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("size", [1, 40, 1 << 14])
def test_it_names_protocols_or_does_not(version, size):
    assert offers_protocols(in_records(hello(["chat/1"], version), size))
    assert not offers_protocols(in_records(hello([], version), size))


@given(st.binary(max_size=300))
def test_anything_else_offers_something_or_nothing(data):
    assert offers_protocols(data) in (True, False)
    assert offers_protocols(hello(["a"])[:60] + data) in (True, False)
