"""What the validators of several settings share."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import InitErrorDetails


def as_tuple(value: object) -> object:
    """Take a list for a tuple."""
    # TOML and JSON know only lists; strict mode would refuse them for a tuple.
    return tuple(value) if isinstance(value, list) else value


_LONGEST_SECONDS = 86_400
_SECONDS = {"s": 1, "m": 60, "h": 3600}


def _as_rate(value: object) -> object:
    """Take "20/s", "30/m" or "100/h" for a number a second."""
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(?:/\s*([smh]))?\s*", value)
    if found is None:
        raise ValueError('expected a rate such as "20/s", "30/m" or "100/h", or a number a second')
    return float(found[1]) / _SECONDS[found[2] or "s"]


def _check_rate(value: float) -> float:
    if 0 < value < 1 / _LONGEST_SECONDS:
        raise ValueError("expected at least one a day; 0 means any number")
    return value


Rate = Annotated[float, BeforeValidator(_as_rate), AfterValidator(_check_rate)]
"""How often something may happen, a second."""


def distinct(identity: Callable[[object], object], message: str) -> WrapValidator:
    """Make a validator that reports repeated items, beside whatever else is wrong with the list.

    A validator that runs after the items would be silent about repetitions as long as one item is
    invalid, and the operator would learn of them only at the next start.
    """

    def validate(value: object, handler: ValidatorFunctionWrapHandler) -> object:
        details: list[InitErrorDetails] = []
        items: object = None
        try:
            items = handler(value)
        except ValidationError as error:
            details += [
                InitErrorDetails(
                    type=one["type"], loc=one["loc"], input=one["input"], ctx=one.get("ctx", {})
                )
                for one in error.errors(include_url=False)
            ]
        seen: dict[object, int] = {}
        for index, item in enumerate(value if isinstance(value, list | tuple) else ()):
            key = identity(item)
            if key is not None and seen.setdefault(key, index) != index:
                cause = ValueError(message.format(first=seen[key]))
                details.append(
                    InitErrorDetails(
                        type="value_error", loc=(index,), input=item, ctx={"error": cause}
                    )
                )
        if details:
            raise ValidationError.from_exception_data("list", details)
        return items

    return WrapValidator(validate)


def also_text(schema: dict[str, Any]) -> None:
    """Let a JSON Schema also admit a string, for the value or for each element of a list."""
    target = schema.get("items", schema)
    inner = dict(target)
    target.clear()
    target["anyOf"] = [inner, {"type": "string"}]
    for kept in ("default", "description", "title"):
        if schema is target and kept in inner:
            target[kept] = inner.pop(kept)
