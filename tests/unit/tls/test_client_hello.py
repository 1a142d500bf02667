"""What a ClientHello offers, in one record or several."""

import ssl
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.tls.client_hello import ClientHellos


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


def fed(data, size=1 << 14):
    """What is found in data that comes in pieces."""
    hellos = ClientHellos()
    for at in range(0, len(data), size):
        hellos.feed(data[at : at + size])
    return hellos


def offers_protocols(data):
    return fed(data).offer_protocols


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("size", [1, 40, 1 << 14])
def test_it_names_protocols_or_does_not(version, size):
    assert offers_protocols(in_records(hello(["chat/1"], version), size))
    assert not offers_protocols(in_records(hello([], version), size))


@given(st.binary(max_size=300))
def test_anything_else_offers_something_or_nothing(data):
    assert offers_protocols(data) in (True, False)
    assert offers_protocols(hello(["a"])[:60] + data) in (True, False)


def named(name):
    """A ClientHello that asks for a host by these nine bytes."""
    return hello([]).replace(b"a.example", name)


@pytest.mark.parametrize("size", [1, 7, 1 << 14])
@pytest.mark.parametrize("piece", [1, 1000])
def test_a_name_must_be_ascii(size, piece):
    assert not fed(in_records(hello([]), size), piece).name_no_host
    for name in (b"\xff.example", b"a.exampl\xe9", b"\x80" * 9):
        assert fed(in_records(named(name), size), piece).name_no_host


def test_the_second_hello_is_looked_at_too():
    between = bytes([20, 3, 3, 0, 1, 1])  # change_cipher_spec, which says nothing
    assert fed(hello([]) + between + named(b"\xff.example")).name_no_host
    assert not fed(hello([]) + between + hello([])).name_no_host


def test_a_hello_that_is_not_whole_is_waited_for():
    data = named(b"\xff.example")
    assert not fed(data[:-1]).name_no_host
    assert fed(data).name_no_host
