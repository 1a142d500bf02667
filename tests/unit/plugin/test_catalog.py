"""What is installed and selected is listed without being imported."""

import sys

import pytest

from host.asyncio import AsyncioProtocol
from host.plugin.binding import HOOKS
from host.plugin.catalog import OF_BASES, catalog
from support.plugin_files import ECHO, HOOK, write

pytestmark = pytest.mark.usefixtures("own_folder")


def test_lists_what_is_installed_and_selected_without_importing_it(install):
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
    assert entries[-2].as_dict()["declares"] == {"after": [], "before": [], "requires": []}
    assert "sample_first" not in sys.modules


def test_a_package_is_not_imported_for_its_modules(install):
    site = install("sample-dist", deep="sample_deep.inner.protocol:Echo")
    (site / "sample_deep" / "inner").mkdir(parents=True)
    write(site / "sample_deep" / "__init__.py", "raise RuntimeError")
    write(site / "sample_deep" / "inner" / "protocol.py", ECHO)
    [entry] = [entry for entry in catalog() if entry.name == "deep"]
    assert entry.implements == ("on_readable",)


def test_broken_metadata_and_duplicates_are_shown(install):
    install("sample-one", twice="sample_x:A", bad="what is this!")
    install("sample-two", twice="sample_y:A")
    entries = {(entry.name, entry.distribution): entry for entry in catalog()}
    assert "several distributions" in entries["twice", "sample-one"].error
    assert "several distributions" in entries["twice", "sample-two"].error
    assert "not of the form" in entries["bad", None].error


@pytest.mark.parametrize("text", ["def (", "x = 1\0", f"x = {'+'.join(['1'] * 100_000)}"])
def test_source_that_python_does_not_take_tells_nothing(text):
    write("mine.py", text)
    [entry] = [entry for entry in catalog(["./mine.py"]) if entry.name == "mine"]
    assert entry.implements is None


@pytest.mark.parametrize(
    ("file", "content", "cause"),
    [
        ("entry_points.txt", b"[host.plugins]\nbad = m\xfcll:Y\n", "not UTF-8 text: byte 0xfc"),
        ("entry_points.txt", b"[host.plugins\nbad = x:Y\n", "contains no section headers"),
        ("entry_points.txt", b"[host.plugins]\nbad = x\nbad = y\n", "option 'bad' in section"),
    ],
)
def test_a_distribution_that_cannot_be_read_is_listed_and_does_no_harm(
    install, file, content, cause
):
    install("sample-good", fine="sample_x:A")
    site = install("sample-dist", "2.1")
    (site / "sample_dist-2.1.dist-info" / file).write_bytes(content)
    entries = {entry.name: entry for entry in catalog(["fine"])}
    assert entries["fine"].error is None
    assert cause in entries["sample-dist"].error
    assert entries["sample-dist"].origin.endswith("sample_dist-2.1.dist-info/entry_points.txt")


@pytest.mark.parametrize(
    "content", ["", "bad = x = y", "bad", "bad =", "[other]\nno equals sign\n[host.plugins]\nbad ="]
)
def test_whatever_an_entry_point_says_is_listed(install, content):
    site = install("sample-dist", "2.1")
    head = "" if content.startswith("[") else "[host.plugins]\n"
    write(site / "sample_dist-2.1.dist-info" / "entry_points.txt", head + content)
    found = [entry for entry in catalog() if entry.name == "bad"]
    assert [entry.error is not None for entry in found] == ([True] if content else [])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, (None, None)),
        (b"", (None, None)),
        (b"Name: m\xfcll\nVersion: 1\n", (None, None)),
        (b"Name: a\n b\nVersion: 1\n", ("a b", "1")),
        (b"Name: ../x y\nVersion:\n", ("../x y", None)),
    ],
)
def test_a_plugin_can_be_used_whatever_the_metadata_says(install, content, expected):
    site = install("sample-dist", "2.1", first="sample_first:Echo")
    write(site / "sample_first.py", ECHO)
    metadata = site / "sample_dist-2.1.dist-info" / "METADATA"
    metadata.unlink() if content is None else metadata.write_bytes(content)
    [entry] = [entry for entry in catalog() if entry.name == "first"]
    assert (entry.distribution, entry.version) == expected
    assert (entry.error, entry.implements) == (None, ("on_readable",))


def test_a_wrong_selection_is_shown_too():
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
def test_source_is_read_as_far_as_it_tells(text, expected):
    write("some.py", text)
    [entry] = [entry for entry in catalog(["./some.py"]) if entry.name == "some"]
    assert entry.implements == expected


def test_inherited_hooks_count_if_their_class_is_in_the_file():
    more = "class More(Echo):\n    @hookimpl\n    def on_close(): ...\n"
    write("some.py", ECHO + more)
    text = "./some.py:More"
    assert catalog([text])[-1].implements in (("on_readable", "on_close"), None)
    [entry] = [entry for entry in catalog([text]) if entry.selected and entry.name == "some:More"]
    assert entry.implements == ("on_readable", "on_close")
    write("some.py", "from x import Base\nclass More(Base): ...")
    [entry] = [entry for entry in catalog([text]) if entry.name == "some:More"]
    assert entry.implements is None


DECLARES = "\nhost_plugin = {'after': ['a'], 'requires': ['line>=0.1', 'b']}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HOOK, ""),
        (HOOK + DECLARES, "after a; requires line>=0.1, b"),
        (ECHO + DECLARES, "after a; requires line>=0.1, b"),
        (ECHO + DECLARES.replace("\n", "\n    "), "after a; requires line>=0.1, b"),
        (ECHO + "    host_plugin: dict = {'before': ('c',)}", "before c"),
        (ECHO + "    host_plugin: dict", ""),
        (HOOK + "\nhost_plugin = declared()", None),
        ("def", None),
    ],
)
def test_what_is_declared_is_read_from_the_source(text, expected):
    write("mine.py", text)
    found = catalog(["./mine.py"])[-1].declares
    assert (None if found is None else str(found)) == expected


def test_what_is_declared_wrongly_is_shown():
    write("mine.py", HOOK + "\nhost_plugin = {'afte': []}")
    assert 'did you mean "after"' in catalog(["./mine.py"])[-1].error


def test_the_hooks_of_a_protocol_of_asyncio_are_those_of_its_base():
    write("mine.py", "from host.asyncio import AsyncioProtocol\nclass Mine(AsyncioProtocol): ...\n")
    [entry] = [entry for entry in catalog(["./mine.py:Mine"]) if entry.name == "mine:Mine"]
    marked = {name for name in dir(AsyncioProtocol) if name in HOOKS}
    assert {"AsyncioProtocol": marked} == OF_BASES
    assert set(entry.implements) == marked
