"""The options of the plugin."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Options(BaseModel):
    """The section `[options.mqtt]`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    logins: list[str] = Field(
        default=[],
        description="Plugins that implement `check_login`, in the order in which they are asked."
        " Without any, everybody is let in.",
    )
    permissions: list[str] = Field(
        default=[],
        description="Plugins that implement `check_topic`, likewise. Without any, everybody may"
        " publish and subscribe to everything but $SYS.",
    )
    connect_seconds: float = Field(
        default=10.0, gt=0, description="How long a client may take for its CONNECT."
    )
    takeover_seconds: float = Field(
        default=5.0,
        gt=0,
        description="How long a client waits for the worker that has an older connection of the"
        " same client to give it up. After that it is told that the server is unavailable.",
    )
    max_packet_bytes: int = Field(
        default=262_144,
        ge=1024,
        le=1_000_000,
        description="Longest packet. A message of the bus has 1 MiB at most.",
    )
    max_topic_bytes: int = Field(
        default=400, ge=16, le=500, description="Longest topic. One of the bus has 512 bytes."
    )
    max_topic_levels: int = Field(default=32, ge=1, description="Most levels of a topic.")
    max_subscriptions: int = Field(
        default=200,
        ge=1,
        description="Most filters of one session. All of a session that persists have to fit into"
        " a value of 64 KiB, which is refused otherwise.",
    )
    max_inflight: int = Field(
        default=100,
        ge=1,
        le=1000,
        description="Most messages with QoS 1 and 2 that a client is sent without having confirmed"
        " them.",
    )
    max_queued: int = Field(
        default=10_000,
        ge=1,
        description="Most messages that wait in the memory of a worker for one connected client"
        " to confirm others. A clean session that needs more is disconnected.",
    )
    max_queued_bytes: int = Field(
        default=16_777_216, ge=1, description="The same in bytes: their payloads together."
    )
    max_sessions: int = Field(
        default=10_000, ge=0, description="Most sessions that persist, over all workers."
    )
    session_expiry_seconds: float = Field(
        default=86_400.0,
        gt=0,
        description="How long a session that persists is kept without a connection. It and its"
        " queue are in the memory of the bus.",
    )
    sys_seconds: float = Field(
        default=10.0, ge=0, description="How often $SYS is published; 0 for never."
    )
