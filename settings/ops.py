"""The section `ops`: where a host shows how it is, and to whom."""

import re
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from host.settings.address import parse
from host.settings.listen import Listen
from host.settings.places import PathOfSecret
from host.settings.section import Section
from host.settings.validators import also_text, as_tuple

_HOST = r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252}[A-Za-z0-9_])?"
"""Not of the internet alone: what Compose makes up for services and containers has `_`."""
_SHORTEST_TOKEN = 16
_TOKEN = r"[A-Za-z0-9._~+/-]+=*"
"""What RFC 6750, 2.1, lets a bearer token be."""


_NEEDS_TOKEN = PydanticCustomError(
    "needs_token",
    "can be reached from other machines, so it needs a token: set ops.token_file, or listen on"
    " tcp://127.0.0.1",
)


def _check_address(value: str) -> str:
    address = parse(value)
    if address.is_udp or address.family == "fd":
        raise ValueError(
            "expected tcp://HOST:PORT, tcp://[IPv6]:PORT, unix:/path or unix:@name: HTTP is served"
            " there"
        )
    return value


def _check_host(value: str) -> str:
    if not re.fullmatch(_HOST, value):
        raise ValueError("expected the name of a host without its port, such as host.example")
    return value.lower()


def check_token(text: str) -> str:
    """Return a token that is long enough and that a header can carry.

    Raises:
        ValueError: what is wrong with it; the token is not in the message.
    """
    if len(text) < _SHORTEST_TOKEN or not re.fullmatch(_TOKEN, text):
        raise ValueError(
            f"expected at least {_SHORTEST_TOKEN} of A-Z, a-z, 0-9 and ._~+/-, such as what"
            " `openssl rand -hex 32` prints"
        )
    return text


def _check_secret(value: SecretStr) -> SecretStr:
    if value.get_secret_value():
        check_token(value.get_secret_value())
    return value


class Metrics(Section):
    """What is measured of a host that shows how it is."""

    sample: int = Field(
        default=64,
        ge=1,
        le=1_000_000,
        description="Of so many calls of hooks, the time of one is measured on average, if"
        " `ops.listen` has an address; 1 measures all, which costs half a microsecond for each.",
    )


class Ops(Section):
    """Where a host shows operators and their programs how it is, over HTTP."""

    listen: Annotated[
        tuple[Annotated[str, AfterValidator(_check_address)], ...], BeforeValidator(as_tuple)
    ] = Field(
        default=(),
        json_schema_extra=also_text,
        description="Addresses where metrics, health and a dashboard are served, such as"
        ' "tcp://127.0.0.1:9180"; it takes `prefork[ops]`. None by default. One that other machines'
        " reach needs a token.",
    )
    token: Annotated[SecretStr, AfterValidator(_check_secret)] = Field(
        default=SecretStr(""),
        description="Bearer token that all but `/healthz`, `/readyz` and the empty dashboard ask"
        " for. Empty by default: who reaches a loopback address or a Unix socket needs none."
        " `token_file` keeps it out of this file and of the environment.",
    )
    token_file: Annotated[str, PathOfSecret()] = Field(
        default="",
        description="File whose first line is the token, read at the start and by a reload.",
    )
    hosts: Annotated[
        tuple[Annotated[str, AfterValidator(_check_host)], ...], BeforeValidator(as_tuple)
    ] = Field(
        default=(),
        json_schema_extra=also_text,
        description="Names of this machine that a request may be for (its header `Host`), beside"
        " `localhost`, IP addresses and the machine's own name. Any other name is refused: a web"
        " page could have its own name mean 127.0.0.1 (DNS rebinding).",
    )

    @property
    def listens(self) -> tuple[Listen, ...]:
        """What to listen on."""
        return tuple(Listen(address=each) for each in self.listen)

    @model_validator(mode="after")
    def _check_token(self) -> Self:
        if self.token.get_secret_value() and self.token_file:
            raise ValueError("token and token_file are both given: one of them is enough")
        if self.token.get_secret_value() or self.token_file:
            return self
        details = [
            InitErrorDetails(type=_NEEDS_TOKEN, loc=("listen", number), input=text)
            for number, text in enumerate(self.listen)
            if not parse(text).is_local
        ]
        if details:
            raise ValidationError.from_exception_data("ops", details)
        return self
