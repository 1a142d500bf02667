"""Shells that complete what is typed: real ones, each at a terminal of its own."""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
from pathlib import Path
from typing import Self

from host.testing.machine import Stopwatch

_SECONDS = 20.0
_SEQUENCE = re.compile(r"\x1b\[[0-9;?>=]*[a-zA-Z]|\x1b[()=>].?|\x1b\][^\x07]*\x07|[\x07\r]")
"""What moves the cursor and colours the text (console_codes(4))."""
_START = {
    "bash": (["--norc", "--noprofile"], 'eval "$(prefork completion bash)"'),
    "zsh": (
        ["-f"],
        'autoload -U compinit && compinit -D -u && eval "$(prefork completion zsh)"',
    ),
}


class Shell:
    """A shell in which `prefork` is completed; a context manager, which ends it.

    Args:
        name: `bash` or `zsh`.
        program: the folder in which `prefork` is.
        folder: an empty folder: the home, so that no file of the user's counts.
    """

    def __init__(self, name: str, program: Path, folder: Path) -> None:
        path = shutil.which(name)
        assert path is not None
        flags, self._start = _START[name]
        self._terminal, theirs = os.openpty()
        self._said = ""
        environment = {"HOME": str(folder), "TERM": "xterm", "LANG": "C.UTF-8", "PS1": "> "}
        self._process = subprocess.Popen(
            [path, *flags, "-i"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=folder,
            env=environment | {"PATH": f"{program}:{os.environ['PATH']}"},
            start_new_session=True,
        )
        os.close(theirs)

    def __enter__(self) -> Self:
        self.type("PS1='> '\n")
        self.type(f"{self._start}; echo complete''s\n")
        self.wait_for("completes")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._terminal)

    def type(self, text: str) -> None:
        """Type a text; a tab has it completed."""
        os.write(self._terminal, text.encode())

    def wait_for(self, text: str) -> None:
        """Wait until a text is on the screen, and forget what came up to it."""
        watch = Stopwatch()
        while text not in self._said:
            left = watch.left(_SECONDS)
            if not left or not select.select([self._terminal], [], [], left)[0]:
                raise AssertionError(f"{text!r} does not come: {self._said!r}")
            self._said += os.read(self._terminal, 65_536).decode(errors="replace")
            self._said = _SEQUENCE.sub("", self._said)
        self._said = self._said.partition(text)[2]

    def completes(self, typed: str, expected: str) -> None:
        """Have a line completed, and check that it is this one then; it is not carried out."""
        self.type(f"{typed}\t")
        self.wait_for(expected)
        self.type("\x15")
