"""The options of the chat, which are its limits."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Options(BaseModel):
    """The section `[options.chat]`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    welcome: str = Field(
        default="Welcome.",
        description="First line that a client is sent.",
    )
    goodbye: str = Field(
        default="The server is going down; see you soon.",
        description="Last line that a client is sent when its worker has to go.",
    )
    echo: bool = Field(
        default=True,
        description="Whether those who say something are sent it, too: they see where in the order"
        " it came, and that it was passed on.",
    )
    history: int = Field(
        default=20,
        ge=0,
        le=1000,
        description="Messages of a room that are shown to those who join it; 0 for none. More of"
        " them take more memory on the bus and fill more than a screen.",
    )
    max_line_bytes: int = Field(
        default=2048,
        ge=64,
        le=65_536,
        description="Longest line in bytes, without its end. Everyone in a room is sent it, and"
        " `history` of them are kept for each room.",
    )
    max_nick_chars: int = Field(default=20, ge=1, le=64, description="Longest nick in characters.")
    max_room_chars: int = Field(
        default=32, ge=1, le=64, description="Longest name of a room in characters, without the #."
    )
    max_rooms_per_user: int = Field(
        default=10,
        ge=1,
        description="Rooms that one user may be in at a time. Each costs memory in each worker.",
    )
    max_room_members: int = Field(
        default=2000,
        ge=1,
        description="Users that one room may have, over all workers. Every message is sent to each"
        " of them, and so is word of everyone who comes and goes.",
    )
    messages_per_second: float = Field(
        default=5.0,
        gt=0,
        description="Lines per second that are taken from one user in the long run, commands"
        " included; nobody types faster.",
    )
    burst: int = Field(
        default=30,
        ge=1,
        description="Lines that a user who has been silent may send at once, such as a pasted"
        " paragraph.",
    )
    max_unsent_bytes: int = Field(
        default=262_144,
        ge=4096,
        description="Unsent bytes above which a user who does not read is closed. Times the number"
        " of users, it is the memory that slow readers cost.",
    )
    max_listed: int = Field(
        default=200,
        ge=1,
        description="Names that `/who` and `/rooms` list at most; the rest is counted.",
    )
