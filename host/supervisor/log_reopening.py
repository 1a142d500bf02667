"""Has all processes of the host open the log file anew, and tells when they have."""

from __future__ import annotations

import functools
from collections.abc import Iterable

from host.ipc.protocol import REOPEN_LOG
from host.runtime.loop import Loop
from host.supervisor.workers.handles import Workers
from host.supervisor.workers.queries import Item, WorkerQueries
from host.telemetry.emitter import Telemetry
from host.telemetry.events import LOG_NOT_REOPENED, LOG_REOPENED
from host.telemetry.logs import LogWriter
from host.text import reason

_AGAIN_SECONDS = 1.0


class LogReopening:
    """Opens the log file anew here, then has each worker do so.

    Once `log_reopened` is told, no process writes to the file that had the path before. A worker
    that does not answer is told of, and asked again until it answers or has ended.

    Args:
        loop: the supervisor's loop.
        telemetry: told of the outcome.
        log: what writes the log in this process.
        workers: the living ones.
        queries: what asks them.
    """

    def __init__(
        self,
        loop: Loop,
        telemetry: Telemetry,
        log: LogWriter,
        workers: Workers,
        queries: WorkerQueries,
    ) -> None:
        self._loop, self._telemetry, self._log = loop, telemetry, log
        self._workers, self._queries = workers, queries
        self._round = 0
        self._failed = False  # in this round, in any process

    def begin(self, cause: str) -> None:
        """Begin, if there is a log file; what was begun before need not end.

        If the file cannot be opened here, workers are not asked: all lines stay in one file.

        Args:
            cause: why, for the log.
        """
        if self._log.file is None:
            return
        self._round += 1
        self._failed = False
        try:
            self._log.reopen()
        except OSError as error:
            self._tell_failure("the supervisor", reason(error))
        else:
            self._ask([each.record.pid for each in self._workers], cause, self._round)

    def _ask(self, pids: Iterable[int], cause: str, number: int, *, again: bool = False) -> None:
        """Ask workers, unless the file is to be opened anew once more by now."""
        if number != self._round:
            return
        alive = [pid for pid in pids if self._workers.get(pid) is not None]
        done = functools.partial(self._handle_answers, cause, number, again)
        self._queries.ask(alive, REOPEN_LOG, {}, done)

    def _handle_answers(
        self, cause: str, number: int, again: bool, items: dict[int, list[Item]], late: list[int]
    ) -> None:
        if number != self._round:
            return
        for pid, answer in items.items():
            if error := str(answer[0].get("error", "")) if answer else "":
                self._failed = True
                self._tell_failure(self._name(pid), error)
        if late:
            if not again:
                for pid in late:
                    self._tell_failure(self._name(pid), "it has not answered yet")
            due = self._loop.now + _AGAIN_SECONDS
            self._loop.call_at(due, lambda: self._ask(late, cause, number, again=True))
        elif not self._failed:
            file = self._log.file
            assert file is not None
            self._telemetry.emit(LOG_REOPENED, file=file.path, cause=cause)

    def _name(self, pid: int) -> str:
        handle = self._workers.get(pid)
        return f"worker {handle.record.slot} (pid {pid})" if handle else f"a worker (pid {pid})"

    def _tell_failure(self, process: str, cause: str) -> None:
        file = self._log.file
        assert file is not None
        self._telemetry.emit(LOG_NOT_REOPENED, process=process, file=file.path, cause=cause)
