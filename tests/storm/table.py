"""The whole table: importing the modules of the rows enters them."""

from __future__ import annotations

import importlib

from storm.rows import ROWS

__all__ = ["ROWS"]

for name in (
    "admission",
    "after_exec",
    "asgi_apps",
    "asyncio_tasks",
    "bursts",
    "bus_hosts",
    "certificates",
    "clocks",
    "commands",
    "datagrams",
    "deaths",
    "distant",
    "endurance",
    "handshakes",
    "hangs",
    "injected",
    "limits",
    "logs",
    "matrix",
    "memory",
    "models",
    "peers",
    "pieces",
    "pools",
    "privileges",
    "reloading",
    "service",
    "signals",
    "socket_files",
    "starts",
    "stopping",
    "strangers",
    "streams",
    "tls_floods",
    "whole_runs",
):
    importlib.import_module(f"storm.{name}")
