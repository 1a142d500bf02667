"""Loads the settings of a host from all their sources."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from types import MappingProxyType

from pydantic import ValidationError

from host.settings.errors import Problem, SettingsError
from host.settings.explanations import explain
from host.settings.keys import join
from host.settings.models import Settings
from host.settings.origins import DEFAULT, Layer, Origin, values
from host.settings.problems import Scope, drop_unknown
from host.settings.sources import Flags, read_environment, read_file, read_flags, read_preset
from host.settings.variables import CONFIG, PRESET


@dataclass(frozen=True)
class Loaded:
    """Settings, and where each value came from.

    Attributes:
        settings: The validated settings.
        origins: The origin of each value that is not a default, by dotted key.
        texts: The original text of option values that were read from text, by dotted key.
        keylog: A file that the keys of all TLS sessions are written to, or "". It is no setting,
            so that no file or variable that is left behind has it written.
    """

    settings: Settings
    origins: Mapping[str, Origin] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict, repr=False)
    keylog: str = ""

    def origin(self, key: str) -> Origin:
        """Return where the value of a dotted key came from."""
        return self.origins.get(key, DEFAULT)

    def is_default(self, key: str) -> bool:
        """Tell whether no source said anything about a dotted key."""
        return key not in self.origins


def load(
    *,
    flags: Flags | None = None,
    environ: Mapping[str, str] | None = None,
    file: str | FilePath | None = None,
    preset: str | None = None,
) -> Loaded:
    """Load and validate the settings.

    Flags override environment variables, these the file, this the preset, and this the defaults.
    Lists replace each other and tables merge.

    Args:
        flags: Dotted key → (value, the flag as typed), in the order given. Text is parsed.
        environ: Environment variables; those of this process by default.
        file: A TOML file, overriding `PREFORK_CONFIG`.
        preset: The name of a preset, overriding `PREFORK_PRESET`.

    Raises:
        SettingsError: With everything that is wrong in any source.
    """
    environ = os.environ if environ is None else environ
    problems: list[Problem] = []
    merged = Layer()
    for layer in _layers(flags or {}, environ, (file, preset), problems):
        scope = Scope(Settings, layer.origins)
        layer.table = drop_unknown(layer.table, scope, problems)
        _keep_selection(merged, layer)
        merged.add(layer)
    try:
        settings = Settings.model_validate(merged.table)
    except ValidationError as error:
        problems += explain(error, merged.table, Scope(Settings, merged.origins))
    if problems:
        raise SettingsError(problems, selected=_selected(merged))
    keys = [join(path) for path, _ in values(merged.table, ())]
    origins = {key: merged.origins[key] for key in keys if key in merged.origins}
    return Loaded(settings, MappingProxyType(origins), MappingProxyType(merged.texts))


def _selected(merged: Layer) -> tuple[str, ...]:
    """Return the plugins that are selected, as far as that can be told in spite of problems."""
    found = merged.table.get("plugins")
    return tuple(each for each in found if isinstance(each, str)) if isinstance(found, list) else ()


def _layers(
    flags: Flags,
    environ: Mapping[str, str],
    chosen: tuple[str | FilePath | None, str | None],
    problems: list[Problem],
) -> Iterator[Layer]:
    """Read the sources, weakest first."""
    file, preset = chosen
    if preset is not None:
        yield read_preset(preset, "from --preset (flag)", problems)
    elif name := environ.get(PRESET):
        yield read_preset(name, f"from {PRESET} (environment)", problems)
    if file is not None:
        yield read_file(FilePath(file), "from --config (flag)", problems)
    elif path := environ.get(CONFIG):
        yield read_file(FilePath(path), f"from {CONFIG} (environment)", problems)
    yield read_environment(environ, problems)
    yield read_flags(flags, problems)


def _keep_selection(weaker: Layer, layer: Layer) -> None:
    """Let flags that only leave plugins out add to the selection instead of replacing it."""
    origin = layer.origins.get("plugins")
    left_out = layer.table.get("plugins")
    selected = weaker.table.get("plugins")
    if origin is None or origin.kind != "flag" or not isinstance(selected, list):
        return
    if not isinstance(left_out, list | tuple) or not left_out:
        return
    if all(isinstance(name, str) and name.startswith("no:") for name in left_out):
        added = [name for name in left_out if name not in selected]
        source = weaker.origins["plugins"]
        both = Origin("flag", f"{source}, {origin}")
        layer.put(("plugins",), [*selected, *added], both)
