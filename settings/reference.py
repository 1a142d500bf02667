"""Writes the reference page of the settings from the models."""

from __future__ import annotations

import inspect
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from host.settings.errors import show
from host.settings.fields import bounds, is_section, sections
from host.settings.listen import Listen
from host.settings.models import Settings, default_workers
from host.settings.places import alternatives, fields_of, is_mapping
from host.settings.pools import PoolSettings
from host.settings.tls import CertificateFiles, Tls
from host.settings.toml_lines import Path
from host.settings.variables import CONFIG, PREFIX, PRESET, is_named, variable

_INTRODUCTION = f"""\
# Settings

Values come from flags, environment variables, a TOML file, a preset and the defaults; each
overrides those after it. Lists replace each other, tables merge.

Each key has its type, its range, its default, and the environment variable that sets it.

`{CONFIG}` names the file and `{PRESET}` the preset, unless a flag does. A list in a variable
is separated by commas or written as JSON. A variable that is empty counts as unset. A variable that
begins with `{PREFIX}` and is not on
this page is an error, as is an unknown key. Variables that Kubernetes sets for a service called
`prefork` or `prefork-…` are ignored: `{PREFIX}SERVICE_HOST`, `{PREFIX}SERVICE_PORT`,
`{PREFIX}SERVICE_PORT_NAME`, `{PREFIX}PORT` with a URL, and `{PREFIX}PORT_7000_TCP`, alone and with
`_PROTO`, `_PORT` and `_ADDR`.

The prefix was `HOST_` once. A variable that begins with it is ignored; if it was a setting's, a
start and `check` warn of it.
"""
_OPTIONS = f"""\
## [options.NAME]

The options of the plugin NAME, described by the plugin. Lists may be separated by commas. In a flag
a name with dots is quoted: `--set 'options."pk.mod:Chat".maxLen=5'`. A variable has capitals, and
`_` for all that is no letter or digit: `{PREFIX}OPTIONS__PK_MOD_CHAT__MAXLEN`. It sets one option:
`{PREFIX}OPTIONS__NAME__KEY`.
"""
_TLS = ("tls", "NAME")
_FILES = (*_TLS, "certificates")
"""The paths of tables whose NAME is free; those of the second are in a list, without variables."""
_TYPES = {bool: "true or false", int: "integer", float: "number", str: "string"}


def reference() -> str:
    """Return the reference page of all settings, in Markdown."""
    fields = Settings.model_fields.items()
    top = {n: f for n, f in fields if not is_section(f) and not is_named((n,), f)}
    parts = [_INTRODUCTION, _section("Top level", Settings, top, ())]
    parts.append(_section("[[listen]]", Listen, Listen.model_fields, None))
    parts.append(_section("[tls.NAME]", Tls, fields_of(Tls), _TLS))
    parts.append(
        _section("[[tls.NAME.certificates]]", CertificateFiles, fields_of(CertificateFiles), _FILES)
    )
    for name, model in sections(Settings).items():
        parts.append(_section(f"[{name}]", model, fields_of(model), (name,)))
    parts.append(
        _section("[pools.NAME]", PoolSettings, PoolSettings.model_fields, ("pools", "NAME"))
    )
    return "\n".join((*parts, _OPTIONS))


def _section(title: str, model: type, fields: dict[str, FieldInfo], prefix: Path | None) -> str:
    entries = "\n".join(_entry(name, field, prefix) for name, field in fields.items())
    return f"## {title}\n\n{inspect.getdoc(model)}\n\n{entries}"


def _entry(name: str, field: FieldInfo, prefix: Path | None) -> str:
    """Return a key with its facts and its meaning, as a term of a definition list.

    The anchor is in HTML: it works where Markdown has no definition lists, too.
    """
    anchor = ".".join((*(("listen",) if prefix is None else map(str, prefix)), name))
    low_high = "up to 0o777" if name == "mode" else bounds(field)
    low_high = low_high.removeprefix("from ").removeprefix("of ")
    env = "" if prefix in (None, _FILES) else f"`{variable((*(prefix or ()), name))}`"
    kind = ", ".join(filter(None, (_type(field), low_high)))
    facts = " · ".join(filter(None, (kind, _default(name, field), env)))
    return f'<a id="{anchor}"></a>`{name}`\n:   {facts}\n:   {field.description}\n'


def _type(field: FieldInfo) -> str:
    kind: Any = alternatives(field.annotation)[0]
    if get_origin(kind) is Literal:
        return " or ".join(f"`{one}`" for one in get_args(kind))
    return "table" if is_mapping(kind) else _TYPES.get(kind, "list")


def _default(name: str, field: FieldInfo) -> str:
    if field.default_factory is default_workers:
        return "default: the number of usable CPUs"
    if field.is_required():
        return "required"
    if field.default is None:
        return ""
    return (
        f"default `0o{field.default:o}`" if name == "mode" else f"default `{show(field.default)}`"
    )
