"""Who has most connections: `status --clients`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

from host.cli import screen

_SHOWN = 10


def busiest(
    connections: Iterable[Mapping[str, Any]], settings: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return the clients with most connections, those with most first.

    Args:
        connections: the open connections, as the command `connections` tells them.
        settings: the settings that the host runs with, as `applied` tells them: by these it is
            known which addresses are one client.
    """
    values = {each["key"]: each["value"] for each in settings}
    prefixes = {v: int(values[f"limits.client_prefix_v{v}"]) for v in (4, 6)}
    counts = Counter(_client(each, prefixes) for each in connections)
    return [{"client": name, "connections": count} for name, count in counts.most_common(_SHOWN)]


def table(found: Iterable[Mapping[str, Any]]) -> screen.Table:
    """Return the clients as a table."""
    rows = [(each["client"], each["connections"]) for each in found]
    return screen.Table.of("CLIENT CONNECTIONS", rows)


def _client(connection: Mapping[str, Any], prefixes: Mapping[int, int]) -> str:
    """Return the user, address or network that a connection counts for, else its peer.

    Hosts know of users where each of them is a client (`limits.client_uid`).
    """
    if connection.get("uid") is not None:
        return f"user {connection['uid']}"
    peer: str = connection["peer"]
    host = peer.rpartition(":")[0].strip("[]").partition("%")[0]
    with suppress(ValueError):
        address = ip_address(host)
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        network = ip_network((address, prefixes[address.version]), strict=False)
        return str(address if network.num_addresses == 1 else network)
    return peer
