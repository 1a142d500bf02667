"""The tables [limits] and [connection]: how much a worker, a client and a connection may take."""

from collections.abc import Sequence
from typing import LiteralString, Self

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from host.settings.listen import Listen
from host.settings.section import Section
from host.settings.validators import Rate, also_text

_MIB = 1024 * 1024


def _misfit(message: LiteralString, high: int) -> PydanticCustomError:
    # The other key is part of the error, so that the report can tell where its value came from.
    return PydanticCustomError(
        "misfit", message, {"other": "connection.high_water_bytes", "high": high}
    )


_NOBODY_KNOWN = PydanticCustomError(
    "nobody_known",
    "does nothing at a Unix socket, whose peers have no address: set limits.client_uid = true, so"
    " that each user is a client, or leave this out",
)


class Limits(Section):
    """How much one worker takes on, and what one client may take of it."""

    max_connections_per_worker: int = Field(
        default=65536,
        ge=1,
        le=1_048_576,
        description="Connections one worker holds; more wait in the backlog. 65536 is beyond most"
        " descriptor limits; a value beyond the process's own ends in failing accepts.",
    )
    max_events: int = Field(
        default=1_000,
        ge=1,
        le=1_000_000,
        description="Events taken from the kernel in one turn of the loop. 1000 keeps system calls"
        " rare; a larger one lets timers and signals wait longer, and busy workers look hung.",
    )
    idle_timeout_seconds: float = Field(
        default=0.0,
        ge=0,
        description="Seconds without a byte received or sent after which a connection is closed;"
        " 0 means never, since many protocols are silent for long. Without it, peers that vanish"
        " keep their places.",
    )
    admission_seconds: float = Field(
        default=10.0,
        gt=0,
        description="Seconds in which a connection must be let in, after it was accepted: a proxy"
        " must have sent its header, and a TLS handshake must be done. 10 is long for both; a"
        " longer one lets peers that send nothing keep their places.",
    )
    max_admissions_per_worker: int = Field(
        default=256,
        ge=1,
        le=65_536,
        description="Connections of one worker that may wait to be let in; then it takes no more,"
        " and the oldest are refused after a tenth of `admission_seconds` to make room. Clients"
        " with TLS that have sent nothing yet do not count. 256 is far more than wait for good"
        " proxies; a larger one costs memory.",
    )
    max_per_client: int = Field(
        default=0,
        ge=0,
        le=10_000,
        description="Connections that one client may have, over all workers; more are refused. 0"
        " means any number: a single client can then take all places. Clients behind one address"
        " share the number. It is kept exactly; with very many clients open one may now and then be"
        " refused a few connections early.",
    )
    rate_per_client: Rate = Field(
        default=0.0,
        ge=0,
        le=10_000,
        json_schema_extra=also_text,
        description='Connections that may come of one client, as "20/s", "30/m" or a number a'
        " second; more are refused. 0 means any number. It is kept about, not exactly. As many"
        " datagrams may come at UDP listeners, which count apart.",
    )
    burst_per_client: int = Field(
        default=0,
        ge=0,
        le=10_000,
        description="How many of `rate_per_client` may come at once after a quiet time. 0"
        " means those of one second, at least one; a larger number allows longer bursts.",
    )
    client_prefix_v4: int = Field(
        default=32,
        ge=1,
        le=32,
        description="Leading bits of an IPv4 address that tell one client from another. 32 is the"
        " whole address; a smaller one counts networks as one client.",
    )
    client_prefix_v6: int = Field(
        default=64,
        ge=1,
        le=128,
        description="Leading bits of an IPv6 address that tell one client from another. 64 is the"
        " network that a customer has at least, who can change all that follows at will.",
    )
    client_uid: bool = Field(
        default=False,
        description="Whether processes of the same user that connect to a Unix socket are one"
        " client. Otherwise these limits do not concern them.",
    )
    max_unsent_bytes_per_worker: int = Field(
        default=0,
        ge=0,
        description="Unsent bytes of all connections of a worker above which those with the most"
        " are closed; 0 means any number. Without it, peers that never read can take"
        " connection.max_unsent_bytes each; a small one closes large downloads, too.",
    )

    @model_validator(mode="after")
    def _check_burst(self) -> Self:
        if self.burst_per_client and not self.rate_per_client:
            raise ValueError(
                "burst_per_client says nothing without rate_per_client, such as"
                ' rate_per_client = "20/s"'
            )
        return self

    def connections_per_client(self, listen: Listen) -> int:
        """Return how many connections one client may have at a listener; 0 for any number."""
        return self.max_per_client if listen.max_per_client < 0 else listen.max_per_client

    def concern_clients_of(self, listen: Listen) -> bool:
        """Tell whether what one client may do at a listener is limited."""
        address = listen.parsed
        if address.is_udp:  # its clients have no connections
            return self.rate_per_client > 0
        if not (self.rate_per_client or self.connections_per_client(listen)):
            return False
        return self._knows_clients_of(listen)

    def check_clients(self, listens: Sequence[Listen]) -> None:
        """Check that no limit for clients is set where none of them can be told apart.

        Raises:
            ValidationError: with all limits that do nothing, by their places in the settings.
        """
        useless: list[tuple[tuple[str | int, ...], float]] = [
            (("listen", number, "max_per_client"), listen.max_per_client)
            for number, listen in enumerate(listens)
            if listen.max_per_client > 0 and not self._knows_clients_of(listen)
        ]
        if not any(map(self._knows_clients_of, listens)):
            for name in ("max_per_client", "rate_per_client"):
                useless.append((("limits", name), getattr(self, name)))
        details = [
            InitErrorDetails(type=_NOBODY_KNOWN, loc=place, input=value)
            for place, value in useless
            if value
        ]
        if details:
            raise ValidationError.from_exception_data("limits", details)

    def _knows_clients_of(self, listen: Listen) -> bool:
        """Tell whether a listener's clients can be told apart."""
        return self.client_uid or listen.proxy != "none" or listen.parsed.family != "unix"


class ConnectionLimits(Section):
    """How bytes move on one connection."""

    read_size_bytes: int = Field(
        default=65536,
        ge=1,
        le=16 * _MIB,
        description="Bytes one read takes at most. 65536 empties a usual receive buffer in one or"
        " two calls; a larger one lets a fast peer hold up the others.",
    )
    high_water_bytes: int = Field(
        default=262_144,
        ge=1,
        description="Unsent bytes above which the host stops reading from the peer. 256 KiB keeps a"
        " fast network busy; times the number of connections, it is the memory slow peers cost.",
    )
    low_water_bytes: int = Field(
        default=65536,
        ge=0,
        validate_default=True,
        description="Unsent bytes below which reading resumes. A quarter of the high-water mark"
        " avoids stopping and starting at every turn.",
    )
    max_unsent_bytes: int = Field(
        default=16 * _MIB,
        ge=1,
        validate_default=True,
        description="Unsent bytes above which the connection is closed. 16 MiB admits large"
        " answers; without a cap one peer that never reads could take all memory.",
    )
    write_timeout_seconds: float = Field(
        default=60.0,
        gt=0,
        description="Seconds a peer may take nothing of what is unsent before it is closed. 60"
        " outlasts a lost route; a longer one keeps the memory of dead peers.",
    )
    answer_timeout_seconds: float = Field(
        default=60.0,
        gt=0,
        description="Seconds a peer that has finished sending is kept for answers that a plugin has"
        " said are to come (`begin_answer`). 60 is long for any answer; it bounds what a plugin"
        " that forgets one costs.",
    )

    @field_validator("low_water_bytes")
    @classmethod
    def _check_low(cls, value: int, info: ValidationInfo) -> int:
        # A mark that is itself invalid is missing here and reported on its own.
        high = info.data.get("high_water_bytes")
        if high is not None and value > high:
            raise _misfit("must not exceed {other}, which is {high}", high)
        return value

    @field_validator("max_unsent_bytes")
    @classmethod
    def _check_cap(cls, value: int, info: ValidationInfo) -> int:
        high = info.data.get("high_water_bytes")
        if high is not None and value < high:
            raise _misfit("must not be below {other}, which is {high}", high)
        return value
