"""The section `bus`: what workers talk through, in this host alone or over several."""

import re
import socket
from typing import Annotated, NamedTuple, Self
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from host.settings.errors import passwords_in
from host.settings.places import PathOfSecret
from host.settings.section import Section
from host.settings.toml_values import write

EMBEDDED = "embedded:"
_PORT = 6379
_NAME = r"^([A-Za-z0-9][A-Za-z0-9._-]{0,63})?$"
_UNFIT = r"[^A-Za-z0-9._-]+"
_EXPECTED = (
    'expected "embedded:", redis://HOST[:PORT][/DATABASE], rediss:// for TLS, or'
    " unix:///PATH[?db=DATABASE]"
)


FIXED = ("url", "namespace", "node", "lease_seconds")
"""Keys that only a restart changes."""


class BrokerAddress(NamedTuple):
    """Where a broker is, and as whom it is spoken to.

    Attributes:
        host: the host; "" for a Unix socket.
        port: the port.
        path: the path of a Unix socket; "" for none.
        is_tls: whether TLS is spoken.
        user: as whom; "" for the default user.
        database: the number of the database.
    """

    host: str
    port: int
    path: str
    is_tls: bool
    user: str
    database: int

    def __str__(self) -> str:
        place = f"[{self.host}]" if ":" in self.host else self.host
        where = self.path or f"{place}:{self.port}"
        return f"{where} (TLS)" if self.is_tls else where


def parse_url(url: str) -> BrokerAddress:
    """Return what the URL of a broker means.

    Raises:
        ValueError: it is none, or has a password in it.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise ValueError(_EXPECTED)
    if parts.password is not None or passwords_in(url):  # one that is not encoded may have a /
        raise ValueError(
            "has a password in it, and a URL may be shown: set bus.password_file or bus.password"
        )
    is_unix = parts.scheme == "unix"
    parameters = parse_qs(parts.query, keep_blank_values=True)
    database = parameters.pop("db", [""])[-1] if is_unix else parts.path.strip("/")
    if not (parts.path if is_unix else parts.hostname):
        raise ValueError(f"names no {'path' if is_unix else 'host'}: {_EXPECTED}")
    if is_unix and parts.hostname:
        raise ValueError(f"has no / before {parts.hostname!r}: {_EXPECTED}")
    if parts.port == 0:
        raise ValueError(f"names port 0: {_EXPECTED}")
    if parameters or parts.fragment:  # without them it might be another broker than is meant
        raise ValueError(f"says more than is understood: {_EXPECTED}")
    if not re.fullmatch(r"[0-9]{0,4}", database):
        raise ValueError(f"database {database!r} is no number: {_EXPECTED}")
    return BrokerAddress(
        host="" if is_unix else parts.hostname or "",
        port=parts.port or _PORT,
        path=unquote(parts.path) if is_unix else "",
        is_tls=parts.scheme == "rediss",
        user=unquote(parts.username or ""),
        database=int(database or "0"),
    )


def _check_url(value: str) -> str:
    if value != EMBEDDED:
        parse_url(value)
    return value


class BusSettings(Section):
    """What workers talk to each other through: messages, keys with one owner, tables."""

    url: Annotated[str, AfterValidator(_check_url)] = Field(
        default=EMBEDDED,
        examples=["redis://10.0.0.5:6379/0"],
        description="Broker that connects several hosts: redis://[USER@]HOST[:PORT][/DATABASE],"
        " rediss:// for TLS, unix:///PATH[?db=DATABASE]; it takes `prefork[redis]`. By default the"
        " bus is in this host alone.",
    )
    namespace: str = Field(
        default="default",
        min_length=1,
        pattern=_NAME,
        description="Hosts with the same namespace hear each other; those with another one may use"
        " the same broker.",
    )
    node: str = Field(
        default="",
        pattern=_NAME,
        examples=["eu-1"],
        description="Name of this host among the others, for members' names. Empty by default: the"
        " machine's name.",
    )
    lease_seconds: float = Field(
        default=10.0,
        ge=0.5,
        le=3600.0,
        description="Seconds without contact after which the broker takes a host for dead: its keys"
        " are free then, and others hear that its members have left. It makes contact three times"
        " in that time.",
    )
    claim_timeout_seconds: float = Field(
        default=2.0,
        ge=0.05,
        le=3600.0,
        description="Seconds after which a claim that the broker has not answered is refused.",
    )
    max_queued_bytes: int = Field(
        default=8_388_608,
        ge=65_536,
        description="Bytes of messages and of changes of tables that wait for the broker above"
        " which `publish` returns False; changes are answered with None above twice of it.",
    )
    password: SecretStr = Field(
        default=SecretStr(""),
        description="Password for the broker. `password_file` keeps it out of this file and of the"
        " environment.",
    )
    password_file: Annotated[str, PathOfSecret()] = Field(
        default="",
        description="File whose first line is the password, read at the start and by a reload.",
    )
    ca: str = Field(
        default="",
        description="File in PEM with the authorities that may have signed the broker's"
        " certificate, with rediss://. Empty by default: those of the machine.",
    )
    certificate: str = Field(
        default="",
        description="File in PEM with the certificate that is shown to the broker, with rediss://.",
    )
    key: Annotated[str, PathOfSecret()] = Field(
        default="", description="File in PEM with the key of that certificate."
    )

    @property
    def is_embedded(self) -> bool:
        """Whether there is no broker."""
        return self.url == EMBEDDED

    @property
    def address(self) -> BrokerAddress:
        """Where the broker is; there must be one."""
        return parse_url(self.url)

    @property
    def node_name(self) -> str:
        """The name of this host among the others."""
        return self.node or re.sub(_UNFIT, "-", socket.gethostname())[:64].strip("-.") or "node"

    def without_secrets(self) -> Self:
        """Return the same without the password."""
        return self.model_copy(update={"password": SecretStr("")})

    def change_since(self, before: Self) -> str:
        """Return why a host that runs with `before` cannot go on with this, or "".

        Its members have names, own keys and have heard messages where they are.
        """
        changes = [
            f"bus.{key} changes from {write(was)} to {write(now)}"
            for key in FIXED
            if (was := getattr(before, key)) != (now := getattr(self, key))
        ]
        return f"{', '.join(changes)}, which takes a restart" if changes else ""

    @model_validator(mode="after")
    def _check_rest(self) -> Self:
        if self.password.get_secret_value() and self.password_file:
            raise ValueError("password and password_file are both given: one of them is enough")
        if bool(self.certificate) != bool(self.key):
            raise ValueError("certificate and key are needed together")
        if (self.ca or self.certificate) and not self.url.startswith("rediss:"):
            raise ValueError("ca, certificate and key are for TLS: url needs rediss://")
        return self
