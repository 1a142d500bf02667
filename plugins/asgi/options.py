"""The options of the plugin `asgi`."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _trusted(value: str) -> str:
    if value != "*":
        ipaddress.ip_network(value)
    return value


class Options(BaseModel):
    """The section `[options.asgi]`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    app: str = Field(
        pattern=r"^[\w.]+:[\w.]+$",
        examples=["main:app"],
        description="The app: `module:attribute`, such as `main:app`. It is imported once, before"
        " the workers are forked: so `check` and `reload` find what is wrong with it.",
    )
    app_folder: str = Field(
        default=".",
        description="Folder in which modules of the app are looked for that are not installed,"
        " from the working directory. Empty: nowhere.",
    )
    factory: bool = Field(
        default=False,
        description="Whether `app` names a function that makes the app. Each worker calls it: for"
        " apps that begin threads or open connections while they are made.",
    )
    lifespan: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="Whether the app is told of the start and the end of each worker (ASGI,"
        " lifespan protocol). `auto`: if it listens to that; `on`: it must.",
    )
    root_path: str = Field(
        default="",
        pattern=r"^(/[!-~]*[!-.0-~])?$",
        examples=["/api"],
        description="Path below which a proxy shows the app, such as `/api`, if the proxy takes it"
        " off.",
    )
    forwarded_allow_ips: tuple[Annotated[str, AfterValidator(_trusted)], ...] = Field(
        default=(),
        description="Addresses and networks of the proxies whose `X-Forwarded-For` and"
        ' `X-Forwarded-Proto` are believed; `["*"]` believes everybody, which is right where'
        " clients cannot get past the proxy. By default nobody is: any client can write them.",
    )
    keep_alive_seconds: int = Field(
        default=5,
        ge=1,
        description="Seconds for which a connection waits for its next request. Each takes memory"
        " meanwhile; a proxy should give up earlier than the host does.",
    )
    request_head_seconds: float = Field(
        default=10.0,
        gt=0,
        description="Seconds within which a new connection has to send its first request line and"
        " headers, and each later request all of its own once it has begun. Whoever sends them"
        " slower, byte by byte, holds a connection for nothing.",
    )
    max_head_bytes: int = Field(
        default=65_536,
        ge=1024,
        description="Most bytes of request line and headers, and of what comes after a body."
        " Above it the answer is 431. A head that arrives in one piece is taken whole.",
    )
    max_requests_in_progress: int = Field(
        default=0,
        ge=0,
        description="Most requests that the app has at a time in one worker; those above get 503 at"
        " once, WebSockets do not count. 0: no limit, so more requests make all of them slower.",
    )
    websockets: bool = Field(
        default=True,
        description="Whether clients may ask for WebSockets.",
    )
    max_message_bytes: int = Field(
        default=16_777_216,
        ge=1024,
        description="Most bytes of a message of a WebSocket; a longer one closes it (1009). One"
        " message is in memory as a whole.",
    )
    ping_seconds: float = Field(
        default=20.0,
        ge=0,
        description="Seconds between two pings of a WebSocket, and after which one without an"
        " answer closes it. 0: none, and a client that has vanished stays.",
    )
    date_header: bool = Field(
        default=True,
        description="Whether responses have `date` (RFC 9110, 6.6.1).",
    )
    server_header: bool = Field(
        default=False,
        description="Whether responses have `server: prefork`. Nobody needs to know.",
    )
