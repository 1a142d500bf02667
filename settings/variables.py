"""The names of environment variables: which key each sets, and which are left alone."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from pydantic.fields import FieldInfo

from host.settings.fields import leaves
from host.settings.keys import join
from host.settings.models import Settings
from host.settings.places import is_mapping
from host.settings.toml_lines import Path

PREFIX = "PREFORK_"
CONFIG = f"{PREFIX}CONFIG"
PRESET = f"{PREFIX}PRESET"
_FORMER_PREFIX = "HOST_"

# Kubernetes tells every container of each service by variables that begin with the service's name,
# in capitals and with _ for -: those of `prefork` and of `prefork-chat` begin with our prefix.
# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
_OF_SERVICE = (
    r"PREFORK(_[A-Z0-9]+)*_"
    r"(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9]+)*|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)=.*"
    r"|PREFORK(_[A-Z0-9]+)*_PORT=(tcp|udp|sctp)://.*"
)


def variable(path: Path) -> str:
    """Return the name of the environment variable that sets the key at `path`."""
    return PREFIX + "__".join(fold(str(part)) for part in path)


def variables() -> dict[str, str]:
    """Return the name of every environment variable with the dotted key it sets.

    Those of tables whose keys are names are not among them: plugins' options, pools, and TLS.
    """
    return {
        variable(path): join(path) for path, field in leaves(Settings) if not is_named(path, field)
    }


def is_named(path: Path, field: FieldInfo) -> bool:
    """Tell whether a field has a table for each of several names."""
    return len(path) == 1 and is_mapping(field.annotation)


def fold(key: str) -> str:
    """Return a key as it is in the name of a variable, where a shell takes A-Z, 0-9 and _ only."""
    return re.sub("[^A-Z0-9_]", "_", key.upper())


_NAMED = {fold(key) for key, field in Settings.model_fields.items() if is_named((key,), field)}


def is_of_named(name: str) -> bool:
    """Tell whether a variable has the form of those that set a key in a table with a free name."""
    parts = name.removeprefix(PREFIX).split("__")
    return name.isupper() and len(parts) >= 3 and parts[0] in _NAMED and all(parts)


def is_of_service(name: str, value: str) -> bool:
    """Tell whether Kubernetes sets this variable for a service called `prefork` or `prefork-…`.

    `PREFORK_PORT` is a URL then. A number in it is somebody's who takes it for a setting.
    """
    return re.fullmatch(_OF_SERVICE, f"{name}={value}") is not None


def ignored_variables(environ: Mapping[str, str] | None = None) -> list[str]:
    """Return the variables that do nothing, but did when the prefix was `HOST_`.

    Args:
        environ: Environment variables; those of this process by default.
    """
    environ = os.environ if environ is None else environ
    names = sorted(name for name in environ if name.startswith(_FORMER_PREFIX) and environ[name])
    if not names:
        return []
    known = {*variables(), CONFIG, PRESET}
    new = {name: name.replace(_FORMER_PREFIX, PREFIX, 1) for name in names}
    return [name for name in names if new[name] in known or is_of_named(new[name])]
