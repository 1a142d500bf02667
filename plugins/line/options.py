"""The options of the line protocol."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Options(BaseModel):
    """The section `[options.line]`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    commands: tuple[str, ...] = Field(
        default=("line",),
        min_length=1,
        description="Plugins that answer lines, asked in this order. `line` stands for the commands"
        " that ship.",
    )
    max_line_bytes: int = Field(
        default=16_384,
        ge=16,
        le=1_048_576,
        description="Longest line in bytes, without its end; more is never kept. A larger one lets"
        " each idle client hold more memory.",
    )
    long_lines: Literal["reply", "skip", "close"] = Field(
        default="reply",
        description="What happens to a longer line: an error reply, nothing, or an error reply and"
        " the end of the connection.",
    )
    encoding: Literal["bytes", "utf-8"] = Field(
        default="bytes",
        description="What `on_line` gets: bytes, or str decoded from UTF-8; then a line that is not"
        " UTF-8 gets an error reply.",
    )
    arrays: bool = Field(
        default=True,
        description="Whether a request may also be an array of words with their lengths, as common"
        r" clients send it (`*1\r\n$4\r\nPING\r\n`); it counts as the line of its words.",
    )
