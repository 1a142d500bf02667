"""How commands and their results go over the control socket: its name, the version, the limits."""

from __future__ import annotations

VERSION = 1
"""Of the protocol: each request and each response carries it as `v`."""
MAX_REQUEST_BYTES = 65_536
MAX_PAGE_BYTES = 1024 * 1024
"""Of one line of a response: what is longer comes in several, each asked for by its number."""
PREFIX = "prefork/"
"""What the name of a control socket begins with; that of the host follows."""


def address(name: str) -> str:
    """Return the abstract address (unix(7)) of the control socket of the host `name`."""
    return f"\0{PREFIX}{name}"
