"""The grammar of addresses, and of the texts that contain them."""

import contextlib
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.settings import Address
from host.settings.address import FORMS, parse, split


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("tcp://127.0.0.1:7000", Address("tcp4", host="127.0.0.1", port=7000)),
        ("tcp://localhost:0", Address("tcp4", host="127.0.0.1")),
        ("tcp://*:65535", Address("tcp4", host="0.0.0.0", port=65535)),
        ("tcp://[::1]:80", Address("tcp6", host="::1", port=80)),
        ("tcp://[0:0::1]:80", Address("tcp6", host="::1", port=80)),
        ("udp://localhost:53", Address("udp4", host="127.0.0.1", port=53)),
        ("udp://*:0", Address("udp4", host="0.0.0.0")),
        ("udp://[::]:53", Address("udp6", host="::", port=53)),
        ("unix:/run/x.sock", Address("unix", path="/run/x.sock")),
        ("unix:x.sock", Address("unix", path="x.sock")),
        ("unix:@name", Address("unix", path="@name")),
        ("unix:" + "x" * 107, Address("unix", path="x" * 107)),
        ("unix:@" + "x" * 107, Address("unix", path="@" + "x" * 107)),
        ("fd:web", Address("fd", path="web")),
        ("fd:prefork.socket", Address("fd", path="prefork.socket")),
        ("fd:3", Address("fd", path="3")),
        ("fd:" + "x" * 255, Address("fd", path="x" * 255)),
    ],
)
def test_parses_every_form(text, address):
    assert parse(text) == address
    assert parse(str(address)) == address


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", f"expected {FORMS}"),
        ("sctp://[::1]:80", f"expected {FORMS}"),
        ("udp://127.0.0.1", "the port is missing, expected udp://HOST:PORT"),
        ("udp://::1:80", "an IPv6 address needs brackets, expected udp://[IPv6]:PORT"),
        ("udp://[::1]", "the port is missing, expected udp://[IPv6]:PORT"),
        ("tcp://127.0.0.1", "the port is missing, expected tcp://HOST:PORT"),
        ("tcp://::1:80", "an IPv6 address needs brackets, expected tcp://[IPv6]:PORT"),
        ("tcp://:80", 'the host is missing; "*" means every IPv4 address'),
        (
            "tcp://example.org:80",
            '"example.org" is no IP address; host names other than "localhost" are not resolved',
        ),
        ("tcp://127.0.0.1:65536", '"65536" is no port, expected 0 to 65535'),
        ("tcp://127.0.0.1:", '"" is no port, expected 0 to 65535'),
        ("tcp://127.0.0.1:+1", '"+1" is no port, expected 0 to 65535'),
        ("tcp://127.0.0.1:٣", '"٣" is no port, expected 0 to 65535'),
        ("tcp://[::1]", "the port is missing, expected tcp://[IPv6]:PORT"),
        ("tcp://[::g]:1", '"::g" is no IPv6 address'),
        ("tcp://[fe80::1%eth0]:1", "an IPv6 address with a scope (%) is not supported"),
        ("unix:", "the path is missing, expected unix:/path or unix:@name"),
        ("unix:@", "the path is missing, expected unix:/path or unix:@name"),
        ("unix:///run/x", 'expected unix:/path, without "//"'),
        ("unix:a\0b", "a Unix address cannot contain a NUL character"),
        ("fd:", "the name is missing, expected fd:NAME or fd:NUMBER"),
        ("fd:2", '"2" is no number of a socket, which begin at 3'),
        ("fd:03", '"03" is no number of a socket, which begin at 3'),
        *[
            (
                f"fd:{name}",
                "no service manager calls a socket that: expected at most 255 characters of ASCII"
                ' without ":"',
            )
            for name in ("a:b", "é", "a\nb", "x" * 256)
        ],
        ("unix:" + "é" * 54, "the path has 108 bytes, the system takes 107"),
    ],
)
def test_refuses_with_a_sentence(text, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        parse(text)
    assert str(caught.value) == message


@given(st.ip_addresses(), st.integers(0, 65535))
def test_every_ip_address_survives(ip, port):
    host = f"[{ip}]" if isinstance(ip, ipaddress.IPv6Address) else str(ip)
    for scheme in ("tcp", "udp"):
        parsed = parse(f"{scheme}://{host}:{port}")
        assert (ipaddress.ip_address(parsed.host), parsed.port) == (ip, port)
        assert parse(str(parsed)) == parsed


@given(st.text())
def test_any_text_is_an_address_or_a_value_error(text):
    for prefix in ("", "tcp://", "tcp://[", "udp://", "udp://[", "unix:", "fd:"):
        with contextlib.suppress(ValueError):
            assert parse(str(parsed := parse(prefix + text))) == parsed


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("unix:/a", ("unix:/a", None)),
        ("unix:/a=echo", ("unix:/a", "echo")),
        ("unix:/a=b=echo", ("unix:/a=b", "echo")),
        ("unix:/a=pkg.mod:Class", ("unix:/a", "pkg.mod:Class")),
        ("unix:/a=b/c", ("unix:/a=b/c", None)),
        ("unix:/a=", ("unix:/a=", None)),
    ],
)
def test_splits_at_the_last_equals_sign(text, parts):
    assert split(text) == parts


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("127.0.0.1:7000", "tcp://127.0.0.1:7000"),
        ("localhost:7000", "tcp://localhost:7000"),
        ("*:7000", "tcp://*:7000"),
        (":7000", "tcp://*:7000"),
        ("7000", "tcp://127.0.0.1:7000"),
        ("[::1]:7000", "tcp://[::1]:7000"),
        ("tcp:127.0.0.1:7000", "tcp://127.0.0.1:7000"),
        ("http://127.0.0.1:7000/", "tcp://127.0.0.1:7000"),
        ("TCP://127.0.0.1:7000", "tcp://127.0.0.1:7000"),
        ("udp:127.0.0.1:53", "udp://127.0.0.1:53"),
        ("UDP4://:53", "udp://*:53"),
        ("/run/x.sock", "unix:/run/x.sock"),
        ("./x.sock", "unix:./x.sock"),
        ("@name", "unix:@name"),
        ("fd://3", "fd:3"),
        ("fd://web/", "fd:web"),
        ("example.com:7000", None),
        ("http://127.0.0.1:7000/path", None),
        ("nonsense", None),
    ],
)
def test_an_address_without_its_scheme_is_told_with_it(text, meant):
    with pytest.raises(ValueError, match="expected tcp:") as caught:
        parse(text)
    said = str(caught.value).partition("; ")[2]
    assert said == ("" if meant is None else f'did you mean "{meant}"?')
