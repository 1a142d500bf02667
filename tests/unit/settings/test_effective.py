"""The settings in effect, each with where it came from."""

from typing import Annotated

from pydantic import BaseModel, Field, SecretStr

from host.settings import (
    AppliedSetting,
    Difference,
    differences,
    render,
    render_text,
    validate_options,
)


class Room(BaseModel):
    title: str
    size: int = 10


class Options(BaseModel):
    dsn: SecretStr = SecretStr("")
    api_key: str = ""
    named: dict[str, Room] = {}
    main: Room | None = None
    by_alias: Annotated[int, Field(alias="alias")] = 0


def test_every_setting_in_effect_is_listed_with_its_origin(load):
    loaded = load(
        "listen = ['unix:/a=echo']\n[options.chat]\ndsn = 'hunter2'\nnamed.b.title = 'b'\n"
        "alias = 7\n"
        "[options.other]\napi_key = 'hunter2'\ncolour = 'red'",
        environ={"PREFORK_WORKERS": "3"},
    )
    rows = render(loaded, {"chat": validate_options("chat", Options, loaded)})
    by_key = {row.key: (row.value, row.origin) for row in rows}
    assert len(by_key) == len(rows)
    assert by_key["workers"] == ("3", "PREFORK_WORKERS (environment)")
    assert by_key["respawn"] == ("true", "default")
    assert by_key["plugins"] == ("[]", "default")
    assert by_key["listen[0].address"] == ('"unix:/a"', "host.toml:1")
    assert by_key["listen[0].plugin"] == ('"echo"', "host.toml:1")
    assert by_key["listen[0].mode"] == ("0o600", "default")
    assert by_key["options.chat.dsn"] == ("**********", "host.toml:3")
    assert by_key["options.chat.api_key"] == ("**********", "default")
    assert by_key["options.chat.alias"] == ("7", "host.toml:5")
    assert by_key["options.chat.main"] == ("(none)", "default")
    assert by_key["options.chat.named.b.title"] == ('"b"', "host.toml:4")
    assert by_key["options.chat.named.b.size"] == ("10", "default")
    assert by_key["options.other.api_key"] == ("**********", "host.toml:7")
    assert by_key["options.other.colour"] == ('"red"', "host.toml:8")


def test_the_list_is_aligned(load):
    lines = render_text(render(load(environ={"PREFORK_WORKERS": "3"}))).splitlines()
    assert lines[1].startswith("workers   ")
    assert lines[1].endswith("# PREFORK_WORKERS (environment)")
    assert len({line.index(" = ") for line in lines}) == 1
    assert len({line.index("  # ") for line in lines if "  # " in line}) >= 1
    assert len({line.rindex("# ") for line in lines}) == 1
    assert render_text([]) == ""


def test_what_differs_is_told_with_where_it_comes_from():
    before = [
        AppliedSetting("a", "1", "x.toml:1"),
        AppliedSetting("b", "2", "default"),
        AppliedSetting("c", "3", "x.toml:3"),
    ]
    after = [
        AppliedSetting("a", "1", "y.toml:9"),
        AppliedSetting("b", "4", "y.toml:2"),
        AppliedSetting("d", "5", "y.toml:4"),
    ]
    assert differences(before, after) == [
        Difference("b", "2", "4", "y.toml:2"),
        Difference("c", "3", None, "x.toml:3"),
        Difference("d", None, "5", "y.toml:4"),
    ]
    assert differences(after, after) == []
