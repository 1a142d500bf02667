"""Wrong input: one clear message, its own exit code, no traceback, nothing left behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from host.net import gates
from support.hosting import SUPPORT, Load, Refuse, Start, command, environment

pytestmark = [pytest.mark.process, pytest.mark.warm]

BROKEN = {
    "import_error": ("import nothing_of_this_name\n", "nothing_of_this_name"),
    "syntax_error": ("def broken(:\n", "syntax_error.py:1"),
    "no_hooks": ("answer = 42\n", "hook"),
    "misspelt": (
        "from host import hookimpl\n@hookimpl\ndef on_readabel(connection): ...\n",
        "on_readable",
    ),
    "undecorated": ("def on_readable(connection): ...\n", "hookimpl"),
    "wrong_argument": (
        "from host import hookimpl\n@hookimpl\ndef on_readable(conection): ...\n",
        "connection",
    ),
    "default_value": (
        "from host import hookimpl\n@hookimpl\ndef on_readable(connection=None): ...\n",
        "default",
    ),
    "raises": ("raise RuntimeError('not today')\n", "not today"),
    "exits": ("raise SystemExit(3)\n", "SystemExit"),
    "no_fork": ("import os\nos.fork = None\n", "takes away os.fork"),
    "stopped_clock": ("import time\ntime.monotonic = lambda: 1 / 0\n", "time.monotonic"),
    "no_pack": ("import struct\nstruct.pack = None\n", "takes away struct.pack"),
    "no_open": ("import builtins\nbuiltins.open = None\n", "takes away builtins.open"),
    "no_imports": (
        "import builtins\ndef refuse(*_, **__): raise ImportError('no more')\n"
        "builtins.__import__ = refuse\n",
        "no more, in no_imports.py:2",
    ),
    "interrupts": ("raise KeyboardInterrupt\n", "importing it failed: KeyboardInterrupt"),
    "closes": ("import os\nos.closerange(3, 100)\n", "closes or replaces the host's descriptors 3"),
    "alarm": ("import signal\nsignal.alarm(1)\n", "ITIMER_REAL, as signal.alarm does"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_plugins(refuse: Refuse, tmp_path: Path, name: str) -> None:
    source, phrase = BROKEN[name]
    path = tmp_path / f"{name}.py"
    path.write_text(source)
    refusal = refuse("--plugin", str(path), "--listen", f"unix:{tmp_path}/x.sock")
    assert refusal.code == 4, refusal.message
    assert name in refusal.message
    assert phrase in refusal.message


@pytest.mark.parametrize(
    ("flags", "code", "phrases"),
    [
        (("--plugin", "ehco"), 4, ['"ehco"', '"echo"']),
        (("--plugin", "./missing.py"), 4, ["missing.py"]),
        (("--plugin", "no_such_package.module:Class"), 4, ["no_such_package"]),
        (("--plugin", "round_robin"), 3, ["nobody serves"]),
        ((), 3, ["nobody serves", "--plugin echo"]),
        (("--plugin", "echo", "--plugin", "no:echo"), 4, ["echo"]),
        (("--plugin", "echo", "--listen", "tcp://127.0.0.1:0=chat"), 4, ["chat"]),
        (("--plugin", "echo", "--workers", "0"), 3, ["workers", "--workers"]),
        (("--plugin", "echo", "--workers", "1025"), 3, ["workers", "1024"]),
        (("--plugin", "echo", "--workers", "many"), 3, ["workers", "many"]),
        (("--plugin", "echo", "--set", "port=8000"), 3, ["listen", "tcp://127.0.0.1:8000"]),
        (("--plugin", "echo", "--listen", "unix:x\udcff"), 3, ["listen", "not UTF-8 text"]),
        (("--plugin", "\udcff.py"), 3, ["plugins", "not UTF-8 text"]),
        (("--plugin", "echo", "--listen", "http://x:1"), 3, ["listen", "http://x:1"]),
        (("--plugin", "echo", "--log-format", "xml"), 3, ["log.format", "xml"]),
        (("--plugin", "echo", "--set", "limits.max_evnts=1"), 3, ["max_evnts", "max_events"]),
        (("--plugin", "echo", "--config", "missing.toml"), 3, ["missing.toml", "no such file"]),
        (("--plugin", "echo", "--preset", "ecco"), 3, ["ecco", "echo"]),
        (("--plugin", "echo", "--set", "options.echo.size=1"), 3, ["options.echo"]),
    ],
)
def test_wrong_flags(refuse: Refuse, flags: tuple[str, ...], code: int, phrases: list[str]) -> None:
    refusal = refuse(*flags)
    assert refusal.code == code, refusal.message
    for phrase in phrases:
        assert phrase in refusal.message


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("workers = = 2\n", ["host.toml:1:11", "not TOML"]),
        ("wrokers = 2\n", ["host.toml:1", "wrokers", '"workers"']),
        ("[limit]\nmax_events = 5\n", ["limit", "limits"]),
        ('workers = "two"\n', ["host.toml:1", "workers"]),
        ("[limits]\nmax_events = 0\n", ["host.toml:2", "limits.max_events"]),
    ],
)
def test_wrong_files(refuse: Refuse, tmp_path: Path, text: str, phrases: list[str]) -> None:
    (tmp_path / "host.toml").write_text(text)
    refusal = refuse("--plugin", "echo", "--config", "host.toml")
    assert refusal.code == 3, refusal.message
    for phrase in phrases:
        assert phrase in refusal.message


def test_all_problems_at_once(refuse: Refuse, tmp_path: Path) -> None:
    (tmp_path / "host.toml").write_text("wrokers = 2\n[limits]\nmax_events = 0\n")
    refusal = refuse("--config", "host.toml", "--log-format", "xml", env={"PREFORK_NMAE": "x"})
    assert refusal.code == 3
    for phrase in ("wrokers", "limits.max_events", "log.format", "PREFORK_NMAE"):
        assert phrase in refusal.message


def test_an_unknown_variable(refuse: Refuse) -> None:
    refusal = refuse("--plugin", "echo", env={"PREFORK_WROKERS": "2"})
    assert refusal.code == 3
    assert "PREFORK_WROKERS" in refusal.message
    assert "PREFORK_WORKERS" in refusal.message


def test_too_few_descriptors_for_what_is_asked_for(refuse: Refuse, tmp_path: Path) -> None:
    limit = ("--set", "limits.max_connections_per_worker=1000")
    listen = ("--listen", f"unix:{tmp_path}/x.sock")
    refusal = refuse("--plugin", "echo", *limit, *listen, nofile=(256, 256), unprivileged=True)
    assert refusal.code == 7, refusal.message
    assert "limits.max_connections_per_worker = 1000" in refusal.message
    assert "256" in refusal.message


def test_a_soft_limit_is_raised_as_far_as_is_needed(start: Start, load: Load) -> None:
    settings = {"limits.max_connections_per_worker": 400}
    host = start(settings=settings, workers=1, nofile=(64, 1024))
    assert load.burst(host.address, 300)["failures"] == {}
    assert host.events("descriptors_capped") == []


def test_with_few_descriptors_a_default_is_capped_and_all_are_served(
    start: Start, load: Load
) -> None:
    host = start(workers=2, nofile=(64, 64), unprivileged=True, listen=("tcp4",))
    capped = host.wait_for("descriptors_capped")
    assert capped["allowed"] == 64
    assert 10 <= capped["connections"] < 64
    load.open(host.address, 200)
    result = load.exchange(leave=True)
    assert result["failures"] == {}
    assert len(result["answers"]) == 200
    assert max(active for *_, active in result["answers"]) <= capped["connections"]
    assert host.events("accept_failed") == []


def test_check_says_everything_at_once_a_line_each(refuse: Refuse, tmp_path: Path) -> None:
    file = tmp_path / "host.toml"
    file.write_text('plugins = ["ehco"]\nworkers = 0\n[limit]\nmax_events = 1\n')
    refusal = refuse("check", str(file), "--plugin", "ehco")
    assert refusal.code == 3, refusal.message
    head, *lines = refusal.message.splitlines()
    assert head == "host: 3 problems"
    for phrases in (("workers", "host.toml:2"), ("limit", "host.toml:3"), ("ehco", '"echo"')):
        assert [line for line in lines if all(phrase in line for phrase in phrases)], phrases


@pytest.mark.parametrize(
    ("code", "phrase"),
    [
        ("import os; os.closerange(3, 100)", "closes or replaces the host's descriptors 3"),
        ("import time; time.monotonic = lambda: 0.0", "it replaces time.monotonic"),
        ("import signal; signal.alarm(1)", "ITIMER_REAL, as signal.alarm does"),
        (
            "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (5, 5))",
            "the host cannot work with what it has done: OSError: [Errno 24]",
        ),
    ],
)
def test_who_breaks_the_host_as_it_starts_is_named(
    refuse: Refuse, tmp_path: Path, code: str, phrase: str
) -> None:
    path = tmp_path / "starts.py"
    path.write_text(
        f"from host import hookimpl\n@hookimpl\ndef on_host_start(host):\n    {code}\n"
        "@hookimpl\ndef on_readable(connection): ...\n"
    )
    listen, log = f"unix:{tmp_path}/x.sock", f"log.file={tmp_path}/log"
    refusal = refuse("--plugin", str(path), "--listen", listen, "--set", log)
    assert refusal.code == 4, refusal.message
    assert 'plugin "starts" (file ' in refusal.message
    assert phrase in refusal.message
    assert not (tmp_path / "x.sock").exists()


def test_a_plugin_may_close_what_it_has_opened_as_the_host_starts(
    start: Start, tmp_path: Path
) -> None:
    path = tmp_path / "closes_its_own.py"
    path.write_text(
        "import os\nfrom host import hookimpl\nmine = os.open(os.devnull, os.O_RDONLY)\n"
        "@hookimpl\ndef on_host_start(host):\n    os.close(mine)\n"
        "@hookimpl\ndef on_readable(connection): connection.write(connection.read())\n"
    )
    host = start(plugin=str(path), workers=1)
    with host.connect() as sock:
        sock.sendall(b"hello")
        assert sock.recv(9) == b"hello"
    assert host.stop() == 0


@pytest.mark.parametrize("event", ["os.fork", "socket.bind"])
def test_an_audit_hook_that_stops_a_start_is_named_as_its_plugins(
    refuse: Refuse, tmp_path: Path, event: str
) -> None:
    path = tmp_path / "auditor.py"
    path.write_text(
        "import sys\nfrom host import hookimpl\ndef refuse(event, _):\n"
        f"    if event == '{event}':\n        raise RuntimeError('not allowed')\n"
        "sys.addaudithook(refuse)\n@hookimpl\ndef on_readable(connection): ...\n"
    )
    log = f"log.file={tmp_path}/log"
    listen = f"unix:{tmp_path}/x.sock"
    refusal = refuse("--plugin", str(path), "--listen", listen, "--set", log)
    assert refusal.code == 4, refusal.message
    assert 'plugin "auditor" cannot be used' in refusal.message
    assert "RuntimeError: not allowed, in auditor.py:5" in refusal.message


@pytest.mark.parametrize("name", ["no_fork", "stopped_clock", "alarm", "closes", "no_pack"])
def test_check_names_who_would_end_the_host(refuse: Refuse, tmp_path: Path, name: str) -> None:
    source, phrase = BROKEN[name]
    path = tmp_path / f"{name}.py"
    path.write_text(source)
    refusal = refuse("check", "--plugin", str(path))
    assert refusal.code == 4, refusal.message
    assert name in refusal.message
    assert phrase in refusal.message


@pytest.mark.parametrize(
    ("code", "place"),
    [
        ("import sys; sys.addaudithook(lambda event, _: 1 / (event != 'os.fork'))", "breaks.py:1"),
        ("import os; os.register_at_fork(after_in_child=lambda: os._exit(0))", "exit code 0"),
    ],
)
def test_check_tries_what_processes_of_the_host_do(
    refuse: Refuse, tmp_path: Path, code: str, place: str
) -> None:
    path = tmp_path / "breaks.py"
    path.write_text(
        f"{code}\nfrom host import hookimpl\n@hookimpl\ndef on_readable(connection): ...\n"
    )
    refusal = refuse("check", "--plugin", str(path))
    assert refusal.code == 4, refusal.message
    assert "cannot work with what plugins have done" in refusal.message
    assert place in refusal.message


def test_check_names_each_plugin_that_cannot_be_used(refuse: Refuse) -> None:
    refusal = refuse("check", "--plugin", "ehco", "--plugin", "./missing.py")
    assert refusal.code == 4, refusal.message
    assert len(refusal.message.splitlines()) == 3


def test_a_failure_by_the_settings_lists_variables_of_the_old_prefix(refuse: Refuse) -> None:
    refusal = refuse(env={"HOST_PLUGINS": "echo", "HOST_NAME": "node-17", "HOST_PORT": "1"})
    assert refusal.code == 3
    assert "one of the selected plugins" in refusal.message
    assert refusal.message.splitlines()[-1] == (
        "ignored variables: HOST_NAME, HOST_PLUGINS; those of settings begin with PREFORK_"
    )


@pytest.mark.parametrize("flags", [("--workers", "0"), ("--plugin", "ehco")])
def test_check_lists_variables_of_the_old_prefix(refuse: Refuse, flags: tuple[str, ...]) -> None:
    refusal = refuse("check", *flags, env={"HOST_WORKERS": "4"})
    assert [line for line in refusal.message.splitlines() if "ignored" in line] == [
        "ignored variables: HOST_WORKERS; those of settings begin with PREFORK_"
    ]


def test_check_lists_them_though_all_is_well() -> None:
    env = environment({"HOST_WORKERS": "4", "HOST_LIMITS__MAX_EVENTS": "5"})
    flags = command(["check", "--plugin", "echo"])
    found = subprocess.run(flags, env=env, capture_output=True, text=True, check=True)
    assert found.stdout == "ok\n"
    assert found.stderr == (
        "host: ignored variables: HOST_LIMITS__MAX_EVENTS, HOST_WORKERS; "
        "those of settings begin with PREFORK_\n"
    )


def test_check_says_what_a_stop_promises_to_clients_over_a_network() -> None:
    flags = command(["check", "--plugin", "echo", "--listen", "tcp://*:0"])
    settings = ["--set", "lifecycle.quiet_seconds=0.8"]
    launcher = [sys.executable, "-I", str(SUPPORT / "launcher.py")]
    options = json.dumps({"alarm": 60, "unprivileged": True})

    def said(*words: str) -> list[str]:
        found = subprocess.run(words, env=environment(), capture_output=True, text=True, check=True)
        return found.stdout.splitlines()

    promise = "a stop resets no client whose round trip is at most 0.8 s, "
    ok, line = said(*flags, *settings)
    assert ok == "ok"
    assert line.startswith(promise)
    assert ("also with SYN cookies" in line) == (not gates.why_no_filter())
    [_, line] = said(*launcher, options, *flags, *settings)
    assert line.startswith(promise)
    [_, line] = said(*flags, *settings, "--set", "lifecycle.drain_timeout_seconds=1")
    assert "at most 0.5 s" in line


def test_check_says_which_sockets_it_cannot_know() -> None:
    """They are passed to a host that starts; their stop resets nobody whatever the machine is."""
    flags = command(["check", "--plugin", "echo", "--listen", "fd:web", "--listen", "fd:4"])
    found = subprocess.run(flags, env=environment(), capture_output=True, text=True, check=True)
    assert found.stdout.splitlines() == [
        "ok",
        "not looked at, as they are passed to a host that starts: fd:web, fd:4",
    ]


def test_a_start_warns_once_of_variables_of_the_old_prefix(start: Start) -> None:
    of_service = {"PREFORK_PORT": "tcp://10.0.0.11:7000", "PREFORK_SERVICE_HOST": "10.0.0.11"}
    host = start(env={"HOST_NAME": "node-17", "HOST_WORKERS": "4", "HOST_PORT": "1", **of_service})
    [warned] = host.events("variables_ignored")
    assert (warned["level"], warned["names"]) == ("warning", "HOST_NAME, HOST_WORKERS")
    assert len(host.workers) == 2
