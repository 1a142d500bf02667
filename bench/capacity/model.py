"""How much machines carry, computed from what things cost.

Nothing here is measured, and nothing waits: a machine is full when it uses the share of its CPU
time, memory or network that it may use, the supervisor and a broker when they use that share of
one core each, since each of them is one thread.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from bench.capacity.costs import Broker, Costs

HEADERS = 20 + 20 + 12 + 38
"""Bytes of each packet: IPv4 (RFC 791), TCP with timestamps (RFC 9293, 7323), Ethernet with what
is between two frames (IEEE 802.3: preamble 8, header 14, checksum 4, gap 12)."""
SEGMENT = 1500 - 20 - 20 - 12
"""Bytes of a message that a packet has room for."""
TLS_RECORD = 5 + 1 + 16
"""Bytes of a record besides what is in it: header, content type, tag (RFC 8446, 5.2)."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine, and how much of it may be used.

    Attributes:
        cores: as many as it has, and as many workers.
        gib: its memory.
        gbit: its network, in Gbit/s each way.
        share: the part of CPU time, memory and network that may be in use.
        worker_mib: what a worker has of its own before it has connections.
    """

    cores: int = 8
    gib: float = 32
    gbit: float = 10
    share: float = 0.7
    worker_mib: float = 28


@dataclass(frozen=True, slots=True)
class Use:
    """What clients do.

    Attributes:
        name: what it is called.
        summary: what it is, in a few words.
        every: seconds between two messages of a client.
        size: bytes of a message, and of its answer.
        lasts: seconds that a connection is held.
        room: how many clients are sent each message, over the bus; 0: it is answered.
        tls: whether it is over TLS.
        plugin_us: CPU time in µs that the plugin takes for a message of its own.
        plugin_kib: memory that it keeps for a connection, in KiB.
    """

    name: str
    summary: str
    every: float
    size: int
    lasts: float
    room: int = 0
    tls: bool = False
    plugin_us: float = 0.0
    plugin_kib: float = 0.0


@dataclass(frozen=True, slots=True)
class Carried:
    """What so many machines carry.

    Attributes:
        machines: how many there are.
        limit: what is full: `CPU`, `supervisor`, `bridge`, `memory`, `network` or `broker`.
        connections: of all machines.
        messages: that clients send, of all machines, in a second.
        cores: of CPU time of one machine's workers.
        supervisor_cores: of CPU time of one machine's supervisor, for the bus.
        gib: of memory of one machine.
        mbit: that one machine sends, in Mbit/s.
        broker_cores: of CPU time of all brokers.
        brokers: how many have to be there.
        bridged: messages of the broker that arrive at one machine in a second.
        bridge_cores: of CPU time of one machine's bridge.
    """

    machines: int
    limit: str
    connections: int
    messages: float
    cores: float
    supervisor_cores: float
    gib: float
    mbit: float
    broker_cores: float
    brokers: int
    bridged: float
    bridge_cores: float


def spread(room: int, machines: int) -> float:
    """Return at how many machines the clients of a room are, on average.

    Each client is at any machine with the same chance, whoever else is there.

    Args:
        room: how many clients it has.
        machines: how many machines there are.
    """
    return machines * (1 - (1 - 1 / machines) ** room)


def wire(size: int, tls: bool) -> int:
    """Return how many bytes a message of so many bytes is on the wire, with all headers."""
    payload = size + (TLS_RECORD if tls else 0)
    return payload + HEADERS * math.ceil(payload / SEGMENT)


def cpu_us(use: Use, costs: Costs) -> float:
    """Return the CPU time of workers that a connection takes in a second, in µs."""
    message = costs.message_us + use.plugin_us + (costs.tls_us if use.tls else 0.0)
    delivery = costs.delivery_us + (costs.tls_us if use.tls else 0.0)
    connection = costs.tls_connection_us if use.tls else costs.connection_us
    further = 1 / use.every - 1 / use.lasts  # the first message is one of the connection's cost
    return message * further + use.room * delivery / use.every + connection / use.lasts


def workers_that_hear(use: Use, machine: Machine, machines: int) -> float:
    """Return how many workers of a machine have clients of a room that is there, on average."""
    members = use.room / spread(use.room, machines)
    return float(machine.cores * (1 - (1 - 1 / machine.cores) ** members))


def hub_us(use: Use, machine: Machine, costs: Costs, machines: int) -> float:
    """Return the supervisor's CPU time for the messages of a client in a second, in µs.

    A message passes it at each machine where somebody hears it and, if there are several, before
    that at the machine where it was sent, on its way to the broker.
    """
    if not use.room:
        return 0.0
    heard = costs.hub_of(workers_that_hear(use, machine, machines)) * spread(use.room, machines)
    leaving = costs.hub_of(1) if machines > 1 else 0.0
    return (heard + leaving) / use.every


def carried(
    use: Use,
    machine: Machine,
    costs: Costs,
    machines: int,
    broker: Broker,
    brokers: int | None = None,
) -> Carried:
    """Return what machines of a kind carry, all of them alike.

    Args:
        use: what clients do.
        machine: what each of them is.
        costs: what it takes.
        machines: how many there are.
        broker: what the broker between them takes for a message.
        brokers: how many there are at most, each with its share of the rooms; None: as many as it
            takes.
    """
    heard = spread(use.room, machines) if use.room else 0.0  # at how many machines a message is
    is_bridged = use.room > 0 and machines > 1
    each_us = cpu_us(use, costs)
    supervisor_us = hub_us(use, machine, costs, machines)
    each_kib = costs.kernel_kib + (costs.tls_kib if use.tls else costs.idle_kib) + use.plugin_kib
    sent = wire(use.size, use.tls) * max(use.room, 1) / use.every
    own_kib = machine.cores * machine.worker_mib * 1024
    bridge_us = costs.bridge.cpu_us(heard) / use.every if is_bridged else 0.0
    broker_us = broker.cpu_us(heard) / use.every if is_bridged else 0.0
    limits = {
        "CPU": machine.share * machine.cores * 1e6 / each_us,
        "memory": (machine.share * machine.gib * 2**20 - own_kib) / each_kib,
        "network": machine.share * machine.gbit * 1e9 / 8 / sent,
    }
    if supervisor_us:
        limits["supervisor"] = machine.share * 1e6 / supervisor_us
    if bridge_us:
        limits["bridge"] = machine.share * 1e6 / bridge_us
    if broker_us and brokers is not None:
        limits["broker"] = machine.share * 1e6 * brokers / broker_us / machines
    limit = min(limits, key=limits.__getitem__)
    count = int(limits[limit])
    broker_cores = count * machines * broker_us / 1e6
    return Carried(
        machines=machines,
        limit=limit,
        connections=count * machines,
        messages=count * machines / use.every,
        cores=count * each_us / 1e6,
        supervisor_cores=count * supervisor_us / 1e6,
        gib=(count * each_kib + own_kib) / 2**20,
        mbit=count * sent * 8 / 1e6,
        broker_cores=broker_cores,
        brokers=math.ceil(round(broker_cores / machine.share, 6)),
        bridged=count * heard / use.every if machines > 1 else 0.0,
        bridge_cores=count * bridge_us / 1e6,
    )
