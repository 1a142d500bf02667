"""The pools of a worker: processes or threads for work that would hold up its loop."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from host.settings.section import Section
from host.settings.validators import as_tuple

_NAME = r"[a-z][a-z0-9_]{0,31}"
_MODULE = r"[^\W\d]\w*(\.[^\W\d]\w*)*"


def _check_name(value: str) -> str:
    if not re.fullmatch(_NAME, value):
        raise ValueError(
            "expected the name of a pool: up to 32 of a-z, 0-9 and `_`, a letter first"
        )
    return value


def _check_module(value: str) -> str:
    if not re.fullmatch(_MODULE, value):
        raise ValueError("expected the name of a module, such as package.module")
    return value


class PoolSettings(Section):
    """A pool of each worker: who does the tasks that plugins give to `worker.pool(NAME)`."""

    kind: Literal["processes", "threads"] = Field(
        default="processes",
        description="`processes` for work that keeps a CPU busy; each is an interpreter of its own"
        " and can be ended. `threads` for what mostly waits; they share the worker's interpreter.",
    )
    size: int = Field(
        default=2,
        ge=1,
        le=256,
        description="Processes or threads of each worker, so there are `workers` times as many. 2"
        " lets a short task pass a long one; more than there are CPUs only cost memory.",
    )
    nice: int = Field(
        default=10,
        ge=0,
        le=19,
        description="How much less of a CPU each process gets than what serves connections, where"
        " both want it (nice(2)): with 10 a tenth, with 0 the same. Others then wait less for the"
        " loop. It is not for threads.",
    )
    only_idle_cpu: bool = Field(
        default=False,
        description="Whether processes get a CPU only where nothing else wants it (SCHED_IDLE,"
        " sched(7)). Where all CPUs are busy, tasks get three thousandths of one. It is not for"
        " threads.",
    )
    busy_poll_us: int = Field(
        default=100,
        ge=0,
        le=10_000,
        description="Microseconds for which worker and process look for the next answer or task"
        " before they sleep, so that tiny tasks do not wait for the kernel to wake somebody. It is"
        " done more seldom the less it helps; 0 sleeps at once. It is not for threads.",
    )
    max_queued: int = Field(
        default=1_000,
        ge=1,
        le=1_000_000,
        description="Tasks that may wait or run in one worker; more are refused (`PoolFullError`)."
        " One connection may have half of the room that others leave. A large one hides an overload"
        " behind long waits, and costs the memory of all arguments.",
    )
    timeout_seconds: float = Field(
        default=0.0,
        ge=0,
        description="Seconds a task may wait, and as many it may run, before it fails"
        " (`TaskTimeoutError`) and its process is replaced; 0 means any time. Without it, a task"
        " that hangs keeps its process for ever.",
    )
    max_tasks_per_process: int = Field(
        default=0,
        ge=0,
        description="Tasks after which a process is replaced; 0 means any number. It bounds what"
        " leaks; a small one costs a start each time.",
    )
    max_memory_bytes: int = Field(
        default=0,
        ge=0,
        description="Resident memory in bytes above which a process is replaced after a task; 0"
        " means any amount. A single task may take more meanwhile.",
    )
    preload: Annotated[
        tuple[Annotated[str, AfterValidator(_check_module)], ...], BeforeValidator(as_tuple)
    ] = Field(
        default=(),
        description="Modules that each process imports before its first task. Without them the"
        " first tasks take the time of these imports.",
    )


Pools = dict[Annotated[str, AfterValidator(_check_name)], PoolSettings]
