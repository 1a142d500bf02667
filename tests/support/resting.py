"""When nothing is under way in a host: only then does it tell what it keeps open for good."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Protocol

from host.testing.event_log import EventLog
from support.address import connect
from support.asking import Asker
from support.board import Board
from support.hosting import eventually
from support.processes import children

UNDER_WAY = ("host_reloading", "generation_starting")
OVER = ("generation_ready", "generation_failed", "reload_failed")
"""Events of a reload: two that tell that it is under way, and three that tell of its end."""


class Watched(Protocol):
    """What has to be known of a host: `Host` and `StormHost` have it."""

    @property
    def addresses(self) -> list[str]: ...

    @property
    def board(self) -> Board: ...


def all_have_left(host: Watched, request: bytes = b"PING\r\n") -> None:
    """Wait until all clients have been accepted that have connected so far, and all have ended.

    A client that has hung up may still wait to be accepted, and then no counter of connections has
    it. A queue is first in, first out (accept(2)), so when one more client has its answer, all
    before it have been counted. Their descriptors are closed before they are counted no more.

    Args:
        host: a host that has not been reloaded.
        request: what its protocols answer.
    """
    for address in host.addresses:
        with connect(address) as last:
            last.sendall(request)
            assert last.recv(1), f"{address} does not answer"
    eventually(lambda: not any(host.board.active), "all connections have ended")


@contextmanager
def at_rest(
    host: EventLog, name: str, *, connections: int = 0, seconds: float = 20.0
) -> Iterator[dict[str, Any]]:
    """Wait until a host neither reloads nor has workers that start or end; yield its `status`.

    It has seen all signals that were sent before, and what it has done before it answers, such as
    closing what belonged to a worker, is done. Until the block ends it has one client of its admin
    socket, so it has as many descriptors each time.

    Args:
        host: its log.
        name: its name.
        connections: how many must be open at least.
        seconds: how long it may take on an idle machine.
    """
    status: dict[str, Any] = {}
    with ExitStack() as client:

        def rests() -> bool:
            client.close()
            # A host that re-executes itself hangs up.
            with suppress(EOFError, ConnectionError):
                asker = client.enter_context(Asker(name))
                status.update(asker.ask("status"))
                generations = asker.ask("generations")["generations"]
                return (
                    len(generations) == 1
                    and _complete(status)
                    and sum(each["active"] for each in status["workers"]) >= connections
                    and not _reloads(host, asker)
                )
            return False

        eventually(rests, f"the host {name} is at rest", seconds)
        yield status


def _complete(status: dict[str, Any]) -> bool:
    workers = status["workers"]
    return (
        status["state"] == "serving"
        and [each["state"] for each in workers] == ["serving"] * status["workers_wanted"]
        and {each["pid"] for each in workers} == {each.pid for each in children(status["pid"])}
    )


def _reloads(host: EventLog, asker: Asker) -> bool:
    """Tell whether a reload has begun and not ended, by all that the host has told so far."""
    mark = host.mark()
    asker.ask("resume", slot=0)  # changes nothing; it is logged, after all that came before it
    host.wait_for("admin_command", since=mark)
    told = [event["event"] for event in host.events()]
    steps = [name for name in told if name in UNDER_WAY + OVER]
    return bool(steps) and steps[-1] in UNDER_WAY
