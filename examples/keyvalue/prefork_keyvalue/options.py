"""The options of the plugin."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Options(BaseModel):
    """The section `[options.keyvalue]`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_bytes: int = Field(
        default=67_108_864,
        ge=1_048_576,
        description="Bytes that all items together may take. Beyond it the least recently used go.",
    )
    max_item_bytes: int = Field(
        default=1_048_576,
        ge=1024,
        description="Largest item, counted as memcached does: value, key and 59 bytes, and 4 for"
        " flags that are not 0. While a value arrives it is kept for its connection, so this times"
        " the number of connections is what clients can make the worker hold besides.",
    )
    max_line_bytes: int = Field(
        default=1_048_576,
        ge=16_384,
        description="Longest line of a get, which has as many keys as the client likes. Other lines"
        " have 16384 bytes at most.",
    )

    @model_validator(mode="after")
    def _check_sizes(self) -> Self:
        if self.max_item_bytes > self.max_bytes // 2:
            raise ValueError("max_item_bytes must not exceed half of max_bytes")
        return self
