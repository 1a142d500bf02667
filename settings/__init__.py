"""The settings of a host: models, sources, presets and the reports about them."""

from host.settings import first_model  # noqa: F401  (before any other model is made)
from host.settings.address import Address
from host.settings.bus import BusSettings
from host.settings.effective import (
    AppliedSetting,
    Difference,
    differences,
    is_fixed,
    render,
    render_text,
)
from host.settings.errors import Problem, SettingsError
from host.settings.json_schema import schema
from host.settings.keys import assignment, join
from host.settings.limits import ConnectionLimits, Limits
from host.settings.listen import Listen
from host.settings.loading import Loaded, load
from host.settings.models import (
    Admin,
    Breaker,
    Dispatch,
    Lifecycle,
    Log,
    Profile,
    Settings,
)
from host.settings.origins import Origin
from host.settings.places import keys_of
from host.settings.plugin_options import (
    assign_sections,
    mask_secrets,
    same_variable,
    validate_options,
)
from host.settings.pools import PoolSettings
from host.settings.process import Process
from host.settings.reference import reference
from host.settings.sources import preset_names
from host.settings.suggestions import nearest
from host.settings.tls import CertificateFiles, Tls
from host.settings.variables import ignored_variables

__all__ = [
    "Address",
    "Admin",
    "AppliedSetting",
    "Breaker",
    "BusSettings",
    "CertificateFiles",
    "ConnectionLimits",
    "Difference",
    "Dispatch",
    "Lifecycle",
    "Limits",
    "Listen",
    "Loaded",
    "Log",
    "Origin",
    "PoolSettings",
    "Problem",
    "Process",
    "Profile",
    "Settings",
    "SettingsError",
    "Tls",
    "assign_sections",
    "assignment",
    "differences",
    "ignored_variables",
    "is_fixed",
    "join",
    "keys_of",
    "load",
    "mask_secrets",
    "nearest",
    "preset_names",
    "reference",
    "render",
    "render_text",
    "same_variable",
    "schema",
    "validate_options",
]
