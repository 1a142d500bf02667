"""The JSON Schema of the settings file."""

import json
import re

from pydantic import BaseModel, SecretStr

from host import settings
from host.settings import Settings


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
