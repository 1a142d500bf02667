"""Answers each line with itself: the host's side of workload (c)."""

from host import Connection, hookimpl


@hookimpl
def on_line(connection: Connection, line: bytes) -> bool:
    """Answer a line."""
    connection.write(line + b"\n")
    return True
