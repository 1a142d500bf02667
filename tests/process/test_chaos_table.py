"""The table at the end of a test run, in the processes of pytest-xdist, too."""

import subprocess
import sys

import pytest

from host.testing.machine import patience
from support.venvs import environment

pytestmark = pytest.mark.process

TESTS = """
def test_right(chaos):
    chaos("echo", [(b"a", b"a")], only=["whole"])

def test_wrong(chaos):
    chaos("echo", [(b"a", b"b")], only=["whole"])
"""
EXPECTED = """\
test_some.py::test_right
         memory  tcp   unix
  whole  held    held  held
test_some.py::test_wrong
         tcp       unix
  whole  NOT HELD  NOT HELD
  whole, tcp: request 1, b'a': expected b'b', got b'a'
  whole, unix: request 1, b'a': expected b'b', got b'a'
"""


@pytest.fixture
def run(tmp_path):
    """Run pytest over one file; return what it prints."""

    def run(text, *flags):
        (tmp_path / "test_some.py").write_text(text, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *flags],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=patience(60),
            check=False,
        )
        return done.stdout

    return run


@pytest.mark.parametrize("flags", [[], ["-n", "1"]], ids=["alone", "xdist"])
def test_what_held_and_what_did_not_is_shown_at_the_end(run, flags):
    said = run(TESTS, *flags)
    assert EXPECTED in said, said
    assert "1 failed, 1 passed" in said


def test_other_runs_have_no_table_and_import_nothing(run):
    code = "import sys\n\ndef test_nothing():\n    assert 'host' not in sys.modules\n"
    said = run(code)
    assert "1 passed" in said, said
    assert "chaos" not in said


def test_a_transport_that_does_not_exist_is_refused(chaos):
    with pytest.raises(ValueError, match="no transport is called 'sctp': there are tcp, unix, tls"):
        chaos.over("sctp")


def test_a_scene_that_does_not_exist_is_refused(chaos):
    with pytest.raises(ValueError, match="no scene is called 'whale': there are whole, byte by"):
        chaos("echo", [(b"a", b"a")], only=["whale"])
