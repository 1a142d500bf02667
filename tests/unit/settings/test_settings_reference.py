"""Presets, schema and reference page: made from the models, so none can go stale."""

import json
import re

import pytest
from pydantic import BaseModel, SecretStr

from host import settings
from host.settings import Listen, Settings
from host.settings.fields import join, leaves
from host.settings.variables import variables

KEYS = [join(path) for path, _ in leaves(Settings)]


@pytest.mark.parametrize("name", settings.presets())
def test_presets_load(load, name):
    assert load(preset=name).settings.plugins == ("echo",)


def test_the_full_preset_has_every_key_with_its_default(load):
    loaded = load(preset="everything")
    differing = {"workers", "plugins", "listen"}
    assert loaded.settings.model_dump(exclude=differing) == Settings().model_dump(exclude=differing)
    assert {key for key in KEYS if loaded.is_default(key)} == {"options"}
    (listen,) = loaded.settings.listen
    assert listen.model_fields_set == set(Listen.model_fields)
    assert (listen.backlog, listen.mode) == (4096, 0o600)


def test_every_field_says_what_it_means():
    fields = dict(Listen.model_fields) | Settings.model_fields
    fields |= {join(path): field for path, field in leaves(Settings)}
    assert [
        key for key, field in fields.items() if not (field.description or "").endswith(".")
    ] == []


class Room(BaseModel):
    title: str


class Chat(BaseModel):
    rooms: list[Room] = []
    password: SecretStr = SecretStr("")


def test_schema_describes_the_file():
    schema = settings.schema({"chat": Chat, "chat2": Chat})
    json.dumps(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert list(schema["properties"]) == list(Settings.model_fields)
    assert schema["additionalProperties"] is False
    assert schema["properties"]["workers"] == {
        "description": Settings.model_fields["workers"].description,
        "maximum": 1024,
        "minimum": 1,
        "title": "Workers",
        "type": "integer",
    }
    options = schema["properties"]["options"]
    assert options["properties"] == {
        "chat": {"$ref": "#/$defs/Chat"},
        "chat2": {"$ref": "#/$defs/Chat"},
    }
    assert options["additionalProperties"] == {"type": "object"}
    assert schema["$defs"]["Chat"]["additionalProperties"] is False


def test_schema_references_lead_somewhere():
    schema = settings.schema({"chat": Chat})
    names = set(re.findall(r'"#/\$defs/([^"]+)"', json.dumps(schema)))
    assert names == set(schema["$defs"])
    assert "Room" in names


def test_schema_admits_the_short_forms():
    schema = settings.schema()
    assert schema["properties"]["listen"]["items"] == {
        "anyOf": [{"$ref": "#/$defs/Listen"}, {"type": "string"}]
    }
    mode = schema["$defs"]["Listen"]["properties"]["mode"]
    assert mode["anyOf"] == [{"maximum": 511, "minimum": 0, "type": "integer"}, {"type": "string"}]
    assert mode["default"] == 0o600


def test_reference_has_a_row_for_every_key():
    page = settings.reference()
    for name, key in variables().items():
        assert f"`{name}`" in page
        assert f"| `{key.rpartition('.')[2]}` |" in page
    for name in Listen.model_fields:
        assert f"| `{name}` |" in page
    assert "| `workers` | integer | number of usable CPUs | 1 to 1024 | `PREFORK_WORKERS` |" in page
    assert "| `mode` | integer | `0o600` | up to 0o777 |" in page
    assert "## [limits]\n" in page
    assert page.endswith("`PREFORK_OPTIONS__NAME__KEY`.\n")


def test_reference_tables_have_six_cells_in_every_row():
    rows = [line for line in settings.reference().splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in rows} == {7}


def test_public_names_exist():
    assert [name for name in settings.__all__ if not hasattr(settings, name)] == []
    assert settings.__all__ == sorted(settings.__all__)
