"""Writes the reference page of the settings from the models."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from host.settings.errors import show
from host.settings.fields import alternatives, bounds, is_section, sections
from host.settings.listen import Listen
from host.settings.models import Settings, default_workers
from host.settings.toml_lines import Path
from host.settings.variables import CONFIG, PREFIX, PRESET, variable

_INTRODUCTION = f"""\
# Settings

Values come from flags, environment variables, a TOML file, a preset and the defaults; each
overrides those after it. Lists replace each other, tables merge.

`{CONFIG}` names the file and `{PRESET}` the preset, unless a flag does. A list in a variable
is separated by commas or written as JSON. A variable that begins with `{PREFIX}` and is not in
these tables is an error, as is an unknown key. Variables that Kubernetes sets for a service called
`prefork` or `prefork-…` are ignored: `{PREFIX}SERVICE_HOST`, `{PREFIX}SERVICE_PORT`,
`{PREFIX}SERVICE_PORT_NAME`, `{PREFIX}PORT` with a URL, and `{PREFIX}PORT_7000_TCP`, alone and with
`_PROTO`, `_PORT` and `_ADDR`.

The prefix was `HOST_` once. A variable that begins with it is ignored; if it was a setting's, a
start and `check` warn of it.
"""
_HEAD = """\
| key | type | default | range | environment variable | meaning |
|---|---|---|---|---|---|
"""
_OPTIONS = f"""\
## [options.NAME]

The options of the plugin NAME, described by the plugin. A variable sets one of them:
`{PREFIX}OPTIONS__NAME__KEY`.
"""
_TYPES = {bool: "true or false", int: "integer", float: "number", str: "string"}


def reference() -> str:
    """Return the reference page of all settings, in Markdown."""
    top = {n: f for n, f in Settings.model_fields.items() if not is_section(f) and n != "options"}
    parts = [_INTRODUCTION, _section("Top level", Settings, top, ())]
    parts.append(_section("[[listen]]", Listen, Listen.model_fields, None))
    for name, model in sections(Settings).items():
        parts.append(_section(f"[{name}]", model, model.model_fields, (name,)))
    return "\n".join((*parts, _OPTIONS))


def _section(
    title: str, model: type[BaseModel], fields: dict[str, FieldInfo], prefix: Path | None
) -> str:
    rows = "".join(_row(name, field, prefix) for name, field in fields.items())
    return f"## {title}\n\n{(model.__doc__ or '').strip()}\n\n{_HEAD}{rows}"


def _row(name: str, field: FieldInfo, prefix: Path | None) -> str:
    env = "" if prefix is None else f"`{variable((*prefix, name))}`"
    low_high = "up to 0o777" if name == "mode" else bounds(field)
    low_high = low_high.removeprefix("from ").removeprefix("of ")
    cells = (f"`{name}`", _type(field), _default(name, field), low_high, env, field.description)
    return f"| {' | '.join((cell or '').replace('|', '&#124;') for cell in cells)} |\n"


def _type(field: FieldInfo) -> str:
    kind: Any = alternatives(field.annotation)[0]
    if get_origin(kind) is Literal:
        return ", ".join(f"`{one}`" for one in get_args(kind))
    return _TYPES.get(kind, "list")


def _default(name: str, field: FieldInfo) -> str:
    if field.default_factory is default_workers:
        return "number of usable CPUs"
    if field.is_required():
        return "required"
    if field.default is None:
        return ""
    return f"`0o{field.default:o}`" if name == "mode" else f"`{show(field.default)}`"
