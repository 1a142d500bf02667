"""What authors test their plugins with: fakes, a harness, a conformance check, real hosts.

Three levels, each slower and closer to the real thing than the one before:

- `FakeConnection`, `FakeDatagram`: call the plugin's functions yourself.
- `Harness`: the plugin is loaded, told and called as the host does it, without any socket.
  `check_protocol` holds a protocol plugin to what every one of them should do.
- The pytest fixture `host_server`: a real host with real workers on a free port. The fixture
  `chaos` puts a protocol on such hosts through slow and odd peers, and through faults.

With pytest the fixtures `host_server`, `chaos` and `harness` are there once the host is installed.
"""

from __future__ import annotations

from host.testing.bus import MemoryBus
from host.testing.chaos import Chaos
from host.testing.conformance import check_protocol
from host.testing.connection import FakeConnection
from host.testing.conversation import Conversation
from host.testing.datagram import FakeDatagram
from host.testing.harness import Harness
from host.testing.running import RunningHost
from host.testing.worker import Failure, FakeWorker

__all__ = [
    "Chaos",
    "Conversation",
    "Failure",
    "FakeConnection",
    "FakeDatagram",
    "FakeWorker",
    "Harness",
    "MemoryBus",
    "RunningHost",
    "check_protocol",
]
