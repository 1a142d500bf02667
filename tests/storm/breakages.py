"""Ways to break a host's settings and plugin before a reload, each with a phrase of the reason."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from storm.hosts import POLITE

PLUGIN_FILE = "served.py"
SETTINGS_FILE = "host.toml"
MENDED = "[lifecycle]\nstart_timeout_seconds = 3.0\n"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the settings and the plugin are.

    Attributes:
        folder: the folder of the host.
        plugin: the plugin's file.
        settings: the settings file.
        taken: a port that somebody else listens on.
    """

    folder: Path
    plugin: Path
    settings: Path
    taken: int

    def mend(self) -> None:
        """Make everything as it should be."""
        if self.settings.is_dir():
            self.settings.rmdir()
        self.settings.write_text(MENDED)
        shutil.copy(POLITE, self.plugin)

    def set(self, text: str) -> None:
        """Put something before the right settings."""
        self.settings.write_text(text + "\n" + MENDED)

    def add(self, text: str) -> None:
        """Put something after the right plugin."""
        self.plugin.write_text(Path(POLITE).read_text() + "\n\n" + text + "\n")


Breaking = Callable[[Place], object]


def _set(text: str) -> Breaking:
    return lambda place: place.set(text)


def _add(text: str) -> Breaking:
    return lambda place: place.add(text)


def _hook(source: str) -> Breaking:
    """Add a hook to the plugin's class."""
    indented = "".join(f"    {line}\n" for line in source.splitlines())
    return lambda place: place.plugin.write_text(
        Path(POLITE).read_text() + "\n    @hookimpl\n" + indented
    )


def _directory(place: Place) -> None:
    place.settings.unlink()
    place.settings.mkdir()


BREAKAGES: dict[str, tuple[Breaking, str]] = {
    "not TOML": (_set("workers = = 2"), "host.toml:1"),
    "unknown key": (_set("wrokers = 2"), "wrokers"),
    "unknown section": (_set("[limit]\nmax_events = 5"), "limit"),
    "wrong type": (_set('[limits]\nmax_events = "many"'), "many"),
    "no workers": (_set("[limits]\nmax_events = 0"), "max_events"),
    "too high": (_set("[dispatch]\nmissed_claim_ms = 9999999"), "missed_claim_ms"),
    "below zero": (_set("[limits]\nidle_timeout_seconds = -1"), "idle_timeout_seconds"),
    "unknown log format": (_set('[log]\nlevel = "loud"'), "loud"),
    "marks swapped": (_set("[connection]\nlow_water_bytes = 999999999"), "low_water_bytes"),
    "unknown options": (_set("[options.nobody]\nx = 1"), "nobody"),
    "options that are not taken": (_set("[options.served]\nx = 1"), "served"),
    "no settings file": (lambda place: place.settings.unlink(), "host.toml"),
    "a directory": (_directory, "host.toml"),
    "bytes that are no text": (
        lambda place: place.settings.write_bytes(b"name = '\xff\xfe'\n"),
        "host.toml",
    ),
    "no plugin file": (lambda place: place.plugin.unlink(), "served.py"),
    "empty plugin": (lambda place: place.plugin.write_text(""), "served"),
    "syntax error": (_add("def broken(:"), "served.py"),
    "bad indentation": (_add("  x = 1"), "served.py"),
    "import error": (_add("import nothing_of_this_name"), "nothing_of_this_name"),
    "raises at import": (_add("raise RuntimeError('not today')"), "not today"),
    "exits at import": (_add("raise SystemExit(3)"), "SystemExit"),
    "interrupts at import": (_add("raise KeyboardInterrupt"), "KeyboardInterrupt"),
    "os._exit at import": (_add("os._exit(3)"), ""),
    "SIGSEGV at import": (_add("os.kill(os.getpid(), 11)"), "SIGSEGV"),
    "recursion at import": (_add("def f(): f()\nf()"), "RecursionError"),
    "raises when made": (
        lambda place: place.plugin.write_text(
            Path(POLITE).read_text()
            + "\n    def __init__(self) -> None:\n        raise RuntimeError('not made')\n"
        ),
        "not made",
    ),
    "misspelt hook": (_hook("def on_readabel(self, connection): ..."), "on_readable"),
    "undecorated hook": (_add("Polite.on_close = lambda self, connection: None"), "hookimpl"),
    "wrong argument": (_hook("def on_close(self, conection): ..."), "connection"),
    "default value": (_hook("def on_close(self, connection=None): ..."), "default"),
    "no protocol": (
        lambda place: place.plugin.write_text(
            "from host import hookimpl\n\n\n@hookimpl\ndef on_worker_stop(worker): ...\n"
        ),
        "",
    ),
    "on_host_start raises": (
        _hook("def on_host_start(self):\n    raise RuntimeError('no start')"),
        "no start",
    ),
    "on_host_start exits": (
        _hook("def on_host_start(self):\n    raise SystemExit(3)"),
        "SystemExit",
    ),
    "on_worker_start raises": (
        _hook("def on_worker_start(self):\n    raise RuntimeError('no worker')"),
        "no worker",
    ),
    "workers exit at start": (_hook("def on_worker_start(self):\n    os._exit(3)"), "exit code 3"),
    "workers hang at start": (
        _hook("def on_worker_start(self):\n    while True: pass"),
        "",
    ),
}
"""What is done to settings and plugin, and what the reason must name."""
