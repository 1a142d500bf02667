"""What every table of settings has in common."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A table of settings.

    Strict, since a file says what it means: `workers = "4"` and `workers = true` are mistakes
    there. Text from the environment and from flags is parsed before it comes here.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
