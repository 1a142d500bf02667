"""Makes the JSON Schema of the settings file, for editors and for checks in a pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from host.settings.models import Settings

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema(options: Mapping[str, type] | None = None) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the settings file.

    Args:
        options: The options models of plugins by plugin name; other plugins may have any table.
    """
    options = options or {}
    models: list[type[BaseModel]] = [Settings, *dict.fromkeys(options.values())]
    references, definitions = models_json_schema([(m, "validation") for m in models])
    defined: dict[str, Any] = definitions["$defs"]
    for model in models:
        if model.model_config.get("extra") != "allow":
            # Also where the model ignores unknown keys: validate_options refuses them.
            _definition(defined, references[model, "validation"])["additionalProperties"] = False
    root = dict(_definition(defined, references[Settings, "validation"]))
    del defined[references[Settings, "validation"]["$ref"].rpartition("/")[2]]
    root["properties"] = dict(root["properties"])
    root["properties"]["options"] = {
        "type": "object",
        "description": Settings.model_fields["options"].description,
        "properties": {name: references[model, "validation"] for name, model in options.items()},
        "additionalProperties": {"type": "object"},
    }
    return {"$schema": _DIALECT, **root, "$defs": defined}


def _definition(defined: dict[str, Any], reference: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = defined[reference["$ref"].rpartition("/")[2]]
    return found
