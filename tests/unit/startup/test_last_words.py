"""Who ends a process without a word is told before, or refused while it is loaded."""

import os

import pytest

from host.errors import PluginError
from host.plugin.loading import load
from host.runtime import processes
from host.startup.last_words import last_words, place_of
from support.plugin_files import loaded, write


def end(status):
    """Call os._exit as code of somebody else does."""
    exec(compile("import os\nos._exit(status)\n", "else.py", "exec"), {"status": status})


def code_of(child):
    return processes.wait(processes.fork(child), 10.0).code


def test_who_ends_a_process_is_told_and_it_ends_all_the_same():
    reader, writer = os.pipe()

    def child():
        def tell(status, frame):
            os.write(writer, f"{status} {place_of(frame)}".encode())
            raise OSError

        with last_words(tell):
            end(7)
        return 1

    assert code_of(child) == 7
    assert os.read(reader, 100) == b"7 else.py:2"
    os.close(reader)
    os.close(writer)


def test_forks_end_in_silence():
    def tell(_status, _frame):
        raise AssertionError

    with last_words(tell):
        pid = os.fork()
        if pid == 0:
            end(0)
        assert os.waitpid(pid, 0) == (pid, 0)


def test_all_is_as_before_then():
    before = os._exit
    with last_words():
        assert os._exit is not before
    assert os._exit is before


def test_a_plugin_that_is_loaded_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("leaving.py", "import os\nos._exit(0)\n")
    with last_words(), pytest.raises(PluginError) as caught:
        load(loaded("./leaving.py"))
    assert caught.value.plugin == "leaving"
    assert caught.value.code == "import-ends"
    assert caught.value.where.endswith("leaving.py:2")
