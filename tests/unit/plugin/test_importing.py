"""What a plugin is in is imported anew; a failure names the line, and leaves nothing behind."""

import pickle
import signal
import sys

import pytest

from host.plugin.loading import load
from support.plugin_files import ECHO, HOOK, load_text, loaded, refusal, refusal_of, write

pytestmark = pytest.mark.usefixtures("own_folder")


@pytest.fixture
def left_behind():
    """Return a function that names the modules of file plugins that the test has left."""
    before = set(sys.modules)
    return lambda: {name for name in set(sys.modules) - before if name.startswith("prefork_file_")}


def test_instances_of_a_files_class_can_be_pickled():
    write("state.py", ECHO)
    [plugin] = load(loaded("./state.py")).plugins
    assert type(pickle.loads(pickle.dumps(plugin.object))) is type(plugin.object)


def test_a_file_is_read_anew_and_leaves_no_cache_beside_it(tmp_path):
    write("state.py", ECHO)
    first = load(loaded("./state.py"))
    write("state.py", ECHO.replace("Echo", "Ecko"))  # the same size, perhaps the same second
    second = load(loaded("./state.py"))
    kinds = [type(registry.plugins[0].object).__name__ for registry in (first, second)]
    assert kinds == ["Echo", "Ecko"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state.py"]


def test_a_failure_leaves_no_module_behind(left_behind):
    write("good.py", ECHO)
    write("bad.py", "1/0")
    assert "ZeroDivisionError" in refusal("./good.py", "./bad.py")
    assert left_behind() == set()


class TestNotFound:
    def test_module_of_a_package(self, tmp_path, monkeypatch):
        (tmp_path / "sample_package").mkdir()
        write("sample_package/__init__.py", "")
        write("sample_package/protocol.py", HOOK)
        monkeypatch.syspath_prepend(".")
        said = refusal("sample_package.protocl:Echo")
        assert 'no module "protocl" in the package sample_package; did you mean "protocol"?' in said

    def test_module_that_is_like_one_that_is_there(self, tmp_path, monkeypatch):
        write("sample_prtcl.py", "")
        write("sample_x.cpython-311-x86_64-linux-gnu.so", "")
        write("sample_1.data", "")
        (tmp_path / "sample_package").mkdir()
        monkeypatch.syspath_prepend(tmp_path)
        assert 'did you mean "sample_prtcl"?' in refusal("sample_protcl:Echo")
        assert 'did you mean "sample_package"?' in refusal("sample_packge.protocol:Echo")
        assert 'did you mean "sample_x"?' in refusal("sampel_x:Echo")
        assert 'did you mean "sample_1"' not in refusal("sampel_1:Echo")

    def test_module_in_a_folder_that_is_not_searched(self, tmp_path, monkeypatch):
        monkeypatch.syspath_prepend(tmp_path / "site")  # what it has saved is put back at the end
        sys.path[:] = [folder for folder in sys.path if folder]
        write("sample_unsearched.py", HOOK)
        assert "not searched for modules" in refusal("sample_unsearched:Echo")

    def test_class(self, install):
        site = install("sample-dist", "2.1", parley="sample_attribute:Ecko")
        write(site / "sample_attribute.py", ECHO)
        said = refusal("parley")
        assert "(sample-dist 2.1, entry point sample_attribute:Ecko)" in said
        assert 'no "Ecko" in sample_attribute; did you mean "Echo"?' in said


class TestFailures:
    @pytest.mark.parametrize(
        ("text", "place", "cause"),
        [
            ("def f():\n    return 1 / 0\n\nf()", "chat.py:3  return 1 / 0", "ZeroDivisionError"),
            ("import sys\nsys.exit('bye')", "chat.py:3  sys.exit('bye')", "SystemExit: bye"),
            ("import json\njson.loads('{')", "chat.py:3  json.loads('{')", "JSONDecodeError"),
            ("def broken(:\n    pass", "chat.py:2  def broken(:", "SyntaxError: invalid syntax"),
            ("import no_such_thing", "chat.py:2  import no_such_thing", "ModuleNotFoundError"),
            ("raise BaseException", "chat.py:2  raise BaseException", "BaseException"),
        ],
    )
    def test_import(self, text, place, cause):
        said = refusal_of(text)
        assert f"  {place}\n" in said
        assert f"importing it failed: {cause}" in said

    def test_import_of_a_file_beside_it(self, tmp_path):
        (tmp_path / "beside_chat.py").write_text("")
        assert "beside_chat.py exists, but" in refusal_of("import beside_chat")

    @pytest.mark.parametrize(
        "text",
        [
            "raise KeyboardInterrupt",
            f"{ECHO}    def __init__(self):\n        raise KeyboardInterrupt",
        ],
    )
    def test_interrupt_is_the_plugins_own_where_signals_are_handled(self, text, left_behind):
        before = signal.signal(signal.SIGINT, lambda *_: None)
        try:
            assert "failed: KeyboardInterrupt" in refusal_of(text)
        finally:
            signal.signal(signal.SIGINT, before)
        assert left_behind() == set()

    def test_interrupt_is_the_operators(self, left_behind):
        with pytest.raises(KeyboardInterrupt):
            load_text("raise KeyboardInterrupt")
        assert left_behind() == set()
