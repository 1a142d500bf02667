"""Has files made without the permissions that the settings take from them (umask(2))."""

from __future__ import annotations

import os
from collections.abc import Callable

from host.runtime.origin import Origin
from host.settings import Loaded, Settings


def set_umask(settings: Settings, origin: Origin) -> None:
    """Take the umask of the settings; without one, that which the host was started with."""
    umask = settings.process.umask
    os.umask(int(umask, 8) if umask else origin.umask)


def setting_umask(load_settings: Callable[[], Loaded], origin: Origin) -> Callable[[], Loaded]:
    """Return what loads settings and takes their umask: plugins are imported after that."""

    def load() -> Loaded:
        loaded = load_settings()
        set_umask(loaded.settings, origin)
        return loaded

    return load
