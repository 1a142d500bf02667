"""Headers of the PROXY protocol are read as another implementation writes them, and no others."""

import random
import struct
from ipaddress import IPv4Address, IPv6Address
from socket import AF_INET, AF_INET6, SOCK_STREAM, inet_ntop

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from proxyprotocol.result import (
    ProxyResultIPv4,
    ProxyResultIPv6,
    ProxyResultLocal,
    ProxyResultUnknown,
)
from proxyprotocol.tlv import ProxyProtocolSSLTLV, ProxyProtocolTLV
from proxyprotocol.v1 import ProxyProtocolV1
from proxyprotocol.v2 import ProxyProtocolV2

from host.interfaces import ProxyHeader, ProxyTls
from host.net.proxy_protocol import MAX_BYTES, ProxyHeaderError, crc32c, parse
from host.net.sockets import describe

ANY = frozenset({1, 2})
PROXY = "10.0.0.1:555"
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
PORTS = st.integers(0, 65_535)
TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)


def ends(addresses):
    return st.tuples(st.tuples(addresses, PORTS), st.tuples(addresses, PORTS))


FOUR, SIX = (
    ends(st.integers(0, 2**32 - 1).map(IPv4Address)),
    ends(st.integers(0, 2**128 - 1).map(IPv6Address)),
)


def read(data, versions=ANY):
    return parse(data, versions, PROXY)


def v2(command=0x21, family=0x11, block=bytes(12), length=None):
    length = len(block) if length is None else length
    return SIGNATURE + struct.pack(">BBH", command, family, length) + block


def address_of(end):
    """Return the text for an address and a port, as the C library writes it."""
    family = AF_INET if end[0].version == 4 else AF_INET6
    return describe((inet_ntop(family, end[0].packed), end[1]))


@given(FOUR | SIX, st.sampled_from(["v1", "v2", "v2 with all else"]), TEXTS, st.binary(max_size=40))
def test_what_another_implementation_writes_is_read(pair, form, authority, more):
    four = isinstance(pair[0][0], IPv4Address)
    tlv = None
    if form == "v2 with all else":
        tlv = ProxyProtocolTLV(alpn=b"h2", authority=authority, unique_id=b"\x00id")
    result = (ProxyResultIPv4 if four else ProxyResultIPv6)(
        pair[0], pair[1], protocol=SOCK_STREAM, tlv=tlv
    )
    implementation = ProxyProtocolV1() if form == "v1" else ProxyProtocolV2()
    header = implementation.pack(result)
    for size in range(len(header)):
        assert read(header[:size]) is None
    found = read(header + more)
    assert found is not None
    assert found.size == len(header)
    assert (found.host, found.port) == (
        inet_ntop(AF_INET if four else AF_INET6, pair[0][0].packed),
        pair[0][1],
    )
    said = found.header
    assert (said.source, said.destination) == (address_of(pair[0]), address_of(pair[1]))
    assert (said.version, said.local, said.peer) == (int(form[1]), False, PROXY)
    if tlv is not None:
        assert (said.alpn, said.authority, said.unique_id) == (b"h2", authority, b"\x00id")
    else:
        assert (said.alpn, said.authority, said.unique_id) == (None, None, None)


@given(
    TEXTS,
    st.from_regex(r"[A-Z0-9_-]{1,30}", fullmatch=True),
    st.sampled_from([None, "conn", "sess"]),
    st.booleans(),
    st.binary(max_size=40),
)
def test_what_a_proxy_says_of_tls_is_read(name, cipher, shown, verified, other):
    said = ProxyProtocolSSLTLV(
        init={0x99: other},
        has_ssl=True,
        has_cert_conn=shown == "conn",
        has_cert_sess=shown == "sess",
        verified=verified,
        version="TLSv1.3",
        cn=name if shown else None,
        cipher=cipher,
    )
    tls = proxy_header((0x20, bytes(said))).tls
    assert tls == ProxyTls("TLSv1.3", cipher, name if shown else None, bool(shown) and verified)


def proxy_header(*tlvs):
    return ProxyHeader(2, False, PROXY, "192.0.2.7:1", "192.0.2.1:2", tlvs)


@pytest.mark.parametrize(
    ("value", "tls"),
    [
        (b"", None),
        (bytes.fromhex("00 00000000"), None),  # no TLS
        (bytes.fromhex("01 0000"), None),
        (bytes.fromhex("01 00000000"), ProxyTls(None, None, None, False)),
        (bytes.fromhex("03 00000000"), ProxyTls(None, None, None, True)),
        (bytes.fromhex("03 00000100"), ProxyTls(None, None, None, False)),
        (bytes.fromhex("05 00000000 22 0001 61"), ProxyTls(None, None, "a", True)),
        (bytes.fromhex("05 00000000 22 0001"), ProxyTls(None, None, None, True)),
        (bytes.fromhex("01 00000000 22 0001 61 22 0001 62"), ProxyTls(None, None, "a", False)),
    ],
)
def test_what_a_proxy_says_of_tls_may_be_little(value, tls):
    assert proxy_header((0x20, value)).tls == tls
    assert proxy_header().tls is None


@given(st.binary(max_size=60))
def test_what_a_proxy_says_of_tls_raises_nothing(value):
    proxy_header((0x20, b"\x01" + value)).tls  # noqa: B018


NAMELESS = {
    "v1": ProxyProtocolV1().pack(ProxyResultUnknown()),
    "v2, unknown": ProxyProtocolV2().pack(ProxyResultUnknown()),
    "v2, local": ProxyProtocolV2().pack(ProxyResultLocal()),
}


@pytest.mark.parametrize("header", NAMELESS.values(), ids=NAMELESS)
def test_a_proxy_may_name_no_client(header):
    found = read(header + b"hello")
    assert found is not None
    assert (found.size, found.host, found.header.local) == (len(header), None, True)
    assert found.header.source is None


def test_addresses_of_unix_sockets_are_skipped():
    found = read(v2(family=0x31, block=b"a" * 216))
    assert found is not None
    assert (found.host, found.header.source) == (None, "unix")


WRONG = {
    "HTTP": b"GET / HTTP/1.1\r\n",
    "TLS": b"\x16\x03\x01",
    "another case": b"proxy TCP4 ",
    "no addresses": b"PROXY TCP4\r\n",
    "one space too many": b"PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n",
    "one word too many": b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
    "an unknown family": b"PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n",
    "a leading zero": b"PROXY TCP4 01.2.3.4 5.6.7.8 1 2\r\n",
    "a leading zero in a port": b"PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
    "a port that is too large": b"PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n",
    "a port with a sign": b"PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n",
    "a port in other digits": "PROXY TCP4 1.2.3.4 5.6.7.8 \u0661 2\r\n".encode(),
    "an address that is short": b"PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n",
    "the other family": b"PROXY TCP4 ::1 ::1 1 2\r\n",
    "a scope": b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
    "no end": b"PROXY TCP4 " + b"1" * 100,
    "an end too late": b"PROXY UNKNOWN " + b"1" * 92 + b"\r\n",
    "a version of its own": v2(command=0x31),
    "an unknown command": v2(command=0x22),
    "datagrams": v2(family=0x12),
    "an unknown family in v2": v2(family=0x41),
    "too few bytes for the addresses": v2(block=bytes(11)),
    "too few bytes for those of IPv6": v2(family=0x21, block=bytes(35)),
    "a value beyond the end": v2(block=bytes(12) + b"\x02\x00\x05abcd"),
    "half a type": v2(block=bytes(12) + b"\x02\x00"),
    "a length that makes no sense": v2(length=4097),
    "a checksum that is wrong": v2(block=bytes(12) + b"\x03\x00\x04\x00\x00\x00\x01"),
    "a checksum that is short": v2(block=bytes(12) + b"\x03\x00\x01\x00"),
}


@pytest.mark.parametrize("data", WRONG.values(), ids=WRONG)
def test_what_is_no_header_is_refused(data):
    with pytest.raises(ProxyHeaderError):
        read(data)


@pytest.mark.parametrize(("data", "version"), [(b"PROXY UNKNOWN\r\n", 2), (v2(), 1)])
def test_a_version_that_is_not_asked_for_is_refused(data, version):
    with pytest.raises(ProxyHeaderError):
        read(data, frozenset({version}))


def test_the_longest_headers_are_taken():
    longest = b"PROXY UNKNOWN " + b"1" * 91 + b"\r\n"
    assert len(longest) == 107
    assert read(longest) is not None
    block = bytes(12) + b"\x04" + struct.pack(">H", 4096 - 15) + bytes(4096 - 15)
    found = read(v2(block=block))
    assert found is not None
    assert found.size == MAX_BYTES


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_a_checksum_that_is_right_is_taken(before, after):
    def value(kind, data):
        return bytes([kind]) + struct.pack(">H", len(data)) + data

    first, last = value(0xEE, before), value(0x04, after)
    blank = v2(block=bytes(12) + first + value(0x03, bytes(4)) + last)
    right = value(0x03, struct.pack(">I", crc32c(blank)))
    found = read(v2(block=bytes(12) + first + right + last))
    assert found is not None
    assert found.header.value(0xEE) == before


def test_the_checksum_is_that_of_the_standard():
    assert crc32c(b"123456789") == 0xE3069283  # the check value of CRC-32C
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4


HEADERS = [b"PROXY TCP4 1.2.3.4 5.6.7.8 1000 80\r\n", v2(block=bytes(12) + b"\x02\x00\x01a")]


@given(st.sampled_from(HEADERS), st.randoms(use_true_random=False))
@example(v2(), random.Random(0))
def test_no_bytes_raise_anything_else(header, rng):
    data = bytearray(header)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(data) + 1)
        match rng.randrange(3):
            case 0:
                data[place:place] = rng.randbytes(1)
            case 1:
                del data[place : place + 1]
            case 2:
                data[place : place + 1] = rng.randbytes(1)
    try:
        found = read(bytes(data))
    except ProxyHeaderError:
        return
    assert found is None or found.size <= len(data)
