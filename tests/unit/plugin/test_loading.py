"""Plugins are found by entry point, dotted name and file, constructed, and listed."""

import pickle
import re
import subprocess
import sys

import pytest
from pydantic import BaseModel

from host.errors import PluginError
from host.plugin.catalog import catalog
from host.plugin.loading import PluginErrors, load, selection
from host.settings import Loaded, Settings, SettingsError

ECHO = """
from host import hookimpl

class Echo:
    @hookimpl
    def on_readable(self, connection):
        connection.write(connection.read())
"""
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
HOOK = """
from host import hookimpl

@hookimpl
def on_accept(connection): ...
"""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    """Work in an empty folder, and forget what is imported from it."""
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith(("prefork_file_", "sample")):
            del sys.modules[name]


def write(name, text):
    with open(name, "w", encoding="utf-8") as file:
        file.write(text)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that makes an installed distribution with entry points."""

    def install(name, version="1.0", **points):
        site = tmp_path / "site"
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        write(info / "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        lines = "".join(f"{key} = {value}\n" for key, value in points.items())
        write(info / "entry_points.txt", f"[host.plugins]\n{lines}")
        if str(site) not in sys.path:
            monkeypatch.syspath_prepend(site)
        return site

    return install


def loaded(*plugins, **options):
    # The default scheduler is an entry point of the installed host, which these tests do without.
    settings = Settings(plugins=("no:round_robin",), options=options)
    return Loaded(settings.model_copy(update={"plugins": (*plugins, "no:round_robin")}))


def names(registry):
    return [plugin.name for plugin in registry.plugins]


def refusal(*plugins, **options):
    with pytest.raises(PluginError) as caught:
        load(loaded(*plugins, **options))
    return str(caught.value)


class TestFinding:
    def test_by_file(self):
        write("my_echo.py", ECHO)
        [plugin] = load(loaded("./my_echo.py")).plugins
        assert (plugin.name, plugin.origin) == ("my_echo", "file ./my_echo.py")
        assert type(plugin.object).__name__ == "Echo"
        assert (plugin.hooks, plugin.is_protocol) == (("on_readable",), True)

    def test_by_file_and_class(self):
        write("both.py", ECHO + ECHO.replace("Echo", "Other"))
        registry = load(loaded("./both.py:Other", "./both.py:Echo"))
        assert names(registry) == ["both:Other", "both:Echo"]
        assert [type(each.object).__module__ for each in registry.plugins] == [
            type(registry.plugins[0].object).__module__
        ] * 2

    def test_by_dotted_name(self, monkeypatch):
        write("sample_dotted.py", ECHO)
        monkeypatch.syspath_prepend(".")
        registry = load(loaded("sample_dotted:Echo"))
        assert registry.plugins[0].origin == "module sample_dotted:Echo"

    def test_by_entry_point_imports_only_what_is_selected(self, install):
        site = install("sample-dist", "2.1", first="sample_first:Echo", second="sample_second")
        write(site / "sample_first.py", ECHO)
        write(site / "sample_second.py", "raise RuntimeError")
        [plugin] = load(loaded("first")).plugins
        assert plugin.origin == "sample-dist 2.1, entry point sample_first:Echo"
        assert "sample_second" not in sys.modules

    def test_module_level_hooks_make_the_module_the_plugin(self):
        write("watch.py", HOOK)
        [plugin] = load(loaded("./watch.py")).plugins
        assert plugin.object is sys.modules[plugin.object.__name__]
        assert not plugin.is_protocol

    def test_instances_of_a_files_class_can_be_pickled(self):
        write("state.py", ECHO)
        [plugin] = load(loaded("./state.py")).plugins
        assert type(pickle.loads(pickle.dumps(plugin.object))) is type(plugin.object)

    def test_a_file_is_read_anew_and_leaves_no_cache_beside_it(self, tmp_path):
        write("state.py", ECHO)
        first = load(loaded("./state.py"))
        write("state.py", ECHO.replace("Echo", "Ecko"))  # the same size, perhaps the same second
        second = load(loaded("./state.py"))
        kinds = [type(registry.plugins[0].object).__name__ for registry in (first, second)]
        assert kinds == ["Echo", "Ecko"]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["state.py"]

    def test_a_failure_leaves_no_module_behind(self):
        write("good.py", ECHO)
        write("bad.py", "1/0")
        assert "ZeroDivisionError" in refusal("./good.py", "./bad.py")
        assert not [name for name in sys.modules if name.startswith("prefork_file_")]


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


class TestNotFound:
    def test_name(self, install):
        install("sample-dist", chatty="sample_chatty")
        write("chaty.py", HOOK)
        said = refusal("chaty")
        assert 'no plugin "chaty" is installed; did you mean "chatty"?' in said
        assert re.search(r"installed: .*\bchatty\b", said)
        assert "select it as ./chaty.py" in said

    def test_file(self, tmp_path):
        write("my_protocol.py", HOOK)
        said = refusal("./my_protcol.py")
        assert f'no file my_protcol.py in {tmp_path}; did you mean "my_protocol.py"?' in said
        assert "no folder nowhere" in refusal("./nowhere/x.py")
        (tmp_path / "folder").mkdir()
        assert "this is a folder" in refusal("./folder")

    def test_module_of_a_package(self, tmp_path, monkeypatch):
        (tmp_path / "sample_package").mkdir()
        write("sample_package/__init__.py", "")
        write("sample_package/protocol.py", HOOK)
        monkeypatch.syspath_prepend(".")
        said = refusal("sample_package.protocl:Echo")
        assert 'no module "protocl" in the package sample_package; did you mean "protocol"?' in said

    def test_module_in_a_folder_that_is_not_searched(self, monkeypatch):
        monkeypatch.setattr(sys, "path", [folder for folder in sys.path if folder])
        write("sample_unsearched.py", HOOK)
        assert "not searched for modules" in refusal("sample_unsearched:Echo")

    def test_class(self, install):
        site = install("sample-dist", "2.1", parley="sample_attribute:Ecko")
        write(site / "sample_attribute.py", ECHO)
        said = refusal("parley")
        assert "(sample-dist 2.1, entry point sample_attribute:Ecko)" in said
        assert 'no "Ecko" in sample_attribute; did you mean "Echo"?' in said

    def test_two_distributions_offer_one_name(self, install):
        install("sample-one", "1.0", parley="sample_one:Chat", fine="sample_fine:Echo")
        site = install("sample-two", "2.0", parley="sample_two:Chat")
        write(site / "sample_fine.py", ECHO)
        assert names(load(loaded("fine"))) == ["fine"]
        said = refusal("parley")
        assert "sample-one 1.0 (sample_one:Chat), sample-two 2.0 (sample_two:Chat)" in said

    def test_broken_entry_point(self, install):
        install("sample-dist", parley="not:a valid value!")
        assert "is not of the form module:Class" in refusal("parley")

    def test_all_that_is_wrong_is_said_at_once(self):
        write("bad.py", "1/0")
        with pytest.raises(PluginErrors) as caught:
            load(loaded("nobody", "./bad.py", "./missing.py"))
        assert [error.plugin for error in caught.value.errors] == ["nobody", "missing", "bad"]
        assert str(caught.value).count("cannot be used") == 3


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
        assert "Chat.Options is not a pydantic model" in refusal("./chat.py")


class TestCatalogue:
    def test_lists_what_is_installed_and_selected_without_importing_it(self, install):
        site = install("sample-dist", "2.1", b_second="sample_second", a_first="sample_first:Echo")
        write(site / "sample_first.py", "raise RuntimeError\n" + ECHO)
        write(site / "sample_second.py", "raise RuntimeError\n" + HOOK)
        write("mine.py", ECHO)
        entries = catalog(["./mine.py", "a_first", "nobody", "no:round_robin"])
        others = [entry for entry in entries if entry.distribution != "prefork"]
        assert [(e.name, e.version, e.implements, e.selected) for e in others] == [
            ("a_first", "2.1", ("on_readable",), True),
            ("b_second", "2.1", ("on_accept",), False),
            ("mine", None, ("on_readable",), True),
            ("nobody", None, None, True),
        ]
        assert 'no plugin "nobody" is installed' in entries[-1].error
        assert entries[-2].as_dict()["origin"] == "./mine.py"
        assert "sample_first" not in sys.modules

    def test_a_package_is_not_imported_for_its_modules(self, install):
        site = install("sample-dist", deep="sample_deep.inner.protocol:Echo")
        (site / "sample_deep" / "inner").mkdir(parents=True)
        write(site / "sample_deep" / "__init__.py", "raise RuntimeError")
        write(site / "sample_deep" / "inner" / "protocol.py", ECHO)
        [entry] = [entry for entry in catalog() if entry.name == "deep"]
        assert entry.implements == ("on_readable",)

    def test_broken_metadata_and_duplicates_are_shown(self, install):
        install("sample-one", twice="sample_x:A", bad="what is this!")
        install("sample-two", twice="sample_y:A")
        entries = {(entry.name, entry.distribution): entry for entry in catalog()}
        assert "several distributions" in entries["twice", "sample-one"].error
        assert "several distributions" in entries["twice", "sample-two"].error
        assert "not of the form" in entries["bad", None].error

    def test_a_wrong_selection_is_shown_too(self):
        assert "that is none" in catalog(["no:ecko"])[-1].error

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            (ECHO + ECHO.replace("Echo", "Other"), None),
            (ECHO, ("on_readable",)),
            ("from host import *\nimport host\n@host.hookimpl\ndef on_close(): ...", ("on_close",)),
            (
                "@hookimpl(specname='on_accept')\ndef greet(connection): ...",
                ("on_accept",),
            ),
            ("def broken(:", None),
            ("x = 1", ()),
        ],
    )
    def test_source_is_read_as_far_as_it_tells(self, text, expected):
        write("some.py", text)
        [entry] = [entry for entry in catalog(["./some.py"]) if entry.name == "some"]
        assert entry.implements == expected

    def test_inherited_hooks_count_if_their_class_is_in_the_file(self):
        more = "class More(Echo):\n    @hookimpl\n    def on_close(self): ...\n"
        write("some.py", ECHO + more)
        text = "./some.py:More"
        assert catalog([text])[-1].implements in (("on_readable", "on_close"), None)
        [entry] = [
            entry for entry in catalog([text]) if entry.selected and entry.name == "some:More"
        ]
        assert entry.implements == ("on_readable", "on_close")
        write("some.py", "from x import Base\nclass More(Base): ...")
        [entry] = [entry for entry in catalog([text]) if entry.name == "some:More"]
        assert entry.implements is None


def test_loading_warns_of_nothing(tmp_path):
    write("echo.py", ECHO)
    code = (
        "from host.plugin.loading import load\nfrom host.settings import Loaded, Settings\n"
        "load(Loaded(Settings(plugins=('./echo.py', 'no:round_robin'))))\n"
    )
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
