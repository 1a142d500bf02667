"""How many datagrams the kernel has lost at UDP addresses: /proc/net/udp (proc(5))."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable

from host.settings.address import Address, parse

_FILES = {"udp4": "/proc/net/udp", "udp6": "/proc/net/udp6"}
_WORDS = {"udp4": struct.Struct("=I"), "udp6": struct.Struct("=4I")}
_LOCAL, _STATE, _DROPS = 1, 3, -1
_UNCONNECTED = "07"  # TCP_CLOSE (include/net/tcp_states.h): it hears from anybody


def lost_datagrams(addresses: Iterable[str]) -> dict[str, int]:
    """Return how many datagrams were lost at each address, as all of its sockets have it.

    It is what SO_MEMINFO tells of them, for a process that has none of these sockets. The kernel
    counts what found a full queue, or had a wrong checksum, as long as the sockets are there.

    Args:
        addresses: addresses of UDP listeners, such as `udp://127.0.0.1:53`.

    Returns:
        The number for each address that has sockets in the network namespace of this process.
    """
    wanted: dict[str, dict[str, str]] = {}
    for address in addresses:
        parsed = parse(address)
        wanted.setdefault(parsed.family, {})[_written(parsed)] = address
    found: dict[str, int] = {}
    for family, names in wanted.items():
        try:
            with open(_FILES[family], encoding="ascii") as file:
                _add(found, names, file)
        except OSError:  # there is no IPv6, or no /proc
            continue
    return found


def _add(found: dict[str, int], names: dict[str, str], lines: Iterable[str]) -> None:
    """Add what these lines tell of the addresses that are written so in them."""
    for line in lines:
        fields = line.split()
        name = names.get(fields[_LOCAL])
        if name is not None and fields[_STATE] == _UNCONNECTED:
            found[name] = found.get(name, 0) + int(fields[_DROPS])


def _written(address: Address) -> str:
    """Return an address as these files have it: words of the machine's byte order, in hex."""
    family = socket.AF_INET6 if address.family == "udp6" else socket.AF_INET
    words = _WORDS[address.family].unpack(socket.inet_pton(family, address.host))
    return "".join(f"{word:08X}" for word in words) + f":{address.port:04X}"
