"""What plugins are handed: frozen values and narrow protocols, never the host's own objects."""

from host.interfaces.bus import BUS_LEFT, BUS_LOST, BUS_TAKEN, Bus, Message, Table
from host.interfaces.metrics import Counter, Gauge, Histogram, Labels, Metrics
from host.interfaces.pools import (
    PicklingError,
    Pool,
    PoolError,
    PoolFullError,
    Result,
    TaskCancelledError,
    TaskLostError,
    TaskTimeoutError,
    WouldBlockError,
)
from host.interfaces.supervisor import Host, WorkerView
from host.interfaces.values import (
    ChildExit,
    CloseReason,
    ConnectionOrigin,
    Listener,
    ProxyHeader,
    ProxyTls,
    TlsInfo,
)
from host.interfaces.worker import Connection, Datagram, HasFileno, RequestLog, Timer, Worker

__all__ = [
    "BUS_LEFT",
    "BUS_LOST",
    "BUS_TAKEN",
    "Bus",
    "ChildExit",
    "CloseReason",
    "Connection",
    "ConnectionOrigin",
    "Counter",
    "Datagram",
    "Gauge",
    "HasFileno",
    "Histogram",
    "Host",
    "Labels",
    "Listener",
    "Message",
    "Metrics",
    "PicklingError",
    "Pool",
    "PoolError",
    "PoolFullError",
    "ProxyHeader",
    "ProxyTls",
    "RequestLog",
    "Result",
    "Table",
    "TaskCancelledError",
    "TaskLostError",
    "TaskTimeoutError",
    "Timer",
    "TlsInfo",
    "Worker",
    "WorkerView",
    "WouldBlockError",
]
