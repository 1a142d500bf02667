"""What a ClientHello offers, in one record or several."""

import ssl
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.tls.client_hello import ClientHellos
from support.bytecodes import counted_bytecodes


def hello(protocols, version=ssl.TLSVersion.TLSv1_3, name=b"a.example"):
    context = ssl.create_default_context()
    context.maximum_version = version
    if protocols:
        context.set_alpn_protocols(protocols)
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="a.example")
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read().replace(b"a.example", name)


def in_records(data, size):
    """Cut one record into several."""
    head, body = data[:3], data[5:]
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(head + len(part).to_bytes(2) + part for part in parts)


def told(*parts, wants_protocols=True):
    hellos = ClientHellos(wants_protocols=wants_protocols)
    for part in parts:
        hellos.feed(part)
    return hellos


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("size", [1, 40, 1 << 14])
def test_it_names_protocols_or_does_not(version, size):
    offered = told(in_records(hello(["chat/1", "h2"], version), size))
    assert offered.protocols == {b"chat/1", b"h2"}
    assert not told(in_records(hello([], version), size)).protocols


@pytest.mark.parametrize("size", [1, 40, 1 << 14])
@pytest.mark.parametrize("at_once", [1, 7, 1 << 14])
@pytest.mark.parametrize("place", [0, 4, 8])
def test_a_name_with_bytes_that_no_name_has(size, at_once, place):
    name = bytearray(b"a.example")
    name[place] = 0x80
    data = in_records(hello([], name=bytes(name)), size)
    hellos = ClientHellos()
    for at in range(0, len(data), at_once):
        assert hellos.name_is_ascii
        hellos.feed(data[at : at + at_once])
    assert not hellos.name_is_ascii


def test_the_second_hello_is_looked_at_too():
    bad = hello([], name=b"\xff.example")
    change = b"\x14\x03\x03\x00\x01\x01"  # RFC 8446, D.4
    assert not told(hello([]), change + bad).name_is_ascii
    assert not told(hello([]) + bad).name_is_ascii


def test_there_are_two_of_them_at_most():
    bad = hello([], name=b"\xff.example")
    assert told(hello([]), hello([]), bad).name_is_ascii


def test_what_is_encrypted_is_not_looked_at():
    bad = hello([], name=b"\xff.example")
    key_exchange = b"\x16\x03\x03\x00\x04\x10\x00\x00\x00"
    assert told(hello([]), key_exchange, bad).name_is_ascii
    assert told(hello([]), b"\x17\x03\x03\x00\x01x", bad).name_is_ascii


def test_what_a_usual_handshake_costs():
    """In bytecodes; the limit is a tenth above what Python 3.11 counts, as in test_hot_path."""
    first, second = hello([]), b"\x14\x03\x03\x00\x01\x01\x17\x03\x03\x00\x35" + bytes(53)
    with counted_bytecodes() as counts:
        told(first, second, wants_protocols=False)
    assert counts.total <= 448


@given(st.binary(max_size=300), st.lists(st.integers(1, 60), max_size=20))
def test_anything_is_taken_in_any_parts(data, sizes):
    for start in (b"", hello(["a"])[:60], b"\x16\x03\x01\x00\xff\x01\x00\x00\xfb"):
        parts, rest = [], start + data
        for size in sizes:
            parts.append(rest[:size])
            rest = rest[size:]
        one, many = told(start + data), told(*parts, rest)
        assert one.name_is_ascii == many.name_is_ascii
        assert one.protocols == many.protocols


@given(st.binary(min_size=9, max_size=9), st.integers(0, 500), st.integers(0, 255), st.booleans())
def test_openssl_finds_no_name_in_a_changed_hello_that_was_not_seen_here(
    name, place, byte, wants_protocols
):
    """CPython can decode whatever name OpenSSL finds, or the client is refused before."""
    data = bytearray(hello(["a"], name=name))
    data[place % len(data)] = byte
    if not told(bytes(data), wants_protocols=wants_protocols).name_is_ascii:
        return
    context, incoming = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.MemoryBIO()
    context.sni_callback = lambda *_: None
    server = context.wrap_bio(incoming, ssl.MemoryBIO(), server_side=True)
    incoming.write(data)
    reasons = []
    try:
        server.do_handshake()
    except ssl.SSLError as error:
        reasons.append(error.reason)
    assert reasons != ["CALLBACK_FAILED"]
