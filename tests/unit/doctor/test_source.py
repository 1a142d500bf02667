"""A plugin's source is read as Python would find it, and no further than is sensible."""

import pytest

from host.doctor import source
from host.doctor.source import TooLargeError

HOOK = "@hookimpl\ndef on_close(connection): ...\n"
CLASS = "class Plugin:\n    @hookimpl\n    def on_close(self, connection): ...\n"


def hooks(read):
    return [(each.hook, each.function.owner is not None) for each in read.hooks()]


@pytest.mark.parametrize(
    ("text", "attribute", "expected"),
    [
        (HOOK, "", [("on_close", False)]),
        (CLASS, "", [("on_close", True)]),
        (CLASS, "Plugin", [("on_close", True)]),
        ("class Other: ...\n" + CLASS, "", [("on_close", True)]),
        (CLASS + CLASS.replace("Plugin", "Two"), "", []),
        (CLASS + CLASS.replace("Plugin", "Two"), "Two", [("on_close", True)]),
        ("class Base:\n    @hookimpl(specname='on_drain')\n    def bye(self): ...\n"
         "class Plugin(Base): ...\n", "Plugin", [("on_drain", True)]),
        ("class Plugin(Plugin): ...\n", "Plugin", []),
    ],
)  # fmt: skip
def test_the_hooks_of_a_file(plugin, text, attribute, expected):
    assert hooks(plugin(text, attribute)) == expected


def test_a_class_may_be_imported_from_another_module(package):
    read = package(
        "sample_doctored.front:Name",
        front="from sample_doctored.middle import Plugin as Name\n",
        middle="from .plugin import Plugin\n",
        plugin=CLASS,
    )
    assert hooks(read) == [("on_close", True)]
    assert read.main.path.name == "plugin.py"


@pytest.mark.parametrize("front", ["", "from sample_doctored.front import Name\n", "import Name\n"])
def test_a_class_that_is_not_there_is_not_read(package, front):
    assert package("sample_doctored.front:Name", front=front) is None


@pytest.mark.parametrize("text", ["def (", "x = 1\0", ""])
def test_what_python_does_not_take_is_not_read(plugin, text):
    assert (plugin(text) is None) == bool(text)


def test_what_is_too_large_or_too_deep_is_not_read(plugin, monkeypatch):
    with pytest.raises(TooLargeError, match="more than 2,000,000 bytes"):
        plugin("#" * source.MAX_BYTES)
    with pytest.raises(TooLargeError, match="nested too deep"):
        plugin(f"x = {'-' * 100_000}1")
