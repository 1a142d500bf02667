"""The whole table: importing the modules of the rows enters them."""

from __future__ import annotations

from storm import (
    after_exec,
    bursts,
    clocks,
    commands,
    deaths,
    distant,
    endurance,
    hangs,
    injected,
    limits,
    logs,
    matrix,
    memory,
    models,
    peers,
    pieces,
    reloading,
    signals,
    socket_files,
    starts,
    stopping,
    strangers,
    streams,
    whole_runs,
)
from storm.rows import ROWS

MODULES = (
    *(
        after_exec,
        bursts,
        clocks,
        commands,
        deaths,
        distant,
        endurance,
        hangs,
        injected,
        limits,
        logs,
        matrix,
        memory,
    ),
    *(
        models,
        peers,
        pieces,
        reloading,
        signals,
        socket_files,
        starts,
        stopping,
        strangers,
        streams,
        whole_runs,
    ),
)

__all__ = ["MODULES", "ROWS"]
