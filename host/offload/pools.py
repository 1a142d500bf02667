"""The pools of a worker, by their names: each is made when a plugin asks for it first."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable, Mapping

from host.interfaces import PoolError
from host.ipc.scoreboard import Row
from host.offload import background, child, printing
from host.offload.pool import Surroundings, TaskPool
from host.offload.process import Start
from host.offload.processes import ProcessPool
from host.offload.threads import ThreadPool
from host.runtime import lineage
from host.runtime.loop import Loop
from host.settings import PoolSettings
from host.settings.cpus import usable_cpus
from host.telemetry.emitter import Telemetry
from host.text import listed


class MakePools:
    """Makes the pools of all workers; it is made in the supervisor, before the first fork.

    What processes are made of is kept as it is then: they must fit this host after an upgrade on
    the disk. The descriptors are closed by an exec, and by the end of the process.

    Args:
        settings: the pools that the settings have.
        files: the path of each module that the host has made of a file, by its name.
    """

    def __init__(self, settings: Mapping[str, PoolSettings], files: Mapping[str, str]) -> None:
        self._settings, self._files = settings, dict(files)
        self._program = os.memfd_create("prefork-pool")
        os.write(self._program, program())
        self._lineage = lineage.duplicate()

    def __call__(
        self,
        loop: Loop,
        isolated: Callable[[Callable[[], object]], None],
        telemetry: Telemetry,
        slot: int,
        row: Row,
    ) -> Pools:
        """Return the pools of one worker; the arguments are those of `Surroundings`."""
        return Pools(self._settings, Surroundings(loop, isolated, telemetry, slot, row), self)

    def start(self, name: str, settings: PoolSettings) -> Start:
        """Return how the processes of one pool are started."""
        # With one CPU alone a process could not do the task while it is polled for.
        poll_seconds = settings.busy_poll_us / 1e6 if usable_cpus() > 1 else 0.0
        setup = child.Setup(
            path=sys.path,
            files=self._files,
            preload=settings.preload,
            nice=settings.nice,
            only_idle_cpu=settings.only_idle_cpu,
            max_tasks=settings.max_tasks_per_process,
            max_bytes=settings.max_memory_bytes,
            poll_seconds=poll_seconds,
        )
        packed = pickle.dumps(setup._asdict())
        return Start(self._program, packed, self._lineage, f"pool {name}", poll_seconds)


class Pools:
    """The pools of one worker.

    Args:
        settings: the pools that the settings have.
        around: what the worker gives them.
        maker: knows how processes are started.
    """

    def __init__(
        self, settings: Mapping[str, PoolSettings], around: Surroundings, maker: MakePools
    ) -> None:
        self._settings, self._around, self._maker = settings, around, maker
        self._pools: dict[str, TaskPool] = {}

    def get(self, name: str) -> TaskPool:
        """Return a pool.

        Raises:
            PoolError: there is none of that name.
        """
        pool = self._pools.get(name)
        if pool is None:
            pool = self._pools[name] = self._make(name)
        return pool

    def is_busy(self) -> bool:
        """Tell whether there are tasks that are not over."""
        return any(pool.is_busy() for pool in self._pools.values())

    def give_up(self) -> int:
        """Cancel all tasks; return how many there were."""
        return sum(pool.give_up() for pool in self._pools.values())

    def close(self) -> None:
        """End all processes."""
        for pool in self._pools.values():
            pool.close()

    def close_in_fork(self) -> None:
        """Leave all to the parent, in a child that a plugin has forked."""
        for pool in self._pools.values():
            pool.close_in_fork()

    def _make(self, name: str) -> TaskPool:
        settings = self._settings.get(name)
        if settings is None:
            raise no_pool(name, self._settings)
        if settings.kind == "threads":
            return ThreadPool(name, settings, self._around)
        return ProcessPool(name, settings, self._around, self._maker.start(name, settings))


def program() -> bytes:
    """Return the program of a process: its modules as one text, which imports none of the host.

    An import from the host is one line in them.
    """
    left_out = ("from __future__ ", "from host.")
    lines = ["from __future__ import annotations\n"]
    for path in (printing.__file__, background.__file__, child.__file__):
        with open(path, encoding="utf-8") as file:
            lines += (each for each in file if not each.startswith(left_out))
    return "".join(lines).encode()


def no_pool(name: str, settings: Mapping[str, PoolSettings]) -> PoolError:
    """Return the error that says that the settings have no such pool."""
    names = listed(sorted(settings)) or "none"
    return PoolError(
        f'there is no pool "{name}": the settings need a table [pools.{name}], which may be empty '
        f"(pools that they have: {names})"
    )
