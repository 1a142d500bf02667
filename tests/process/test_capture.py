"""What plugins print and log, wherever they do, is in the log as events, with the plugin's name."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from support.address import connect
from support.hosting import TALKATIVE, Start, command, environment, eventually

pytestmark = [pytest.mark.process, pytest.mark.warm]


def is_open(address: str) -> bool:
    """Tell whether a host listens; its file is there a moment before."""
    try:
        connect(address).close()
    except OSError:
        return False
    return True


def exchange(address: str, data: bytes) -> None:
    with connect(address) as client:
        client.sendall(data)
        assert client.recv(1000) == data


def test_what_is_printed_and_logged_anywhere_is_told_with_the_plugin_s_name(start: Start) -> None:
    host = start(plugin=TALKATIVE, workers=1)
    exchange(host.address, b"say something")
    assert host.stop() == 0
    assert host.other_output == []
    imported, *printed = host.events("plugin_printed")
    assert (imported["text"], "plugin" in imported) == ("imported", False)
    assert imported["source"].startswith("prefork_file_talkative_")
    places = ("on_host_start", "on_worker_start", "on_worker_stop")
    texts = [(each["stream"], each["text"]) for each in printed]
    for place in places:
        assert ("stdout", f"printed in {place}") in texts
        assert ("stderr", f"complained in {place}") in texts
    assert ("stdout", "no end of linesomething") in texts
    assert {each["plugin"] for each in printed} == {"talkative"}
    logged = host.events("plugin_logged")
    assert [each["text"] for each in logged] == [f"logged in {place}" for place in places]
    assert {(each["plugin"], each["logger"]) for each in logged} == {("talkative", "talkative.log")}
    assert {each["pid"] for each in printed} == {host.pid, host.workers[0]}


def test_errors_that_nobody_handles_are_told(start: Start) -> None:
    host = start(plugin=TALKATIVE, workers=1)
    exchange(host.address, b"fail")
    failed, ignored = host.wait_for("thread_failed"), host.wait_for("error_ignored")
    assert (failed["plugin"], failed["thread"]) == ("talkative", "doomed")
    assert failed["error"] == "ValueError: in a thread"
    assert "in fail" in failed["traceback"]
    assert (ignored["plugin"], ignored["error"]) == ("talkative", "ValueError: in a destructor")
    assert host.stop() == 0
    assert host.other_output == []


def test_a_reload_goes_on_like_this(start: Start) -> None:
    host = start(plugin=TALKATIVE, workers=1)
    mark = host.mark()
    host.signal(signal.SIGHUP)
    host.wait_for("generation_ready", since=mark)
    texts = [each["text"] for each in host.events("plugin_printed", since=mark)]
    assert texts.count("imported") == 1
    assert texts.count("printed in on_host_start") == 1
    assert host.stop() == 0
    assert host.other_output == []


def test_descriptors_and_forks_of_a_plugin_are_left_alone(start: Start) -> None:
    host = start(plugin=TALKATIVE, workers=1)
    exchange(host.address, b"raw")
    exchange(host.address, b"fork")
    assert host.stop() == 0
    assert host.other_output == ["raw", "printed in a fork"]
    host.other_output.clear()


@pytest.mark.timing
def test_a_flood_stops_nobody_and_what_is_dropped_is_counted(start: Start) -> None:
    host = start(plugin=TALKATIVE, workers=1, deaf_after="host_ready")
    exchange(host.address, b"flood 20000")
    exchange(host.address, b"say it is served")
    host.listen()
    assert host.stop() == 0
    texts = [each["text"] for each in host.events("plugin_printed")]
    lines = [each for each in texts if each.startswith("line ")]
    dropped = sum(event["count"] for event in host.events("lines_dropped"))
    assert dropped > 0
    assert 20_000 <= len(lines) + dropped <= 20_000 + 10
    assert host.other_output == []


def test_a_level_of_the_log_holds_for_plugins_too(start: Start, tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/0-0.sock"
    flags = ("--log-level", "error")
    host = start(*flags, plugin=TALKATIVE, workers=1, listen=("unix",), ready=False)
    eventually(lambda: is_open(address), "it listens")  # no event of this level tells
    exchange(address, b"fail")
    host.wait_for("thread_failed")
    assert not host.events("plugin_printed") + host.events("plugin_logged")
    assert host.stop() == 0
    assert host.other_output == []


def run(*flags: str) -> subprocess.CompletedProcess[str]:
    given = command(flags)
    return subprocess.run(given, check=False, env=environment(), capture_output=True, text=True)


def test_a_plugin_that_cannot_be_loaded_has_told_first_what_it_had_to_say(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("print('a word before')\nraise ValueError('bad')\n")
    ended = run("--log-format", "json", "--plugin", str(path))
    assert ended.returncode == 4
    first, rest = ended.stderr.split("\n", 1)
    assert json.loads(first)["text"] == "a word before"
    assert rest.startswith("host: ")
    assert "ValueError: bad" in rest


def test_commands_print_as_ever() -> None:
    checked = run("check", "--plugin", TALKATIVE)
    assert checked.returncode == 0
    assert checked.stdout.startswith("imported\n")
