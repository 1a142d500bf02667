"""Plugins are found by entry point, dotted name and file; if not, it is said what is nearest."""

import configparser
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.plugin.discovery import plain_groups
from host.plugin.loading import load, load_in_steps
from support.plugin_files import ECHO, HOOK, loaded, names, refusal, write

pytestmark = pytest.mark.usefixtures("own_folder")


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

    @pytest.mark.parametrize(
        ("listed", "text"),
        [
            ("top_level.txt", "other\nsample_dotted\n"),
            ("RECORD", "other/__init__.py,,\nsample_dotted.py,sha256=x,9\n"),
            ("RECORD", "sample_dotted/__init__.py,sha256=x,9\n"),
        ],
    )
    def test_the_distribution_of_a_dotted_name(self, install, monkeypatch, listed, text):
        site = install("sample-dist", "2.1")
        write(site / "sample_dist-2.1.dist-info" / listed, text)
        write("sample_dotted.py", ECHO)
        monkeypatch.syspath_prepend(".")
        [plugin] = load(loaded("sample_dotted:Echo")).plugins
        assert plugin.origin == "sample-dist 2.1, module sample_dotted:Echo"

    @pytest.mark.parametrize("listed", ["top_level.txt", "RECORD"])
    def test_a_list_of_files_that_cannot_be_read_is_no_distribution_s(
        self, install, monkeypatch, listed
    ):
        site = install("sample-dist", "2.1")
        (site / "sample_dist-2.1.dist-info" / listed).write_bytes(b"m\xfcll.py,,\n")
        write("sample_dotted.py", ECHO)
        monkeypatch.syspath_prepend(".")
        [plugin] = load(loaded("sample_dotted:Echo")).plugins
        assert plugin.origin == "module sample_dotted:Echo"

    def test_of_two_distributions_with_one_name_the_first_on_the_path_counts(self, install):
        install("sample-dist", "1.0", "later", first="sample_first:Echo", old="sample_first:Echo")
        site = install("Sample.Dist", "2.1", "sooner", first="sample_first:Echo")
        write(site / "sample_first.py", ECHO)
        [plugin] = load(loaded("first")).plugins
        assert plugin.origin == "Sample.Dist 2.1, entry point sample_first:Echo"
        assert 'no plugin "old" is installed' in refusal("old")

    @pytest.mark.parametrize("text", ["first", "sample_first:Echo", "./sample_first.py"])
    def test_a_step_looks_at_one_distribution(self, install, text):
        site = install("sample-dist", first="sample_first:Echo")
        write(site / "sample_first.py", ECHO)
        write("sample_first.py", ECHO)
        before = sum(1 for _ in load_in_steps(loaded(text)))
        for number in range(5):
            install(f"sample-other-{number}")
        looks = 10 if ":" in text else 5  # whose plugins, and whose package
        assert sum(1 for _ in load_in_steps(loaded(text))) == before + looks


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

    def test_file_of_a_user_that_there_is_not(self):
        said = refusal("~nosuchuser/x.py")
        assert "the home of ~nosuchuser is not known" in said

    def test_file_where_the_working_directory_has_been_removed(self, tmp_path, monkeypatch):
        gone = tmp_path / "gone"
        gone.mkdir()
        monkeypatch.chdir(gone)
        gone.rmdir()
        assert "the working directory has been removed" in refusal("./x.py")

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


class TestEntryPointFiles:
    def test_those_that_tools_write_are_plain(self):
        text = "[console_scripts]\nx = x:main\n\n[host.plugins]\nEcho = echo:Echo [more]\n"
        expected = {
            "console_scripts": {"x": "x:main"},
            "host.plugins": {"Echo": "echo:Echo [more]"},
        }
        assert plain_groups(text) == expected

    @pytest.mark.parametrize(
        "text",
        [
            "x = y\n",
            "[a]\nx = y\n  z\n",
            "[a]\nx\n",
            "[a]\n= y\n",
            "[a] x = y\n",
            "[a]\n[a]\n",
            "[]\n",
        ],
    )
    def test_others_are_not(self, text):
        assert plain_groups(text) is None

    @given(
        st.lists(
            st.one_of(
                st.sampled_from(
                    ["[a]", "[b c]", "x = y", "X=", "x", "=", "# x", ";", "", "  z", "[a] x"]
                ),
                st.text(alphabet="[]=;# ax\t\r\x1c", max_size=8),
            ),
            max_size=8,
        )
    )
    def test_what_is_plain_means_the_same_to_configparser(self, lines):
        text = "\n".join(lines)
        if (found := plain_groups(text)) is None:
            return
        parser = configparser.ConfigParser(
            delimiters=("=",), interpolation=None, allow_no_value=True, default_section=""
        )
        parser.optionxform = str
        parser.read_string(text)
        assert found == {name: dict(parser.items(name)) for name in parser.sections()}
