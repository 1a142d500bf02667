"""Nests environment variables by their names, as pydantic-settings does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from host.settings.models import Settings


def nest(prefix: str, variables: Mapping[str, str]) -> dict[str, Any]:
    """Return the texts of variables as a table, that of `PREFORK_LOG__LEVEL` as `level` in `log`.

    Args:
        prefix: What all of them begin with.
        variables: Their texts by name.
    """
    return _Source(prefix, variables)()


class _Variables(Settings, BaseSettings):
    model_config = SettingsConfigDict(strict=False, env_nested_delimiter="__")


class _Source(EnvSettingsSource):
    """Leaves the texts as they are: the library's decoding stops at the first list not in JSON."""

    def __init__(self, prefix: str, variables: Mapping[str, str]) -> None:
        super().__init__(_Variables, env_prefix=prefix)
        self.env_vars = {name.lower(): text for name, text in variables.items()}

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        return value
