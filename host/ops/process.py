"""The process itself: from just after the fork to the exit code."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from host.errors import ExitCode
from host.ipc.assignment import OpsAssignment
from host.ops.access import Access
from host.ops.http import Request, Response
from host.ops.http_server import HttpServer
from host.ops.pages import HEADERS, OPEN_PATHS, PROBES, Pages
from host.runtime.helpers import begin_helper
from host.runtime.scheduling import BatchScheduling, groups_by_session, have_session_give_way
from host.settings import Settings
from host.telemetry.emitter import Telemetry
from host.telemetry.events import OPS_FAILED

BEAT_SECONDS = 0.5
"""How often this process tells that it is well."""
_NICENESS = 5
"""Where all cores are busy it has about a third of what a worker has (sched(7))."""
_GRACE_SECONDS = 1.0
"""How long answers that are under way may take when it ends."""


def run(
    assignment: OpsAssignment,
    settings: Settings,
    token: str,
    telemetry: Telemetry,
    reopen_log: Callable[[], object],
) -> int:
    """Show how the host is until the supervisor goes or has no more use for this process.

    Args:
        assignment: what the supervisor gives it.
        settings: the settings of the host.
        token: the token that requests must bear; "" if none is asked for.
        telemetry: told of faults.
        reopen_log: has them written to what has the path of the log file now; it may raise OSError.
    """
    if not begin_helper(assignment.parent):
        return ExitCode.OK
    BatchScheduling().begin()  # whoever is served should not wait for a scrape
    os.nice(_NICENESS)
    if groups_by_session():
        os.setsid()
    access = Access(token, settings.ops.hosts, OPEN_PATHS, PROBES)
    for generation in assignment.generations:
        generation.scoreboard.only_read()
        for board in generation.series:
            board.only_read()
    longest_exec = settings.lifecycle.start_timeout_seconds
    pages = Pages(assignment, longest_exec, has_token=bool(token))
    asyncio.run(_serve(assignment, pages, access, telemetry, reopen_log))
    return ExitCode.OK


async def _serve(
    assignment: OpsAssignment,
    pages: Pages,
    access: Access,
    telemetry: Telemetry,
    reopen_log: Callable[[], object],
) -> None:
    async def answer(request: Request) -> Response:
        return access.refusal(request) or await pages.answer(request)

    def tell(error: Exception) -> None:
        telemetry.emit(OPS_FAILED, error=f"{type(error).__name__}: {error}")

    def reopen() -> None:
        with suppress(OSError):  # the supervisor tells of it: it has the same file
            reopen_log()

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, reopen)
    server = HttpServer(answer, tell, HEADERS)
    pages.begin()
    server.start(assignment.sockets)
    beat = asyncio.ensure_future(_beat(assignment))
    await _end_of(assignment.stop)
    beat.cancel()
    pages.end()
    await server.close(_GRACE_SECONDS)


async def _beat(assignment: OpsAssignment) -> None:
    """Write again and again that this process is well; have it give way to others first."""
    gives_way = False
    while True:
        gives_way = gives_way or have_session_give_way(os.getpid(), _NICENESS)
        assignment.counts.beat = time.monotonic()
        await asyncio.sleep(BEAT_SECONDS)


async def _end_of(pipe: int) -> None:
    """Wait until a pipe has its end, and close it."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    set_ended: Callable[[], None] = ended.set
    loop.add_reader(pipe, set_ended)
    await ended.wait()
    loop.remove_reader(pipe)
    os.close(pipe)
