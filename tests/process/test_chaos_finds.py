"""What the chaos kit finds: protocols that are wrong, and the scene that shows it."""

from pathlib import Path

import pytest

from host.testing import Conversation

pytestmark = pytest.mark.process

TALK = Conversation([(b"one\n", b"ONE\n"), (b"two words\n", b"TWO WORDS\n")])


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[1]))
    monkeypatch.setenv("CHAOTIC_FOLDER", str(tmp_path))


@pytest.mark.slow
def test_a_protocol_that_is_right(chaos):
    chaos("support.deviants:Right", TALK)
    assert not any(outcome.problem for outcome in chaos.outcomes)


@pytest.mark.parametrize(
    ("deviant", "scene", "message"),
    [
        ("deviants:Splits", "byte by byte", r"b'one\\n': expected b'ONE\\n', got b'O\\n"),
        ("deviants:OneAtATime", "in one piece", r"expected .*, got b'ONE\\n', nothing more within"),
        ("deviants:HangsUp", "slow reader", r"\d+ of \d+ bytes of replies came, then "),
        ("deviants:Lingers", "half-close", "the connection does not end: got b'ONE"),
        ("chaotic:Waits", "byte by byte", "worker 0 .* hangs: .* on_readable of plugin"),
        ("chaotic:Blocks", "whole", "worker 0 .* hangs: .* on_readable of plugin"),
        ("chaotic:IgnoresHalfClose", "half-close", "expected b'ONE.*, got b''"),
        ("chaotic:LeaksDescriptors", "descriptors closed", "12 descriptors more .* as /dev/null"),
        ("chaotic:NeedsDescriptors", "descriptors exhausted", r"expected b'TWO.*got b'ERROR\\n'"),
        ("chaotic:LosesTheLine", "reload", r"after a reload: expected b'TWO WORDS\\n' or the end"),
        ("chaotic:CutsShort", "reload", r"neither after a whole reply .* got b'ERROR\\n'"),
        ("chaotic:LeavesALock", "reload", "not come to generation_ready; .*FileExistsErr"),
        ("chaotic:LeavesALock", "worker killed", "not come to worker_ready; .*FileExistsError"),
    ],
)
def test_a_protocol_that_is_wrong(chaos, deviant, scene, message):
    with pytest.raises(AssertionError, match=rf"(?m)^  {scene}, tcp: .*{message}"):
        chaos(f"support.{deviant}", TALK, seconds=1, only=[scene])
    wrong = [outcome.transport for outcome in chaos.outcomes if outcome.problem]
    assert {"tcp", "unix"} <= set(wrong)
