"""What to listen on: an address, the plugin that serves it, and the options of a listener."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import (
    BeforeValidator,
    Field,
    field_validator,
)

from host.settings import address as addresses
from host.settings.section import Section
from host.settings.validators import also_text, as_tuple, distinct


def _as_mode(value: object) -> object:
    # "0660" as in chmod(1). A bare 660 is decimal in TOML and falls out of range, as it should.
    if isinstance(value, str) and re.fullmatch(r"(0o)?[0-7]{3,4}", value):
        value = int(value, 8)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 0o777:
        raise ValueError('expected file mode up to 0o777, such as 0o660 or "0660"')
    return value


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


class Listen(Section):
    """One address to listen on and the plugin that serves it."""

    address: str = Field(
        description=f"Where to listen: {addresses.FORMS}. HOST is an IP address, `localhost` or"
        " `*`; port 0 lets the system choose."
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

    @field_validator("address")
    @classmethod
    def _check_address(cls, value: str) -> str:
        try:
            addresses.parse(value)
        except ValueError as error:
            _, equals, plugin = value.rpartition("=")
            if equals and value.startswith("tcp://"):
                raise ValueError(f'"{plugin}" after "=" is no plugin name') from error
            raise
        return value

    @property
    def parsed(self) -> addresses.Address:
        """The address in its parts."""
        return addresses.parse(self.address)


Listens = Annotated[
    tuple[Annotated[Listen, BeforeValidator(_as_listen)], ...],
    distinct(_listen_identity, "same address as listen[{first}]"),
    BeforeValidator(as_tuple),
]
