"""Options of plugins, validated against the plugin's own model."""

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from host.settings import SettingsError, render, validate_options


class Room(BaseModel):
    title: str
    size: int = Field(default=10, ge=1)


class Options(BaseModel):
    history: int = Field(default=20, ge=0, le=1000)
    motd: str = ""
    dsn: SecretStr = SecretStr("")
    api_key: str = ""
    style: Literal["plain", "fancy"] = "plain"
    rooms: list[Room] = []
    named: dict[str, Room] = {}
    main: Room | None = None
    limit: int | Literal["none"] = "none"
    by_alias: Annotated[int, Field(alias="alias")] = 0

    @field_validator("motd")
    @classmethod
    def _no_shouting(cls, value):
        if value.isupper():
            raise ValueError("Must not shout")
        return value


@pytest.fixture
def refused(load):
    def refused(*args, model=Options, **given):
        loaded = load(*args, **given)
        with pytest.raises(SettingsError) as caught:
            validate_options("chat", model, loaded)
        problems = caught.value.problems
        return [(p.key, p.found, p.message, p.where) for p in problems], str(caught.value)

    return refused


def test_defaults_without_a_section(load):
    assert validate_options("chat", Options, load()) == Options()


def test_values_of_every_source_meet_in_the_model(load):
    loaded = load(
        "[options.chat]\nhistory = 30\nalias = 4\nrooms = [{title = 'a'}]\nnamed.b.title = 'b'",
        environ={"PREFORK_OPTIONS__CHAT__MOTD": "123", "PREFORK_OPTIONS__CHAT__API_KEY": "1e5"},
        flags={"options.chat.dsn": ("0123", "--set options.chat.dsn=0123")},
    )
    options = validate_options("chat", Options, loaded)
    assert options.history == 30
    assert options.by_alias == 4
    assert options.rooms == [Room(title="a")]
    assert options.named == {"b": Room(title="b")}
    assert (options.motd, options.api_key) == ("123", "1e5")
    assert options.dsn.get_secret_value() == "0123"


def test_the_error_reads_like_the_host_s_own(refused):
    _, text = refused(
        "[options.chat]\nhistroy = 50", environ={"PREFORK_OPTIONS__CHAT__HISTORY": "many"}
    )
    assert text.splitlines() == [
        'settings of plugin "chat" are invalid (2 problems)',
        '  histroy = 50      unknown key, did you mean "history"?  from host.toml:2',
        '  history = "many"  expected integer from 0 to 1000       '
        "from PREFORK_OPTIONS__CHAT__HISTORY (environment)",
    ]


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        ("history = 1001", ("history", "1001", "expected integer from 0 to 1000")),
        ("style = 'odd'", ("style", '"odd"', 'expected "plain" or "fancy"')),
        ("motd = 'HI'", ("motd", '"HI"', "must not shout")),
        ("dsn = 5", ("dsn", "**********", "expected string")),
        ("dns = 'hunter2'", ("dns", "**********", 'unknown key, did you mean "dsn"?')),
        ("api_key = 5", ("api_key", "**********", "expected string")),
        ("limit = 'x'", ("limit", '"x"', 'expected integer or "none"')),
        ("rooms = [{size = 1}]", ("rooms[0].title", "", "missing, expected string")),
        (
            "rooms = [{title = 'a', szie = 1}]",
            ("rooms[0].szie", "1", 'unknown key, did you mean "size"?'),
        ),
        (
            "named.b = {title = 'a', szie = 1}",
            ("named.b.szie", "1", 'unknown key, did you mean "size"?'),
        ),
        (
            "named.b = {title = 'a', size = 0}",
            ("named.b.size", "0", "expected integer of at least 1"),
        ),
        (
            "main = {title = 'a', szie = 1}",
            ("main.szie", "1", 'unknown key, did you mean "size"?'),
        ),
        ("main = 5", ("main", "5", "expected table")),
        ("named.b = 5", ("named.b", "5", "expected table, as [options.chat.named.NAME]")),
        ("by_alias = 1", ("by_alias", "1", 'unknown key, did you mean "alias"?')),
        (
            "main = {title = 'a', history = 1}",
            ("main.history", "1", "unknown key, belongs in [options.chat]"),
        ),
    ],
)
def test_each_mistake(refused, toml, problem):
    found, _ = refused(f"[options.chat]\n{toml}")
    assert found == [(*problem, "from host.toml:2")]


def test_a_required_key_names_its_section(refused):
    found, _ = refused("[options.chat]\nsize = 2", model=Room)
    assert found == [("title", "", "missing, expected string", "in [options.chat]")]


def test_a_check_of_the_whole_model_names_the_section(refused):
    class Picky(BaseModel):
        a: int = 1

        @model_validator(mode="after")
        def _check(self):
            raise ValueError("Choose something else")

    found, _ = refused("[options.chat]\na = 2", model=Picky)
    assert found == [("options.chat", "", "choose something else", "from host.toml:2")]


def test_messages_of_the_plugin_do_not_tell_a_secret(refused):
    class Vault(BaseModel):
        password: str

        @field_validator("password")
        @classmethod
        def _check(cls, value):
            raise ValueError(f"{value} is too short")

    found, text = refused("[options.chat]\npassword = 'hunter2'", model=Vault)
    assert found[0][1:3] == ("**********", "********** is too short")
    assert "hunter2" not in text


def test_a_model_that_allows_extras_gets_them(load):
    class Free(BaseModel):
        model_config = ConfigDict(extra="allow")

    loaded = load("[options.chat]\nanything = 1")
    options = validate_options("chat", Free, loaded)
    assert options.model_extra == {"anything": 1}
    assert render(loaded, {"chat": options})[-1].key == "options.chat.anything"


def test_texts_inside_tables_keep_their_form(load):
    loaded = load(environ={"PREFORK_OPTIONS__CHAT__MAIN__TITLE": "007"})
    options = validate_options("chat", Options, loaded)
    assert options.main == Room(title="007")


def test_validation_leaves_the_loaded_settings_alone(load):
    loaded = load(environ={"PREFORK_OPTIONS__CHAT__MOTD": "123"})
    validate_options("chat", Options, loaded)
    assert loaded.settings.options == {"chat": {"motd": "123"}}
