"""Which broker connects several hosts, and how it is spoken to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from host.settings.bus import BrokerAddress

if TYPE_CHECKING:  # a host without TLS does not import it
    import ssl


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """Which broker it is, and how it is spoken to.

    Attributes:
        address: where it is, and as whom it is spoken to.
        password: the password; "" for none.
        context: how TLS is spoken; None for not at all.
        namespace: the hosts that hear each other have the same.
        lease_seconds: how long a node is taken for alive without a beat.
    """

    address: BrokerAddress
    password: str = field(repr=False)
    context: ssl.SSLContext | None
    namespace: str
    lease_seconds: float

    @property
    def prefix(self) -> str:
        """How all keys begin."""
        return f"prefork:{{{self.namespace}}}:"

    @property
    def beat_seconds(self) -> float:
        """How often the broker is told that this node is alive."""
        return self.lease_seconds / 3
