"""The grammar of listening addresses."""

from __future__ import annotations

import ipaddress
import os
import re
from contextlib import suppress
from typing import Literal, NamedTuple

Family = Literal["tcp4", "tcp6", "udp4", "udp6", "unix", "fd"]

FORMS = "tcp://HOST:PORT, tcp://[IPv6]:PORT, udp://HOST:PORT, unix:/path, unix:@name or fd:NAME"

EXAMPLE = "tcp://127.0.0.1:8000"
PARTS_OF_AN_ADDRESS = frozenset({"addr", "bind", "host", "hostname", "interface", "ip", "port"})
"""What other servers have settings for, and is written as one address here."""

# sockaddr_un.sun_path holds 108 bytes, one of them the NUL that ends a path or begins an abstract
# name: unix(7).
_MAX_PATH_BYTES = 107
FIRST_PASSED = 3
"""The number of the first socket that a service manager passes: sd_listen_fds(3)."""
_MAX_NAME = 255
"""How long the name of a socket is that a service manager passes: sd_pid_notify_with_fds(3)."""

NAME = r"[A-Za-z_][A-Za-z0-9_.-]*"
_DOTTED = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"
PLUGIN_PATTERN = rf"^(?:{NAME}|{_DOTTED})$"
_PLUGIN = re.compile(PLUGIN_PATTERN)
_ALIASES = {"localhost": "127.0.0.1", "*": "0.0.0.0"}


class Address(NamedTuple):
    """An address to listen on.

    Attributes:
        family: `tcp4`, `tcp6`, `udp4`, `udp6`, `unix`, or `fd` for a socket that the service
            manager passes.
        host: The IP address in its canonical form; "" for `unix` and `fd`.
        port: The TCP or UDP port, 0 to let the system choose one; 0 for `unix` and `fd`.
        path: The path of the socket file, or `@name` in the abstract namespace; of a socket that
            is passed the name or the number; "" for TCP and UDP.
    """

    family: Family
    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def is_local(self) -> bool:
        """Whether only programs of this machine reach it: a Unix socket or a loopback address.

        Of a socket that is passed that is not known before it is there.
        """
        if self.family in ("unix", "fd"):
            return self.family == "unix"
        return ipaddress.ip_address(self.host).is_loopback

    @property
    def is_udp(self) -> bool:
        """Whether datagrams arrive there, and not connections."""
        return self.family in ("udp4", "udp6")

    @property
    def is_wildcard(self) -> bool:
        """Whether it stands for every IP address of the machine."""
        if self.family in ("unix", "fd"):
            return False
        return ipaddress.ip_address(self.host).is_unspecified

    def __str__(self) -> str:
        if self.family in ("unix", "fd"):
            return f"{self.family}:{self.path}"
        host = f"[{self.host}]" if self.family.endswith("6") else self.host
        return f"{self.family[:3]}://{host}:{self.port}"


def parse(text: str) -> Address:
    """Parse an address.

    Names are not resolved: what one means can change between two starts, and resolving may block.

    Raises:
        ValueError: With a sentence for the operator when `text` is no address.
    """
    for scheme in ("tcp", "udp"):
        if text.startswith(f"{scheme}://["):
            host, port = _parse_ip6(scheme, text.removeprefix(f"{scheme}://["))
            return Address("tcp6" if scheme == "tcp" else "udp6", host, port)
        if text.startswith(f"{scheme}://"):
            host, port = _parse_ip4(scheme, text.removeprefix(f"{scheme}://"))
            return Address("tcp4" if scheme == "tcp" else "udp4", host, port)
    if text.startswith("unix:"):
        return _parse_unix(text.removeprefix("unix:"))
    if text.startswith("fd:") and not text.startswith("fd://"):
        return _parse_fd(text.removeprefix("fd:"))
    meant = _meant(text)
    raise ValueError(f"expected {FORMS}" + (f'; did you mean "{meant}"?' if meant else ""))


def _meant(text: str) -> str | None:
    """Return the address that was meant by a text without a scheme, or with that of a URL."""
    scheme = "udp" if re.match(r"(?i)udp[46]?:", text) else "tcp"
    rest = re.sub(r"(?i)^(((tcp|udp)[46]?|https?|unix|fd):)?(//)?", "", text).removesuffix("/")
    if text.startswith("fd:"):
        forms = ["fd:{}"]
    elif rest.startswith(("/", "./", "../", "@")):
        forms = ["unix:{}"]
    else:
        forms = [f"{scheme}://{{}}", f"{scheme}://{'*' if rest[:1] == ':' else '127.0.0.1:'}{{}}"]
    for form in forms:
        with suppress(ValueError):
            parse(form.format(rest))
            return form.format(rest)
    return None


def split(text: str) -> tuple[str, str | None]:
    """Split `ADDRESS=PLUGIN` at its last "="; the plugin is None when only an address is there.

    What follows the "=" of a Unix path that happens to contain one is taken for a plugin if it
    could be one; such a path is written as a table.
    """
    address, equals, plugin = text.rpartition("=")
    if equals and _PLUGIN.fullmatch(plugin):
        return address, plugin
    return text, None


def _parse_ip4(scheme: str, rest: str) -> tuple[str, int]:
    host, colon, port = rest.rpartition(":")
    if not colon:
        raise ValueError(f"the port is missing, expected {scheme}://HOST:PORT")
    if ":" in host:
        raise ValueError(f"an IPv6 address needs brackets, expected {scheme}://[IPv6]:PORT")
    if not host:
        raise ValueError('the host is missing; "*" means every IPv4 address')
    try:
        canonical = str(ipaddress.IPv4Address(_ALIASES.get(host, host)))
    except ValueError:
        raise ValueError(
            f'"{host}" is no IP address; host names other than "localhost" are not resolved'
        ) from None
    return canonical, _parse_port(port)


def _parse_ip6(scheme: str, rest: str) -> tuple[str, int]:
    host, _, tail = rest.partition("]")
    if not tail.startswith(":"):
        raise ValueError(f"the port is missing, expected {scheme}://[IPv6]:PORT")
    if "%" in host:
        raise ValueError("an IPv6 address with a scope (%) is not supported")
    try:
        canonical = str(ipaddress.IPv6Address(host))
    except ValueError:
        raise ValueError(f'"{host}" is no IPv6 address') from None
    return canonical, _parse_port(tail[1:])


def _parse_port(text: str) -> int:
    # int() alone would also take " 80", "8_0" and digits of other scripts.
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535):
        raise ValueError(f'"{text}" is no port, expected 0 to 65535')
    return int(text)


def _parse_unix(path: str) -> Address:
    name = path.removeprefix("@")
    if not name:
        raise ValueError("the path is missing, expected unix:/path or unix:@name")
    if path.startswith("//"):
        raise ValueError('expected unix:/path, without "//"')
    if "\0" in path:
        raise ValueError("a Unix address cannot contain a NUL character")
    size = len(os.fsencode(name))
    if size > _MAX_PATH_BYTES:
        raise ValueError(f"the path has {size} bytes, the system takes {_MAX_PATH_BYTES}")
    return Address("unix", path=path)


def _parse_fd(name: str) -> Address:
    if not name:
        raise ValueError("the name is missing, expected fd:NAME or fd:NUMBER")
    # What a service manager takes for a name: FileDescriptorName= in systemd.socket(5).
    if not (name.isascii() and name.isprintable() and ":" not in name and len(name) <= _MAX_NAME):
        raise ValueError(
            f"no service manager calls a socket that: expected at most {_MAX_NAME} characters of"
            ' ASCII without ":"'
        )
    if name.isdigit() and (int(name) < FIRST_PASSED or name != str(int(name))):
        raise ValueError(f'"{name}" is no number of a socket, which begin at {FIRST_PASSED}')
    return Address("fd", path=name)
