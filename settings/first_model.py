"""Makes the first model of pydantic, which is when it looks for plugins of its own.

It reads the metadata of all distributions on the path for that, and what is malformed in there
raises whatever importlib.metadata makes of it. It asks only once, and goes on with the plugins that
it has found until then.
"""

from __future__ import annotations

from contextlib import suppress

from pydantic import TypeAdapter

with suppress(Exception):
    TypeAdapter(None)
