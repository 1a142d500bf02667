"""What the validators of several settings share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import (
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import InitErrorDetails


def as_tuple(value: object) -> object:
    """Take a list for a tuple."""
    # TOML and JSON know only lists; strict mode would refuse them for a tuple.
    return tuple(value) if isinstance(value, list) else value


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
