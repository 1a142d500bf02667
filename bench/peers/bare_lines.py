"""Lines with what a server in Python cannot do without, and one call for each line.

It is to lines what `bare_loop` is to echo: it knows no errors, no unfinished lines and no plugins
that write by themselves. What it costs more than answers joined in one expression is the calls'.
"""

from __future__ import annotations

import sys

from bench.peers.bare_loop import serve


def answer(line: bytes) -> bytes:
    """Return the reply to a line."""
    return line + b"\n"


def answers(data: bytes) -> bytes:
    """Return the replies to what was read, which is to end with a line."""
    lines = data.split(b"\n")
    assert not lines.pop()
    return b"".join([answer(line) for line in lines])


if __name__ == "__main__":
    sys.exit(serve(answers))
