"""Hooks that harm their process: the host names the plugin, and goes on where that is possible."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from support.address import connect
from support.hosting import SUPPORT, Host, Refuse, Start, eventually

pytestmark = pytest.mark.process

HARMING = str(SUPPORT / "harming.py")
Harm = Callable[[str, str], None]


@pytest.fixture
def order(tmp_path: Path) -> Path:
    """The file that says in which hook to do which harm."""
    return tmp_path / "harm"


@pytest.fixture
def harm(order: Path) -> Harm:
    """Have a plugin do harm when it is called the next time."""

    def write(hook: str, how: str) -> None:
        draft = order.with_suffix(".draft")
        draft.write_text(f"{hook} {how}")
        draft.rename(order)

    return write


@pytest.fixture
def host(start: Start, order: Path) -> Host:
    """A host with the plugin."""
    return start(plugin=HARMING, env={"HARM": str(order)})


def answer(host: Host) -> bytes:
    with connect(host.addresses[0], 10.0) as sock:
        sock.sendall(b"hello\n")
        return sock.recv(100)


HARMS = [
    ("take_len", "it takes away builtins.len"),
    ("alarm", "it leaves a timer running (ITIMER_REAL"),
    ("trace", "it leaves a function set by sys.settrace"),
]


@pytest.mark.parametrize(("how", "cause"), HARMS)
def test_a_scheduler_that_harms_the_supervisor_is_named_and_the_host_goes_on(
    host: Host, harm: Harm, how: str, cause: str
) -> None:
    harm("choose_worker", how)
    assert answer(host) == b"hello\n"
    told = host.wait_for("process_harmed")
    assert told["plugin"] == "harming"
    assert told["cause"].startswith(cause)
    assert [answer(host) for _ in range(4)] == [b"hello\n"] * 4
    assert len(host.events("process_harmed")) == 1


def test_what_on_child_exit_takes_away_is_back_before_the_worker_is_replaced(
    host: Host, harm: Harm
) -> None:
    harm("on_child_exit", "take_len")
    mark = host.mark()
    os.kill(host.workers[1], signal.SIGKILL)
    host.wait_for("worker_ready", since=mark)
    assert host.wait_for("process_harmed")["plugin"] == "harming"
    assert answer(host) == b"hello\n"


def test_a_descriptor_that_workers_are_made_with_is_missed_when_one_cannot_be_replaced(
    host: Host, harm: Harm
) -> None:
    harm("choose_worker", "close_first")
    assert answer(host) == b"hello\n"
    os.kill(host.workers[1], signal.SIGKILL)
    assert host.wait() == 4
    assert "it closes or replaces the host's descriptors 3\n" in host.said()
    host.other_output[:] = []


def test_a_listener_that_is_closed_by_its_number_is_missed_by_the_next_client(
    host: Host, harm: Harm
) -> None:
    harm("choose_worker", "close_listener")
    with suppress(OSError):  # the first client may be served still
        answer(host)
        answer(host)
    assert host.wait() == 4
    assert "it closes or replaces the host's descriptors" in host.said()
    host.other_output[:] = []


@pytest.mark.parametrize("hook", ["choose_worker", "on_child_exit"])
def test_who_closes_all_descriptors_of_the_supervisor_ends_the_host_by_name(
    start: Start, host: Host, order: Path, harm: Harm, hook: str
) -> None:
    harm(hook, "close_all")
    if hook == "choose_worker":
        connect(host.addresses[0], 10.0).close()
    else:
        os.kill(host.workers[1], signal.SIGKILL)
    assert host.wait() == 4
    said = host.said()
    assert 'plugin "harming"' in said
    assert "it closes or replaces the host's descriptors" in said
    assert "Traceback" not in said
    host.other_output[:] = []
    # What a service manager does then.
    again = start(plugin=HARMING, listen=(host.addresses[0],), env={"HARM": str(order)})
    assert answer(again) == b"hello\n"


def test_who_ends_the_supervisor_at_once_is_named(host: Host, harm: Harm) -> None:
    harm("choose_worker", "exit")
    connect(host.addresses[0], 10.0).close()
    assert host.wait() == 3
    (told,) = host.events("plugin_ends_host")
    assert (told["plugin"], told["code"]) == ("harming", 3)
    assert "harming.py:" in told["place"]


def test_a_crash_of_the_supervisor_says_where_it_was(host: Host, harm: Harm) -> None:
    harm("choose_worker", "crash")
    connect(host.addresses[0], 10.0).close()
    assert host.wait() == -signal.SIGSEGV
    assert "Segmentation fault" in host.said()
    assert "harming.py" in host.said()
    host.other_output[:] = []


FIRST = ["--plugin", HARMING, "--listen", "tcp://127.0.0.1:0"]


def test_a_plugin_that_ends_the_process_while_it_is_imported_is_refused(
    refuse: Refuse, order: Path, harm: Harm
) -> None:
    for words in (["run"], ["check"]):
        harm("import", "exit")
        refused = refuse(*words, *FIRST, env={"HARM": str(order)})
        assert refused.code == 4
        assert "it ends the whole process while it is loaded, by os._exit(3)" in refused.message


@pytest.mark.parametrize(
    ("hook", "how", "code"),
    [("import", "crash", -signal.SIGSEGV), ("on_host_start", "exit", 3)],
)
def test_who_ends_the_first_start_without_a_word_is_named(
    start: Start, order: Path, harm: Harm, hook: str, how: str, code: int
) -> None:
    harm(hook, how)
    host = start(plugin=HARMING, env={"HARM": str(order)}, ready=False)
    assert host.wait() == code
    assert "harming.py" in host.said()
    host.other_output[:] = []


@pytest.mark.parametrize(
    ("how", "reason", "details"),
    [
        ("crash", "killed by SIGSEGV while the new settings were tried", "harming.py"),
        ("exit", 'plugin "harming"', "it ends the whole process while it is loaded"),
    ],
)
def test_a_reload_whose_plugin_ends_the_process_says_where(
    host: Host, harm: Harm, how: str, reason: str, details: str
) -> None:
    harm("import", how)
    host.signal(signal.SIGHUP)
    failed = host.wait_for("reload_failed")
    assert failed["reason"].startswith(reason)
    assert details in failed["details"]
    assert answer(host) == b"hello\n"


def test_a_worker_whose_descriptors_are_closed_is_replaced_and_the_cause_is_told(
    host: Host, harm: Harm
) -> None:
    harm("on_accept", "close_all")
    mark = host.mark()
    connect(host.addresses[0], 10.0).close()
    died = host.wait_for("worker_died", since=mark)
    assert died["cause"] == "exit code 4"
    assert died["place"].startswith("since a plugin has closed the host's descriptors")
    host.wait_for("worker_ready", since=mark)
    assert answer(host) == b"hello\n"
    eventually(lambda: not host.other_output, "no raw text is between the lines of the log")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change its user")
def test_a_plugin_that_changes_the_user_when_it_is_imported_is_refused(
    refuse: Refuse, tmp_path: Path
) -> None:
    plugin = tmp_path / "leaving.py"
    plugin.write_text(
        "import os\nfrom host import hookimpl\nos.setegid(65534)\n"
        "@hookimpl\ndef on_readable(connection): connection.read()\n"
    )
    refused = refuse("--plugin", str(plugin), "--listen", "tcp://127.0.0.1:0")
    assert refused.code == 4
    assert "it changes the user of the whole host while it is loaded" in refused.message
