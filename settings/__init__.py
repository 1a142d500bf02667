"""The settings of a host: models, sources, presets and the reports about them."""

from settings.address import Address
from settings.errors import Problem, SettingsError
from settings.loading import Loaded, load
from settings.manual import reference
from settings.models import (
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
from settings.nearest import nearest
from settings.options import validate_options
from settings.origins import Origin
from settings.rows import Row, render, render_text
from settings.schemas import schema
from settings.selection import Listen
from settings.sources import presets

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
