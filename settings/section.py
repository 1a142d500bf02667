"""What every table of settings has in common."""

from __future__ import annotations

from contextlib import suppress

from pydantic import BaseModel, ConfigDict, TypeAdapter

# At the first model pydantic looks for plugins of its own, and so reads the metadata of all
# distributions on the path. What is malformed in there raises whatever importlib.metadata makes of
# it; pydantic asks only once, and goes on with the plugins that it has found until then.
with suppress(Exception):
    TypeAdapter(None)


class Section(BaseModel):
    """A table of settings.

    Strict, since a file says what it means: `workers = "4"` and `workers = true` are mistakes
    there. Text from the environment and from flags is parsed before it comes here.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
