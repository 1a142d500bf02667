"""The settings of a host: models, sources, presets and the reports about them."""

from host.settings.address import Address
from host.settings.errors import Problem, SettingsError
from host.settings.loading import Loaded, load
from host.settings.manual import reference
from host.settings.models import (
    Admin,
    Breaker,
    Connection,
    Dispatch,
    Lifecycle,
    Limits,
    Log,
    Profile,
    Settings,
)
from host.settings.nearest import nearest
from host.settings.options import validate_options
from host.settings.origins import Origin
from host.settings.rows import Row, render, render_text
from host.settings.schemas import schema
from host.settings.selection import Listen
from host.settings.sources import presets

__all__ = [
    "Address",
    "Admin",
    "Breaker",
    "Connection",
    "Dispatch",
    "Lifecycle",
    "Limits",
    "Listen",
    "Loaded",
    "Log",
    "Origin",
    "Problem",
    "Profile",
    "Row",
    "Settings",
    "SettingsError",
    "load",
    "nearest",
    "presets",
    "reference",
    "render",
    "render_text",
    "schema",
    "validate_options",
]
