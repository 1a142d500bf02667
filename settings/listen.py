"""What to listen on: an address, the plugin that serves it, and the options of a listener."""

import re
from ipaddress import IPv6Network, ip_network
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from host.settings import address as addresses
from host.settings.process import ACCOUNT
from host.settings.section import Section
from host.settings.validators import Rate, also_text, as_tuple, distinct

_MAPPED = IPv6Network("::ffff:0:0/96")


def _as_mode(value: object) -> object:
    # "0660" as in chmod(1). A bare 660 is decimal in TOML and falls out of range, as it should.
    if isinstance(value, str) and re.fullmatch(r"(0o)?[0-7]{3,4}", value):
        value = int(value, 8)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 0o777:
        raise ValueError('expected file mode up to 0o777, such as 0o660 or "0660"')
    return value


def _check_network(value: str) -> str:
    """Return a network; one of IPv4 addresses in IPv6 notation as what it stands for.

    So does the address of a client count, as a socket of IPv6 has it (RFC 4291, 2.5.5.2).
    """
    try:
        network = ip_network(value)
    except ValueError as error:
        raise ValueError(
            f"{error}: expected a network such as 10.0.0.0/8 or 2001:db8::/32"
        ) from None
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        mapped = int(network.network_address) & 0xFFFF_FFFF
        return str(ip_network((mapped, network.prefixlen - _MAPPED.prefixlen)))
    return value


NetworkText = Annotated[str, AfterValidator(_check_network)]
ProxyText = Annotated[
    str, AfterValidator(lambda value: value if value == "unix" else _check_network(value))
]


def _as_listen(value: object) -> object:
    if isinstance(value, str):
        address, plugin = addresses.split(value)
        return {"address": address, "plugin": plugin}
    if not isinstance(value, dict | Listen):
        raise ValueError('expected "ADDRESS", "ADDRESS=PLUGIN" or a table')
    return value


def _listen_identity(item: object) -> object:
    """Return what two entries may not share, or None for one that cannot collide."""
    match item:
        case str():
            text: object = addresses.split(item)[0]
        case dict():
            text = item.get("address")
        case _:
            text = getattr(item, "address", None)
    if not isinstance(text, str):
        return None
    try:
        parsed = addresses.parse(text)
    except ValueError:
        return None
    return None if parsed.family != "unix" and parsed.port == 0 else parsed


DEFAULT_ADDRESS = "tcp://127.0.0.1:7000"
"""Where a host listens that was not told anything: only programs of this machine reach it."""
_FOR_ALL = frozenset({"address", "plugin", "allow", "deny"})
_FOR_UDP = frozenset({"shards", "reply_factor"})


class Listen(Section):
    """One address to listen on and the plugin that serves it."""

    address: str = Field(
        description=f"Where to listen: {addresses.FORMS}. HOST is an IP address, `localhost` or"
        " `*`, which is each IPv4 address of the machine ([::] is each of IPv6); port 0 lets the"
        " system choose. NAME is that of a socket which the service manager has opened"
        " (FileDescriptorName=), or its number; list a name once for each such socket."
    )
    plugin: str | None = Field(
        default=None,
        pattern=addresses.PLUGIN_PATTERN,
        description="Plugin that serves the connections, by the name it is selected with. May be"
        " left out when only one selected plugin is a protocol.",
    )
    backlog: int = Field(
        default=4096,
        ge=1,
        le=65_534,  # the kernel lets one more wait, and a notification counts to 65535
        description="Connections the kernel may complete before they are accepted. 4096 is what"
        " Linux allows by default (net.core.somaxconn); a larger one hides an overload behind long"
        " waits.",
    )
    mode: Annotated[int, BeforeValidator(_as_mode)] = Field(
        default=0o600,
        ge=0,
        le=0o777,
        json_schema_extra=also_text,
        description='Permissions of a Unix socket file, as 0o660 or "0660". 0o600 admits only the'
        " user of the host; a wider one admits every process that may open the file.",
    )
    owner: str = Field(
        default="",
        pattern=ACCOUNT,
        examples=["www-data"],
        description="Owner of a Unix socket file, by name or number. Empty by default: the user of"
        " the host. Only root may give files away: a host with process.user does so beforehand.",
    )
    group: str = Field(
        default="",
        pattern=ACCOUNT,
        examples=["www-data"],
        description="Group of a Unix socket file, by name or number, such as that of a proxy that"
        " may connect with mode 0o660. Empty by default: the group of the host.",
    )
    max_rate: Rate = Field(
        default=0.0,
        ge=0,
        json_schema_extra=also_text,
        description='Connections that are handed out to workers at most, as "500/s", "30/m" or a'
        " number a second, in pieces of a tenth of a second; others wait in the backlog, and nobody"
        " is refused. 0 means any number; a small one lets clients wait long in a burst.",
    )
    max_connections: int = Field(
        default=0,
        ge=0,
        description="Connections that the listener may have open, in all workers; others wait in"
        " the backlog, and nobody is refused. 0 means as many as the workers take; a small one lets"
        " clients wait long if connections last long.",
    )
    max_per_client: int = Field(
        default=-1,
        ge=-1,
        le=10_000,
        description="Connections that one client may have at this listener; 0 means any number."
        " They are counted for this listener alone then. -1 means that `limits.max_per_client`"
        " holds, which counts those of all such listeners together.",
    )
    allow: Annotated[tuple[NetworkText, ...], BeforeValidator(as_tuple)] = Field(
        default=(),
        examples=[["10.0.0.0/8"]],
        description='IP networks whose clients are let in, as "10.0.0.0/8", or single addresses;'
        " none stands for all. Behind a proxy it is the client that counts.",
    )
    deny: Annotated[tuple[NetworkText, ...], BeforeValidator(as_tuple)] = Field(
        default=(),
        examples=[["192.0.2.7"]],
        description="IP networks whose clients are refused, also if they are in `allow`.",
    )
    refuse: Literal["reset", "close"] = Field(
        default="reset",
        description='What a client sees that is refused. "reset" leaves nothing behind in the'
        ' kernel; "close" is an end, and keeps the pair of addresses busy for a minute. Who is told'
        " why by an alert of TLS sees an end.",
    )
    proxy: Literal["none", "v1", "v2", "any"] = Field(
        default="none",
        description="Versions of the PROXY protocol in which proxies say first whose connection"
        ' they hand on. With "none" a header is taken for what the client says.',
    )
    proxy_from: Annotated[tuple[ProxyText, ...], BeforeValidator(as_tuple)] = Field(
        default=(),
        examples=[["10.0.0.0/8"]],
        description='IP networks of the proxies, or "unix" for whoever connects to a Unix socket.'
        " They must send a header. Anybody among them can pretend to be any client.",
    )
    proxy_others: Literal["refuse", "plain"] = Field(
        default="refuse",
        description='What becomes of peers that are not in `proxy_from`: "plain" takes them for'
        " clients, whose bytes are never taken for a header.",
    )

    tls: str = Field(
        default="",
        pattern=r"^([a-z0-9][a-z0-9_-]{0,63})?$",
        examples=["public"],
        description="NAME of the table [tls.NAME] with the certificates of this listener. Empty by"
        " default: what is sent can be read and changed on its way.",
    )
    alpn: dict[str, str] = Field(
        default={},
        description="Which plugin serves clients that ask for a protocol by ALPN (RFC 7301), as"
        ' { "chat/1" = "chat" }; the first of these that a client offers is taken. `plugin` serves'
        " those that offer none; those that offer only others are refused.",
    )

    shards: int = Field(
        default=64,
        ge=1,
        le=1024,
        description="Sockets of a UDP listener. The kernel keeps each client at one of them, and"
        " workers share them out, so it should be several times the number of workers. Each takes"
        " a descriptor in every process. Only a restart changes it.",
    )
    reply_factor: float = Field(
        default=3.0,
        ge=0,
        description="Bytes that answer a datagram, for each byte of it, until the plugin trusts its"
        " sender; more is dropped and counted. The sender's address may be forged, and who answers"
        " with more floods somebody else. 3 is what QUIC allows (RFC 9000, 8.1); 0 is no limit.",
    )

    @model_validator(mode="after")
    def _check_transport(self) -> Self:
        """Refuse options that do nothing for this kind of address."""
        is_udp = self.parsed.is_udp
        useless = [
            name
            for name, field in type(self).model_fields.items()
            if name not in (_FOR_ALL | _FOR_UDP if is_udp else _FOR_ALL)
            and (is_udp or name in _FOR_UDP)
            and getattr(self, name) != field.default
        ]
        if useless:
            kind = "connections, and UDP has none" if is_udp else "UDP listeners alone"
            verb, them = ("is", "it") if len(useless) == 1 else ("are", "them")
            raise ValueError(f"{', '.join(useless)} {verb} for {kind}: leave {them} out")
        return self

    @model_validator(mode="after")
    def _check_proxies(self) -> Self:
        if self.proxy != "none" and not self.proxy_from:
            raise ValueError(
                "proxy needs proxy_from, the networks of the proxies: else any client could"
                ' pretend to be another one; as proxy_from = ["10.0.0.0/8"]'
            )
        if self.proxy_from and self.proxy == "none":
            raise ValueError('proxy_from says nothing without proxy, such as proxy = "any"')
        if self.proxy_others != "refuse" and self.proxy == "none":
            raise ValueError('proxy_others says nothing without proxy, such as proxy = "any"')
        self._check_families()
        if (self.owner or self.group) and not self.is_file:
            raise ValueError("owner and group are for the file of a Unix socket, as mode is")
        if self.parsed.family == "unix" and (self.allow or self.deny) and self.proxy == "none":
            raise ValueError("allow and deny are for IP addresses, which a Unix socket has not")
        return self

    def _check_families(self) -> None:
        """Refuse proxies of which none can connect: a listener that lets nobody in."""
        family = self.parsed.family
        if family == "fd":  # not known before the socket is there
            return
        versions = {"tcp4": (4,), "tcp6": (4, 6)}.get(family, ())
        fits = [
            family == "unix" if each == "unix" else ip_network(each).version in versions
            for each in self.proxy_from
        ]
        if fits and not any(fits):
            raise ValueError(f"no proxy of proxy_from can connect to {self.address}")

    @field_validator("alpn")
    @classmethod
    def _check_alpn(cls, value: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        if value and info.data.get("tls") == "":
            raise ValueError('alpn is a part of TLS and says nothing without tls, as tls = "NAME"')
        for protocol, plugin in value.items():
            if not re.fullmatch(addresses.PLUGIN_PATTERN, plugin):
                raise ValueError(f'"{plugin}" is no plugin name, for "{protocol}"')
            if not 1 <= len(protocol.encode()) <= 255 or not protocol.isascii():
                raise ValueError(f'"{protocol}" is no protocol of ALPN: 1 to 255 bytes of ASCII')
        return value

    @field_validator("address")
    @classmethod
    def _check_address(cls, value: str) -> str:
        try:
            addresses.parse(value)
        except ValueError as error:
            _, equals, plugin = value.rpartition("=")
            if equals and value.startswith(("tcp://", "udp://")):
                raise ValueError(f'"{plugin}" after "=" is no plugin name') from error
            raise
        return value

    @property
    def is_file(self) -> bool:
        """Whether it is a Unix socket that has a file."""
        return self.parsed.family == "unix" and not self.parsed.path.startswith("@")

    @property
    def parsed(self) -> addresses.Address:
        """The address in its parts."""
        return addresses.parse(self.address)


Listens = Annotated[
    tuple[Annotated[Listen, BeforeValidator(_as_listen)], ...],
    distinct(_listen_identity, "same address as listen[{first}]"),
    BeforeValidator(as_tuple),
]
