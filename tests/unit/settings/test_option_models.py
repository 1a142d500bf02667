"""Many models of options: from file, variable and flag alike, and printed as they can be read."""

import dataclasses
import datetime
import enum
import json
import tomllib
from decimal import Decimal
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic.dataclasses
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PostgresDsn,
    RootModel,
    Secret,
    SecretBytes,
    SecretStr,
    field_validator,
    model_validator,
)
from typing_extensions import TypedDict

from host.settings import SettingsError, assign_sections, render, validate_options
from host.settings.toml_values import write


class Mode(enum.Enum):
    FAST = "fast"


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"]
    bark: int = 1


class Ports(RootModel[list[int]]):
    pass


class Limits(TypedDict, total=False):
    soft: int


@dataclasses.dataclass
class Plain:
    size: int = 1


class Base(BaseModel):
    inherited: int = 1


class Options(Base):
    """One field of each kind; each can be given as text, and in a file."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    maxLen: int = 1
    dashed: int = Field(1, alias="with-dash")
    either: int = Field(1, validation_alias=AliasChoices("one", "other"))
    deep: int = Field(1, validation_alias=AliasPath("outer", "inner"))
    dotted: int = Field(1, alias="a.b")
    double__under: int = 1
    class_: int = 1
    flag: bool = False
    mode: Mode = Mode.FAST
    path: Path = Path("x")
    amount: Decimal = Decimal(1)
    wait: datetime.timedelta = datetime.timedelta(0)
    day: datetime.date = datetime.date(2000, 1, 1)
    address: IPv4Address = IPv4Address("127.0.0.1")
    text: str = ""
    maybe: int | None = None
    numbers: list[int] = []
    words: set[str] = set()
    pair: tuple[int, str] = (1, "a")
    ports: Ports = Ports([])
    table: dict[str, int] = {}
    nested: Cat = Cat()
    pet: Annotated[Cat | Dog, Discriminator("kind")] = Cat()
    untagged: Cat | Plain = Cat()
    plain: Plain = Plain()
    typed: Limits = {}
    animals: list[Cat | Dog] = []
    anything: Any = None


@dataclasses.dataclass
class Standard:
    size: int = 1
    secret: SecretStr = dataclasses.field(default_factory=lambda: SecretStr(""))


@pydantic.dataclasses.dataclass
class Checked:
    size: int = Field(1, ge=1, alias="maxSize")


ROWS = [
    # model, the field, its key in TOML, its variable, its text, its value in TOML
    (Options, "inherited", "inherited", "INHERITED", "5", "5"),
    (Options, "maxLen", "maxLen", "MAXLEN", "5", "5"),
    (Options, "dashed", "with-dash", "WITH_DASH", "5", "5"),
    (Options, "dashed", "dashed", "DASHED", "5", "5"),
    (Options, "either", "one", "ONE", "5", "5"),
    (Options, "either", "other", "OTHER", "5", "5"),
    (Options, "deep", "outer.inner", "OUTER__INNER", "5", "5"),
    (Options, "dotted", '"a.b"', "A_B", "5", "5"),
    (Options, "double__under", "double__under", "DOUBLE__UNDER", "5", "5"),
    (Options, "class_", "class_", "CLASS_", "5", "5"),
    (Options, "flag", "flag", "FLAG", "yes", "true"),
    (Options, "mode", "mode", "MODE", "fast", '"fast"'),
    (Options, "path", "path", "PATH", "5", '"5"'),
    (Options, "amount", "amount", "AMOUNT", "0.12345678901234567890", '"0.12345678901234567890"'),
    (Options, "wait", "wait", "WAIT", "PT5S", '"PT5S"'),
    (Options, "day", "day", "DAY", "2026-01-02", "2026-01-02"),
    (Options, "address", "address", "ADDRESS", "10.0.0.1", '"10.0.0.1"'),
    (Options, "text", "text", "TEXT", "{}", '"{}"'),
    (Options, "text", "text", "TEXT", "1e5", '"1e5"'),
    (Options, "text", "text", "TEXT", "a,b", '"a,b"'),
    (Options, "maybe", "maybe", "MAYBE", "5", "5"),
    (Options, "numbers", "numbers", "NUMBERS", "1, 2", "[1, 2]"),
    (Options, "numbers", "numbers", "NUMBERS", "1", "[1]"),
    (Options, "numbers", "numbers", "NUMBERS", "[1, 2]", "[1, 2]"),
    (Options, "words", "words", "WORDS", "1", '["1"]'),
    (Options, "pair", "pair", "PAIR", "2,b", '[2, "b"]'),
    (Options, "ports", "ports", "PORTS", "1,2", "[1, 2]"),
    (Options, "table", "table", "TABLE", '{"B": 2}', "{ B = 2 }"),
    (Options, "nested", "nested.lives", "NESTED__LIVES", "5", "5"),
    (Options, "pet", "pet", "PET", '{"kind": "dog", "bark": 2}', '{ kind = "dog", bark = 2 }'),
    (Options, "untagged", "untagged.size", "UNTAGGED__SIZE", "5", "5"),
    (Options, "plain", "plain.size", "PLAIN__SIZE", "5", "5"),
    (Options, "typed", "typed.soft", "TYPED__SOFT", "5", "5"),
    (Options, "animals", "animals", "ANIMALS", '[{"kind": "dog"}]', '[{ kind = "dog" }]'),
    (Options, "anything", "anything", "ANYTHING", "[1]", "[1]"),
    (Standard, "size", "size", "SIZE", "5", "5"),
    (Checked, "size", "maxSize", "MAXSIZE", "5", "5"),
]


@pytest.mark.parametrize("plugin", ["chat", "Chat", "my-chat", "pk.mod:Chat"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[2]}-{row[4]}")
def test_each_is_set_by_file_variable_and_flag_alike(load, plugin, row):
    model, field, key, variable, text, toml = row
    name = f'"{plugin}"'
    fold = plugin.upper().translate(str.maketrans("-.:", "___"))
    sources = {
        "host.toml:2": {"toml": f"[options.{name}]\n{key} = {toml}"},
        f"PREFORK_OPTIONS__{fold}__{variable} (environment)": {
            "environ": {f"PREFORK_OPTIONS__{fold}__{variable}": text}
        },
        f"--set options.{name}.{key} (flag)": {
            "flags": {
                f"options.{name}.{key}": (text, f"--set options.{name}.{key}={text}"),
            }
        },
    }
    default = validate_options(plugin, model, load())
    values = []
    for origin, given_as in sources.items():
        loaded = assign_sections(load(**given_as), [plugin])
        options = validate_options(plugin, model, loaded)
        values.append(getattr(options, field))
        assert values[-1] != getattr(default, field) or field == "mode"
        rows = render(loaded, {plugin: options})
        assert origin in {row.origin for row in rows}
    assert values[0] == values[1] == values[2]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[2]}-{row[4]}")
def test_what_is_printed_gives_an_equal_value(load, row):
    model, field, key, _, _, toml = row
    options = validate_options("chat", model, load(f"[options.chat]\n{key} = {toml}"))
    printed = "\n".join(
        f"{row.key} = {row.value}"
        for row in render(load(f"[options.chat]\n{key} = {toml}"), {"chat": options})
        if row.key.startswith("options.")
        and "[" not in row.key
        and row.value not in ("(none)", "**********")
    )
    again = load(printed)
    assert tomllib.loads(printed)
    found, wanted = validate_options("chat", model, again), options
    if field not in ("animals", "deep", "outer"):
        assert getattr(found, field) == getattr(wanted, field)


SCALARS = st.one_of(
    st.booleans(),
    st.integers(min_value=-(2**63), max_value=2**63 - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.dates(),
    st.times(),
    st.datetimes(timezones=st.just(datetime.UTC) | st.none()),
)
TREES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
)


@given(TREES)
def test_any_value_is_written_as_toml_that_gives_it_back(value):
    assert tomllib.loads(f"value = {write(value)}")["value"] == value


def test_the_stronger_of_two_aliases_counts_and_two_in_one_source_are_refused(load):
    flag = {"options.chat.other": ("7", "--set options.chat.other=7")}
    loaded = load("[options.chat]\none = 5", flags=flag)
    options = validate_options("chat", Options, loaded)
    assert options.either == 7
    rows = {row.key: row for row in render(loaded, {"chat": options})}
    assert rows["options.chat.other"].origin == "--set options.chat.other (flag)"
    assert "options.chat.one" not in rows
    with pytest.raises(SettingsError) as caught:
        validate_options("chat", Options, load("[options.chat]\none = 5\nother = 6"))
    assert 'says the same as "one", which is set as well' in str(caught.value)


@pytest.mark.parametrize(
    ("toml", "key", "found", "message"),
    [
        ("pet = {kind = 'dog', bark = 'x'}", "pet.bark", '"x"', "expected integer"),
        (
            "pet = {kind = 'dog', lives = 1}",
            "pet.lives",
            "1",
            "unknown key, belongs in [options.chat.nested]",
        ),
        ("pet = {kind = 'dog', brk = 1}", "pet.brk", "1", 'unknown key, did you mean "bark"?'),
        ("animals = [{kind = 'dog', bark = 'x'}]", "animals[0].bark", '"x"', "expected integer"),
        ("animals = [{kind = 'cat', lives = 'x'}]", "animals[0].lives", '"x"', "expected integer"),
        (
            "untagged = {size = 'x'}",
            "untagged.size",
            '"x"',
            "unknown key of Cat, which the rest stands for, keys: kind, lives",
        ),
        ("plain = {size = 'x'}", "plain.size", '"x"', "expected integer"),
        ("plain = {sze = 1}", "plain.sze", "1", 'unknown key, did you mean "size"?'),
        ("typed = {soft = 'x'}", "typed.soft", '"x"', "expected integer"),
        ("typed = {hard = 1}", "typed.hard", "1", "unknown key, keys here: soft"),
        ("outer = {inner = 'x'}", "outer.inner", '"x"', "expected integer"),
        ("other = 'x'", "other", '"x"', "expected integer"),
        ("ports = ['x']", "ports[0]", '"x"', "expected integer"),
        ("numbers = ['x']", "numbers[0]", '"x"', "expected integer"),
    ],
)
def test_the_true_cause_is_told_with_its_place(load, toml, key, found, message):
    with pytest.raises(SettingsError) as caught:
        validate_options("chat", Options, load(f"[options.chat]\n{toml}"))
    [problem] = caught.value.problems
    assert (problem.key, problem.found, problem.message) == (key, found, message)
    assert problem.where == "from host.toml:2"


@pytest.mark.parametrize(
    ("variable", "text", "key", "found"),
    [("NUMBERS", "1,x", "numbers[1]", '"x"'), ("FLAG", "maybe", "flag", '"maybe"')],
)
def test_the_true_cause_is_told_of_a_variable_s_text(load, variable, text, key, found):
    name = f"PREFORK_OPTIONS__CHAT__{variable}"
    with pytest.raises(SettingsError) as caught:
        validate_options("chat", Options, load(environ={name: text}))
    [problem] = caught.value.problems
    assert (problem.key, problem.found) == (key, found)
    assert problem.where == f"from {name} (environment)"


class Login(BaseModel):
    user: str = ""
    password: str = ""


class Vault(BaseModel):
    plain: SecretStr = SecretStr("")
    raw: SecretBytes = SecretBytes(b"")
    number: Secret[int] = Secret(0)
    union: SecretStr | int = 0
    loose: SecretStr | str = ""
    many: list[SecretStr] = []
    by_name: dict[str, SecretStr] = {}
    login: Login = Login()
    logins: list[Login] = []
    either: Login | Cat = Login()
    dsn: PostgresDsn | None = None
    url: str = ""
    urls: list[str] = []
    short: Annotated[str, Field(max_length=3)] = ""

    @field_validator("loose", "plain", mode="before")
    @classmethod
    def _check(cls, value):
        if "wrong" in str(value):
            raise ValueError(f"{value!r} is wrong")
        return value

    @model_validator(mode="after")
    def _check_all(self):
        if self.short == "bad":
            raise ValueError(f"{self.plain.get_secret_value()} does not open {self.url}")
        return self


SECRETS = [
    "plain = 'hunter2'",
    "plain = 'wronghunter2'",
    "plain = ['hunter2']",
    "plain = {a = 'hunter2'}",
    "raw = 'hunter2'",
    "number = 'hunter2'",
    "union = 'hunter2'",
    "union = ['hunter2']",
    "loose = 'hunter2'",
    "loose = 'wronghunter2'",
    "many = ['hunter2']",
    "many = 'hunter2'",
    "many = [{a = 'hunter2'}]",
    "by_name = {a = 'hunter2'}",
    "by_name = {a = ['hunter2']}",
    "by_name = 'hunter2'",
    "login = {password = 'hunter2'}",
    "login = {pasword = 'hunter2'}",
    "login = {pw = 'hunter2'}",
    "login = {password = ['hunter2']}",
    "login = 'hunter2'",
    "logins = [{password = 'hunter2'}]",
    "logins = ['hunter2']",
    "either = {password = 'hunter2'}",
    "either = 'hunter2'",
    "dsn = 'postgresql://me:hunter2@host/db'",
    "dsn = 'postgresql://me:p/hunter2@host/db'",
    "dsn = 'http://me:hunter2@host'",
    "url = 'redis://:hunter2@host'",
    "url = 'https://host/?token=hunter2&a=b'",
    "url = 'host=x password=hunter2 dbname=y'",
    "urls = ['redis://:hunter2@host']",
    "urls = 'redis://:hunter2@host'",
    "short = 'redis://:hunter2@host'",
    "short = 'bad'\nplain = 'hunter2'",
    "short = 'bad'\nurl = 'redis://:hunter2@host'",
    "plian = 'hunter2'",
    "psswd = 'hunter2'",
]


@pytest.mark.parametrize("toml", SECRETS)
def test_no_text_of_a_secret_is_shown(load, toml):
    loaded = load(f"[options.chat]\n{toml}")
    try:
        options = validate_options("chat", Vault, loaded)
    except SettingsError as error:
        said = f"{error}{error!r}"
    else:
        said = str(render(loaded, {"chat": options}))
    assert "hunter2" not in said
    assert "**********" in said


@pytest.mark.parametrize("toml", [toml for toml in SECRETS if "\n" not in toml])
def test_nor_if_it_comes_in_a_variable(load, toml):
    key, value = next(iter(tomllib.loads(toml).items()))
    text = value if isinstance(value, str) else json.dumps(value)
    loaded = load(environ={f"PREFORK_OPTIONS__CHAT__{key.upper()}": text})
    try:
        said = str(render(loaded, {"chat": validate_options("chat", Vault, loaded)}))
    except SettingsError as error:
        said = f"{error}{error!r}"
    assert "hunter2" not in said
