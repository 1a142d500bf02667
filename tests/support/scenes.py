"""Hosts that root starts and that become nobody, with their settings and folders."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from host.testing.machine import patience
from support.hosting import Host, Refuse, Start, environment, eventually
from support.ordinary import NAME, NOBODY, Ordinary


class Scene:
    """A host that becomes nobody, its settings file, and a folder that nobody may not write to."""

    def __init__(self, start: Start, refuse: Refuse, nobody: Ordinary, folder: Path) -> None:
        self._start, self._refuse, self._nobody, self.folder = start, refuse, nobody, folder
        self.name = f"privileges-{os.getpid()}-{folder.name}"
        self.file = folder / "host.toml"
        self.own = folder / "own"
        self.own.mkdir()
        os.chown(self.own, NOBODY, NOBODY)
        self.listen: list[dict[str, Any]] = [{"address": "tcp://127.0.0.1:0"}]
        self.process: dict[str, Any] = {"user": NAME}
        self.more = ""

    def write(self) -> None:
        """Write the settings."""

        def table(values: dict[str, Any]) -> str:
            return "".join(f"{key} = {_toml(value)}\n" for key, value in values.items())

        tables = ["[[listen]]\n" + table(each) for each in self.listen]
        self.file.write_text("\n".join([*tables, "[process]\n" + table(self.process), self.more]))

    def start(self, *flags: str, **others: Any) -> Host:
        """Start the host."""
        self.write()
        given = {"listen": (), **self._run, **others}
        return self._start("--config", str(self.file), "--name", self.name, *flags, **given)

    def refuse(self, message: str, *flags: str, code: int, **others: Any) -> str:
        """Start a host that must not start; return what it says, in which the message is."""
        self.write()
        named = () if "--plugin" in flags else ("--plugin", "echo")
        given = ("--config", str(self.file), "--name", self.name, *named, *flags)
        refusal = self._refuse(*given, **{**self._run, **others})
        assert (refusal.code, message in refusal.message) == (code, True), refusal.message
        return refusal.message

    def command(self, uid: int, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command as a user."""
        return subprocess.run(
            [self._nobody.python, "-W", "error", "-m", "host", *words],
            user=uid,
            group=uid,
            extra_groups=[],
            cwd=self.folder,
            env=environment(self._nobody.env),
            capture_output=True,
            text=True,
            timeout=patience(30),
            check=False,
        )

    @property
    def _run(self) -> dict[str, Any]:
        return {"python": self._nobody.python, "env": self._nobody.env}

    def reload(self, host: Host) -> str:
        """Reload; return why it is refused, or "" if the new generation is ready."""
        self.write()
        mark = host.mark()
        host.signal(signal.SIGHUP)
        ends = ("generation_ready", "reload_failed", "generation_failed")
        eventually(lambda: any(host.events(each, since=mark) for each in ends), "the reload ends")
        failed = [*host.events("reload_failed", since=mark)]
        failed += host.events("generation_failed", since=mark)
        return failed[0]["reason"] if failed else ""


def _toml(value: object) -> str:
    return f"0o{value:o}" if isinstance(value, int) else repr(value).replace("'", '"')
