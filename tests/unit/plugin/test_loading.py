"""Plugins are selected, handed their options and constructed; all that is wrong is said at once."""

import re
import subprocess
import sys

import pytest
from pydantic import BaseModel

from host.errors import PluginError
from host.plugin.loading import PluginErrors, load, selection
from host.settings import SettingsError
from support.plugin_files import ECHO, HOOK, loaded, names, refusal, refusal_of, write

pytestmark = pytest.mark.usefixtures("own_folder")

WITH_OPTIONS = """
from host import hookimpl
from pydantic import BaseModel

class Chat:
    class Options(BaseModel):
        rooms: int = 3

    def __init__(self, options):
        self.options = options

    @hookimpl
    def on_readable(self, connection): ...
"""


class TestSelection:
    def test_defaults_come_last_unless_left_out_or_selected(self):
        assert selection(["echo"]) == ("echo", "round_robin")
        assert selection(["round_robin", "echo"]) == ("round_robin", "echo")
        assert selection(["echo", "no:round_robin"]) == ("echo",)

    def test_what_is_no_default_cannot_be_left_out(self):
        with pytest.raises(PluginError, match='did you mean "round_robin"') as caught:
            selection(["no:roundrobin"])
        assert "defaults: round_robin" in str(caught.value)

    def test_selected_and_left_out_is_a_contradiction(self):
        with pytest.raises(PluginError, match='left out by "no:round_robin" as well'):
            selection(["round_robin", "no:round_robin"])

    def test_the_order_is_that_of_selection(self):
        for name in ("b", "a", "c"):
            write(f"{name}.py", HOOK)
        registry = load(loaded("./b.py", "./a.py", "./c.py"))
        assert names(registry) == ["b", "a", "c"]
        assert [each.plugin for each in registry.calls["on_accept"]] == ["b", "a", "c"]

    def test_two_plugins_of_one_name_are_refused(self, tmp_path):
        (tmp_path / "other").mkdir()
        write("a.py", HOOK)
        write("other/a.py", HOOK)
        assert "two plugins would have this name: file ./a.py; file ./other/a.py" in refusal(
            "./a.py", "./other/a.py"
        )


class TestObject:
    def test_module_level_hooks_make_the_module_the_plugin(self):
        write("watch.py", HOOK)
        [plugin] = load(loaded("./watch.py")).plugins
        assert plugin.object is sys.modules[plugin.object.__name__]
        assert not plugin.is_protocol

    def test_constructor(self):
        said = refusal_of(
            """
            class Chat:
                def __init__(self):
                    raise OSError("no database")

                @hookimpl
                def on_accept(self, connection): ...
            """
        )
        assert 'chat.py:5  raise OSError("no database")' in said
        assert "Chat, called without arguments, having no Options, failed: OSError" in said

    def test_constructor_with_other_arguments(self):
        said = refusal_of(
            """
            class Chat:
                def __init__(self, options): ...

                @hookimpl
                def on_accept(self, connection): ...
            """
        )
        assert "chat.py:3  class Chat" in said
        assert "called without arguments, having no Options, failed: TypeError" in said

    def test_what_is_neither_module_nor_class(self):
        write("chat.py", "thing = 1\n")
        said = refusal("./chat.py:thing")
        assert re.search(r"a module or a class, and this is neither .*int", said)


class TestOptions:
    def test_class_is_constructed_with_its_validated_section(self):
        write("chat.py", WITH_OPTIONS)
        [plugin] = load(loaded("./chat.py", chat={"rooms": 5})).plugins
        assert isinstance(plugin.options, BaseModel)
        assert plugin.object.options is plugin.options
        assert plugin.options.rooms == 5
        assert plugin.options_model is type(plugin.object).Options

    def test_defaults_and_a_model_beside_the_class(self):
        beside = """
class Options(BaseModel):
    rooms: int = 3

class Chat:
    def __init__(self, options): self.options = options

    @hookimpl
    def on_readable(self, connection): ...
"""
        write("chat.py", WITH_OPTIONS.partition("\nclass")[0] + beside)
        assert load(loaded("./chat.py")).plugins[0].object.options.rooms == 3

    def test_invalid_options_are_the_operators_to_mend(self):
        write("chat.py", WITH_OPTIONS)
        with pytest.raises(SettingsError, match="rooms"):
            load(loaded("./chat.py", chat={"rooms": "many"}))

    def test_options_of_several_plugins_are_reported_together(self):
        write("chat.py", WITH_OPTIONS)
        write("talk.py", WITH_OPTIONS)
        with pytest.raises(SettingsError) as caught:
            load(loaded("./chat.py", "./talk.py", chat={"room": 1}, talk={"rooms": "x"}))
        assert 'plugin "chat"' in str(caught.value)
        assert 'plugin "talk"' in str(caught.value)

    def test_section_of_a_plugin_without_options(self):
        write("echo.py", ECHO)
        with pytest.raises(SettingsError, match="takes no options"):
            load(loaded("./echo.py", echo={"rooms": 1}))

    def test_section_of_a_plugin_that_is_not_selected(self):
        write("chat.py", WITH_OPTIONS)
        with pytest.raises(SettingsError, match=r'options\.chta .*did you mean "chat"'):
            load(loaded("./chat.py", chta={"rooms": 1}))

    def test_module_cannot_be_handed_options(self):
        write("watch.py", HOOK + "from pydantic import BaseModel\nclass Options(BaseModel): pass\n")
        assert "a module cannot be handed options" in refusal("./watch.py")

    def test_model_must_be_a_pydantic_model(self):
        write("chat.py", WITH_OPTIONS.replace("(BaseModel)", ""))
        assert "Chat.Options is not a pydantic model or a dataclass" in refusal("./chat.py")


OPTIONS_PLUGIN = """
import dataclasses
from pydantic import BaseModel, Field, RootModel, SecretStr
from host import hookimpl
{options}

class Chat{base}:
    def __init__(self, options):
        self.options = options{check}

    @hookimpl
    def on_accept(self, connection): ...
"""


def write_plugin(options, base="", check=""):
    write("chat.py", OPTIONS_PLUGIN.format(options=options, base=base, check=check))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("class Options(RootModel[dict[str, int]]): pass", "Options is a RootModel"),
        ("class Options: pass", "Options is not a pydantic model or a dataclass"),
        (
            "class Options(BaseModel):\n    a_b: int = 1\n    c: int = Field(1, alias='a-b')",
            'has the keys "a_b" and "a-b", which one variable would set',
        ),
        (
            "class Options(BaseModel):\n    x: 'Nowhere' = 1",
            "Options cannot be used by pydantic",
        ),
    ],
)
def test_a_model_that_cannot_be_used_is_refused_with_the_reason(options, reason):
    write_plugin(options)
    assert reason in refusal("./chat.py")


def test_a_dataclass_and_options_that_are_inherited():
    write_plugin("@dataclasses.dataclass\nclass Options:\n    level: int = 1")
    [plugin] = load(loaded("./chat.py", chat={"level": 5})).plugins
    assert plugin.object.options.level == 5
    write(
        "chat.py",
        OPTIONS_PLUGIN.format(
            options="class Options(BaseModel):\n    level: int = 1", base="", check=""
        )
        + "\n\nclass Louder(Chat):\n    pass\n",
    )
    [plugin] = load(loaded("./chat.py:Louder", **{"chat:Louder": {"level": 5}})).plugins
    assert plugin.object.options.level == 5


def test_what_a_constructor_says_of_its_options_tells_no_secret():
    model = "class Options(BaseModel):\n    key: SecretStr = SecretStr('')"
    check = "\n        raise OSError(f'{options.key.get_secret_value()} opens nothing')"
    write_plugin(model, check=check)
    said = refusal("./chat.py", chat={"key": "hunter2"})
    assert "OSError: ********** opens nothing" in said
    assert "hunter2" not in said


def test_a_check_of_options_that_fails_in_its_own_way_is_the_plugin_s():
    model = (
        "from pydantic import model_validator\n"
        "class Options(BaseModel):\n    key: str = ''\n"
        "    @model_validator(mode='before')\n    def _check(cls, value): raise KeyError(value)"
    )
    write_plugin(model)
    said = refusal("./chat.py", chat={"key": "hunter2"})
    assert "a check of its options failed: KeyError" in said
    assert "hunter2" not in said


def test_all_that_is_wrong_is_said_at_once():
    write("bad.py", "1/0")
    with pytest.raises(PluginErrors) as caught:
        load(loaded("nobody", "./bad.py", "./missing.py"))
    assert [error.plugin for error in caught.value.errors] == ["nobody", "missing", "bad"]
    assert str(caught.value).count("cannot be used") == 3


def test_loading_warns_of_nothing():
    write("echo.py", ECHO)
    code = (
        "from host.plugin.loading import load\nfrom host.settings import Loaded, Settings\n"
        "load(Loaded(Settings(plugins=('./echo.py', 'no:round_robin'))))\n"
    )
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ((), "/old.py:4: DeprecationWarning: ask for on_new"),
        (("-W", "error"), "plugin old: pluggy refuses it: ask for on_new"),
    ],
    ids=["told", "an error for who asks for that"],
)
def test_who_implements_a_deprecated_hook_is_told(flags, told):
    write("brings.py", DEPRECATES)
    write("old.py", "from host import hookimpl\n\n\n@hookimpl\ndef on_old(text): ...\n")
    command = ("-m", "host", "check", "--plugin", "./brings.py", "--plugin", "./old.py")
    result = subprocess.run(
        [sys.executable, *flags, *command], capture_output=True, text=True, check=False
    )
    assert told in result.stderr
    assert result.stderr.count("ask for on_new") == 1
    assert result.returncode == (4 if flags else 0)


DEPRECATES = """
from host import hookimpl, hookspec

@hookimpl
def on_readable(connection): ...

class Specs:
    @hookspec(warn_on_impl=DeprecationWarning("ask for on_new"))
    def on_old(self, text: str) -> None: ...

hookspecs = Specs
"""
