"""What the hub of a bus with a broker is described by, as values: its stage, limits and state."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from host.bus.hearers import Lists

OutboxState = tuple[int, int, list[tuple[int, bytes, int, int | None]]]
"""The last serial, the last one that was sent, and each `outbox.Unconfirmed`."""
OwnedKey = tuple[bytes, int, int]
"""A key, its owner, and its fencing number."""
WaitingClaim = tuple[int, bytes, float, bool, bool]
"""Who claims which key, when it has its answer at the latest, if it was given up, if it has it."""

WaitingSubscription = tuple[int, int, bytes, int, int]
"""Member, its number, name and kind of a subscription, and after which serial it is asked."""


class Stage(Enum):
    """How far the bridge is on its connection."""

    AWAY = "away"
    JOINING = "joining"
    CATCHING_UP = "catching up"
    READY = "ready"


class RemoteLimits(NamedTuple):
    """What a hub keeps, and how long it waits.

    Attributes:
        queued_bytes: how much may wait for the broker until nothing more can be published.
        claim_seconds: how long a claim waits for its answer at most.
        asked_at_once: how many keys are asked for again in one turn: some 1 ms of it.
    """

    queued_bytes: int = 8_388_608
    claim_seconds: float = 2.0
    asked_at_once: int = 200


class RemoteState(NamedTuple):
    """What a hub knows.

    Attributes:
        node: the name of the node, the same as long as the host runs.
        members: the members.
        hearers, prefix_hearers: who hears what.
        outbox: as `Outbox.state` returns it.
        owned, claims: as `Claims.state` returns them.
        confirming: the subscriptions, and questions for what is retained, that have no answer yet.
        asking: the questions to tables that have none: member and number.
        position: the last message that was heard, and its epoch; None if none was.
        known_since: since when the broker knows serials of this node, as it says; 0 for no answer.
        alive_since: since when it takes it for alive.
        trusted_until: until when owned keys are certainly owned, in seconds of `clock`.
    """

    node: bytes
    members: list[int]
    hearers: Lists
    prefix_hearers: Lists
    outbox: OutboxState
    owned: list[OwnedKey]
    claims: list[WaitingClaim]
    confirming: list[WaitingSubscription]
    asking: list[tuple[int, int]]
    position: tuple[int, bytes] | None
    known_since: int
    alive_since: int
    trusted_until: float
