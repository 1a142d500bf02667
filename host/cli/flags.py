"""The flags that settings come from."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import click

from host import settings
from host.cli import candidates


class Sources(NamedTuple):
    """Where the command line says that settings come from."""

    config: str | None
    preset: str | None
    flags: dict[str, tuple[object, str]]
    keylog: str = ""

    def load(self, file: str | None = None) -> settings.Loaded:
        """Load the settings; a `file` given as an argument counts like `--config`."""
        found = settings.load(flags=self.flags, file=file or self.config, preset=self.preset)
        return dataclasses.replace(found, keylog=self.keylog)

    def recording(self, file: str) -> Sources:
        """Also select the plugin that records connections, wherever the others were selected."""
        selected = self.load().settings.plugins
        more = () if "record_trace" in selected else ("record_trace",)
        flags = {
            **self.flags,
            "plugins": ([*selected, *more], "--record-trace"),
            "options.record_trace.file": (file, "--record-trace"),
        }
        return self._replace(flags=flags)


def _sources(params: dict[str, Any]) -> Sources:
    flags: dict[str, tuple[object, str]] = {}
    for key, flag in (
        ("name", "--name"),
        ("workers", "--workers"),
        ("log.format", "--log-format"),
        ("log.level", "--log-level"),
        ("profile.directory", "--profile"),
        ("process.user", "--user"),
    ):
        value = params[key.replace(".", "_")]
        if value is not None:
            flags[key] = (value, flag)
    if params["respawn"] is not None:
        flags["respawn"] = (params["respawn"], "--respawn" if params["respawn"] else "--no-respawn")
    for key, flag in (("plugins", "--plugin"), ("listen", "--listen"), ("ops.listen", "--ops")):
        values = params[key.replace(".", "_")]
        if values:
            flags[key] = (list(values), flag)
    for text in params["assignments"]:
        pair = settings.assignment(text)
        if pair is None:
            raise click.UsageError(f"--set {text}: expected KEY=VALUE, as limits.max_events=100")
        key, value = pair
        if key in flags and not (other := flags[key][1]).startswith("--set "):
            raise click.UsageError(
                f"{other} and --set {text} both set {key}: leave one of them out"
            )
        flags[key] = (value, f"--set {text}")
    return Sources(params["config"], params["preset"], flags)


_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--config", metavar="FILE", shell_complete=candidates.files, help="Settings file (TOML)."
    ),
    click.option(
        "--preset",
        metavar="NAME",
        shell_complete=candidates.presets,
        help="Settings that ship with the host.",
    ),
    click.option(
        "--plugin",
        "plugins",
        metavar="NAME",
        shell_complete=candidates.plugins,
        multiple=True,
        help="Plugin to load: an installed one's NAME, package.module:Class, or ./file.py. "
        "no:NAME leaves out a default one. May be repeated.",
    ),
    click.option(
        "--listen",
        metavar="ADDRESS[=PLUGIN]",
        shell_complete=candidates.addresses,
        multiple=True,
        help="Where to listen, and which plugin serves it: tcp://127.0.0.1:7000=echo, "
        "unix:/run/x.sock. May be repeated.",
    ),
    click.option("--workers", metavar="N", help="Worker processes. Default: one per usable CPU."),
    click.option("--respawn/--no-respawn", default=None, help="Whether dead workers are replaced."),
    click.option("--name", metavar="NAME", help="Name of this host."),
    click.option(
        "--log-format",
        metavar="FORMAT",
        shell_complete=candidates.values_of("log.format"),
        help="text or json.",
    ),
    click.option(
        "--log-level",
        metavar="LEVEL",
        shell_complete=candidates.values_of("log.level"),
        help="debug, info, warning or error.",
    ),
    click.option(
        "--profile",
        "profile_directory",
        metavar="DIR",
        shell_complete=candidates.folders,
        help="Measure hooks and loop of each worker: files in DIR, and a table at the end.",
    ),
    click.option(
        "--ops",
        "ops_listen",
        metavar="ADDRESS",
        multiple=True,
        help="Where metrics, health and a dashboard are served: tcp://127.0.0.1:9180. May be "
        "repeated.",
    ),
    click.option(
        "--user",
        "process_user",
        metavar="USER",
        help="User that a host started by root becomes before it loads plugins.",
    ),
    click.option(
        "--set",
        "assignments",
        metavar="KEY=VALUE",
        shell_complete=candidates.assignments,
        multiple=True,
        help="Any other setting, as limits.idle_timeout_seconds=60. May be repeated.",
    ),
)


_NAMES = (
    "config",
    "preset",
    "plugins",
    "listen",
    "workers",
    "respawn",
    "name",
    "log_format",
    "log_level",
    "profile_directory",
    "ops_listen",
    "process_user",
    "assignments",
)


def with_sources(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command all the flags that settings come from; it is called with `sources`."""

    @functools.wraps(command)
    def wrapper(**params: Any) -> None:
        taken = {name: params.pop(name) for name in _NAMES}
        command(sources=_sources(taken), **params)

    for option in reversed(_OPTIONS):
        wrapper = option(wrapper)
    return wrapper
