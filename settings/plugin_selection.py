"""Which plugins are selected."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from host.settings import address as addresses
from host.settings.validators import as_tuple, distinct

_SELECTION = re.compile(
    rf"{addresses.PLUGIN_PATTERN}|^no:{addresses.NAME}$|^.+\.py(?::[A-Za-z_]\w*)?$"
)


def _check_selection(value: str) -> str:
    if not _SELECTION.fullmatch(value):
        raise ValueError('expected NAME, "package.module:Class", "./file.py" or "no:NAME"')
    return value


def _plugin_identity(item: object) -> object:
    return item if isinstance(item, str) else None


Plugins = Annotated[
    tuple[Annotated[str, AfterValidator(_check_selection)], ...],
    distinct(_plugin_identity, "selected twice, first as plugins[{first}]"),
    BeforeValidator(as_tuple),
]
