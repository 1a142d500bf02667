"""The tables [tls.NAME]: certificates, and who may connect with which versions of TLS."""

from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails

from host.settings.places import PathOfSecret
from host.settings.section import Section
from host.settings.toml_values import write
from host.settings.validators import as_tuple

NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,63}$"
"""What NAME of [tls.NAME] looks like: variables have no lower case, so it has no upper case."""


_FILES = {"certificate": "fullchain.pem", "key": "privkey.pem"}


class CertificateFiles(Section):
    """The files of one certificate."""

    certificate: str = Field(
        min_length=1,
        description="File in PEM with the certificate, and after it those that lead to a root, each"
        " followed by that of its issuer. certbot calls it fullchain.pem.",
    )
    key: Annotated[str, PathOfSecret()] = Field(
        min_length=1,
        description="File in PEM with the private key of the certificate. It should be readable by"
        " the user of the host alone.",
    )
    key_password_file: Annotated[str, PathOfSecret()] = Field(
        default="",
        description="File whose first line is the password of the key. Empty by default: the key"
        " is not encrypted. Nobody is ever asked for a password.",
    )


class Tls(Section):
    """One set of certificates with its rules; a listener uses it by its NAME, with its key `tls`.

    A certificate is chosen by the name that the client asks for (SNI, RFC 6066): the same name
    before one with `*.`; of several for a name, the first of each type of key.
    """

    certificates: Annotated[tuple[CertificateFiles, ...], BeforeValidator(as_tuple)] = Field(
        examples=[[_FILES]],
        description="Certificates, each a table of `certificate`, `key` and, if the key is"
        " encrypted, `key_password_file`. The first is for clients that ask for no name.",
    )
    profile: Literal["intermediate", "modern"] = Field(
        default="intermediate",
        description="Versions and ciphers, as Mozilla's Server Side TLS 5.7 has them."
        ' "intermediate" is TLS 1.2 and 1.3, for all clients since 2014; "modern" is TLS 1.3'
        " alone.",
    )
    clients: Literal["none", "optional", "required"] = Field(
        default="none",
        description="Whether clients are asked for a certificate, and whether they are refused"
        " without one. One that is presented must come from `client_ca` in any case.",
    )
    client_ca: str = Field(
        default="",
        description="File in PEM with the authorities that certificates of clients come from.",
    )
    unknown_name: Literal["first", "refuse"] = Field(
        default="first",
        description="What clients get that ask for a name which no certificate has, or for none:"
        ' the first certificate, or an alert. "refuse" tells nothing to those who know only the'
        " address; clients that connect by IP address ask for no name.",
    )
    handshakes: Literal["thread", "loop"] = Field(
        default="thread",
        description='Where handshakes are computed: in a "thread" of each worker, beside its loop,'
        " so that many at once hold nobody up, with one that is alone on the loop; or in the"
        ' "loop", a little in each turn, for workers that must have no other thread.',
    )
    check_seconds: float = Field(
        default=60.0,
        ge=0,
        description="Seconds after which the host looks again whether the files have changed, and"
        " takes new ones over; 0 means never: then `reload --certificates` does it. 60 costs one"
        " stat(2) a file; a longer one only lets a new certificate wait.",
    )

    @field_validator("certificates")
    @classmethod
    def _check_certificates(cls, value: tuple[CertificateFiles, ...]) -> object:
        if not value:
            raise ValueError(f"expected at least one, as {write([_FILES])}")
        return value

    @model_validator(mode="after")
    def _check_clients(self) -> Self:
        if self.clients != "none" and not self.client_ca:
            raise ValueError(
                f'clients = "{self.clients}" needs client_ca, the file of the authorities that the'
                " certificates of clients come from"
            )
        if self.client_ca and self.clients == "none":
            raise ValueError('client_ca says nothing without clients, such as clients = "required"')
        return self


TlsTables = dict[Annotated[str, StringConstraints(pattern=NAME_PATTERN)], Tls]


def check_names(used: Iterable[str], tables: TlsTables) -> None:
    """Check that there is a table for each listener.

    Args:
        used: what each listener has as `tls`, "" for one without it.
        tables: the tables.

    Raises:
        ValidationError: with all listeners whose table is missing.
    """
    there = ", ".join(f"[tls.{name}]" for name in tables) or "none"
    details = [
        InitErrorDetails(
            type="value_error",
            loc=(number, "tls"),
            input=name,
            ctx={"error": ValueError(f"there is no table [tls.{name}]; there is: {there}")},
        )
        for number, name in enumerate(used)
        if name and name not in tables
    ]
    if details:
        raise ValidationError.from_exception_data("listen", details)
