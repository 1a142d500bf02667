"""The workloads, each a module with `LETTER`, `TITLE`, `GOALS` and `run`."""

from __future__ import annotations

from types import ModuleType

from bench.workloads import (
    bulk,
    connects,
    datagrams,
    dispatching,
    echo,
    fanout,
    idle,
    lines,
    mixed,
    requests,
    scale,
    slow,
    startup,
    tls,
    tls_bursts,
    tls_handshakes,
    tls_idle,
)

MODULES: tuple[ModuleType, ...] = (
    echo,
    bulk,
    lines,
    connects,
    idle,
    fanout,
    startup,
    mixed,
    slow,
    requests,
    scale,
    dispatching,
    datagrams,
    tls,
    tls_bursts,
    tls_idle,
    tls_handshakes,
)
WORKLOADS = {module.LETTER: module for module in MODULES}
GOALS = tuple(goal for module in MODULES for goal in module.GOALS)
