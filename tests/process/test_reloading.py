"""Reloading: the process stays, the listeners stay, and nobody is cut off or left waiting."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from host.net.quiesce import PATIENCE_SECONDS
from storm.hosts import moment
from support.address import connect
from support.asking import fresh_name
from support.hosting import Host, Start, environment, freeze, thaw
from support.processes import descriptors
from support.resting import at_rest
from support.session import answerer, ask

pytestmark = [pytest.mark.process, pytest.mark.warm]

UNSHARED = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


def reload(host: Host) -> dict[str, Any]:
    """Have the host reload; return how it ended: `generation_ready` or `reload_failed`."""
    mark, before = host.mark(), host.pid
    host.signal(signal.SIGHUP)
    event = host.wait_for("generation_ready", since=mark)
    assert host.pid == before
    return event


def say(host: Host, address: str | None = None) -> tuple[int, int]:
    """Have one line answered on a connection of its own; return the worker's pid and the word."""
    with connect(address or host.address) as sock:
        _, pid, word = ask(sock)
        return pid, word


@pytest.fixture
def site(tmp_path: Path) -> Callable[..., None]:
    """Write the settings file and the plugin of a host."""

    def write(answer: int = 1, settings: str = "", code: str | None = None) -> None:
        text = answerer(answer) if code is None else code
        (tmp_path / "answerer.py").write_text(text)
        (tmp_path / "host.toml").write_text(
            settings or 'plugins = ["./answerer.py"]\nworkers = 2\nlisten = ["tcp://127.0.0.1:0"]\n'
        )

    write()
    return write


@pytest.fixture
def sited(start: Start, site: Callable[..., None]) -> Host:
    """A host that runs with these files."""
    return start("--config", "host.toml", plugin=None, listen=(), workers=None)


@pytest.mark.parametrize("family", ["tcp4", "tcp6", "unix"])
def test_open_connections_stay_and_new_ones_go_to_new_workers(start: Start, family: str) -> None:
    host = start(listen=(family,), workers=2)
    with connect(host.address) as session:
        _, old, _ = ask(session)
        reload(host)
        fresh = {say(host)[0] for _ in range(4)}
        assert len(fresh) == 2
        assert old not in fresh
        for _ in range(100):
            assert ask(session)[1] == old
        reload(host)
        assert ask(session)[1] == old
        assert fresh.isdisjoint({say(host)[0] for _ in range(4)})
    host.wait_for("worker_exited", count=4)
    assert not host.events("worker_died")
    host.signal(signal.SIGTERM)
    assert host.wait() == 0


def test_the_supervisor_preempts_nobody_and_workers_are_scheduled_as_usual(start: Start) -> None:
    host = start(workers=2)
    for _ in range(2):
        assert os.sched_getscheduler(host.pid) == os.SCHED_BATCH
        workers = list(host.workers.values())
        assert [os.sched_getscheduler(pid) for pid in workers] == [os.SCHED_OTHER] * 2
        reload(host)


@pytest.mark.timing
def test_what_is_open_is_cut_at_each_generations_own_deadline(start: Start) -> None:
    host = start(workers=1, settings={"lifecycle.drain_timeout_seconds": 0.5})
    with connect(host.address) as session:
        ask(session)
        reload(host)
        assert session.recv(1) == b""
    assert host.wait_for("connections_cut")["count"] == 1


def test_code_settings_and_the_number_of_workers_are_new(
    sited: Host, site: Callable[..., None], tmp_path: Path
) -> None:
    assert say(sited)[1] == 1
    site(answer=2, settings=(tmp_path / "host.toml").read_text().replace("= 2", "= 3"))
    reload(sited)
    found = [say(sited) for _ in range(6)]
    assert {word for _, word in found} == {2}
    assert len({pid for pid, _ in found}) == 3


def test_listeners_are_added_and_removed(
    sited: Host, site: Callable[..., None], tmp_path: Path
) -> None:
    address, path = sited.address, tmp_path / "more.sock"
    settings = (tmp_path / "host.toml").read_text()
    both = settings.replace(':0"]', f':0", "unix:{path}"]')
    site(settings=both)
    reload(sited)
    pids = {say(sited, address)[0], say(sited, f"unix:{path}")[0]}
    assert len(pids) == 2
    site(settings=both.replace('"tcp://127.0.0.1:0", ', ""))
    reload(sited)
    with pytest.raises(ConnectionRefusedError):
        connect(address)
    assert sited.events("not_listening")[0]["address"] == address
    assert say(sited, f"unix:{path}")[0] not in pids
    site(settings=settings)
    reload(sited)
    assert not path.exists()
    with pytest.raises(FileNotFoundError):
        connect(f"unix:{path}")


def test_a_listener_that_comes_back_while_it_is_being_closed_lets_people_in(
    sited: Host, site: Callable[..., None], tmp_path: Path
) -> None:
    settings = (tmp_path / "host.toml").read_text()

    def comes_back() -> bool:
        """Tell whether it did in the time for which whoever was let in is waited for."""
        workers, mark = list(sited.workers.values()), sited.mark()
        for pid in workers:
            freeze(pid)
        with connect(sited.addresses[-1]) as waiting:
            site(settings=settings.replace("tcp://127.0.0.1:0", f"unix:{tmp_path}/other.sock"))
            sited.signal(signal.SIGHUP)
            gone = sited.wait_for("not_listening", since=mark)
            site(settings=settings)
            sited.signal(signal.SIGHUP)
            sited.wait_for("generation_ready", since=mark, count=2)
            # Each of them was opened anew.
            assert say(sited, sited.wait_for("listening", since=mark, count=2)["address"])
            for pid in workers:
                thaw(pid)
            try:
                return ask(waiting)[1] in workers
            except (ConnectionError, AssertionError):
                assert time.time() - moment(gone) >= PATIENCE_SECONDS
                return False

    # A machine with other things to do may take longer than that for a reload.
    assert any(comes_back() for _ in range(5))


@pytest.fixture
def taken() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield f"tcp://127.0.0.1:{other.getsockname()[1]}"


GOOD = 'plugins = ["./answerer.py"]\nworkers = 2\n'
BROKEN = {
    "no TOML": ({"settings": "plugins = ["}, "host.toml"),
    "unknown key": ({"settings": GOOD + "wrokers = 3\n"}, "workers"),
    "wrong type": ({"settings": GOOD.replace("= 2", '= "many"')}, "workers"),
    "unknown plugin": ({"settings": 'plugins = ["ehco"]\n'}, "echo"),
    "no protocol": ({"settings": 'plugins = ["weighted"]\n'}, "none of the selected plugins"),
    "syntax error": ({"code": "def on_readable(:\n"}, "answerer.py"),
    "import error": ({"code": "import nothing_like_that\n"}, "nothing_like_that"),
    "misspelt hook": ({"code": answerer().replace("readable", "readible")}, "on_readable"),
    "unknown option": ({"settings": GOOD + "[options.weighted]\nx = 1\n"}, "weighted"),
    "address in use": ({"settings": GOOD + 'listen = ["{taken}"]\n'}, "already in use"),
    "no folder": ({"settings": GOOD + 'listen = ["unix:nowhere/x.sock"]\n'}, "folder"),
    "exits": ({"code": "import os\nos._exit(7)\n"}, "by os._exit(7)"),
    "exits in C": ({"code": "import ctypes\nctypes.CDLL(None)._exit(7)\n"}, "exit code 7"),
    "kills itself": ({"code": "import os\nos.kill(os.getpid(), 9)\n"}, "SIGKILL"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_what_does_not_load_changes_nothing(
    sited: Host, site: Callable[..., None], taken: str, how: str
) -> None:
    written, said = BROKEN[how]
    with connect(sited.address) as session:
        _, pid, _ = ask(session)
        before = {say(sited)[0] for _ in range(2)}
        site(**{key: text.replace("{taken}", taken) for key, text in written.items()})
        sited.signal(signal.SIGHUP)
        failed = sited.wait_for("reload_failed")
        assert said in failed["reason"] + failed["details"]
        assert {say(sited)[0] for _ in range(2)} == before
        assert ask(session)[1] == pid
    assert not sited.events("generation_starting")
    site(answer=3)
    reload(sited)
    assert say(sited)[1] == 3


LATE = {
    "on_worker_start raises": "def on_worker_start(worker):\n    raise ValueError('not today')\n",
    "on_worker_start exits": "def on_worker_start(worker):\n    import os; os._exit(5)\n",
    "on_host_start raises": "def on_host_start(host):\n    raise ValueError('not today')\n",
}


@pytest.mark.parametrize("how", LATE)
def test_a_generation_that_fails_while_it_starts_is_harmless(
    sited: Host, site: Callable[..., None], how: str
) -> None:
    with connect(sited.address) as session:
        _, pid, _ = ask(session)
        site(code=answerer(2) + "\n@hookimpl\n" + LATE[how])
        sited.signal(signal.SIGHUP)
        failed = sited.wait_for("generation_failed")
        said = "exit code 5" if "exits" in how else "not today"
        assert said in failed["reason"] + failed["details"]
        if "worker" in how:
            sited.wait_for("worker_start_failed", count=3)
            assert len(sited.events("generation_failed")) == 1
        assert ask(session)[1] == pid
        assert {say(sited)[1] for _ in range(4)} == {1}
        site(answer=3)
        reload(sited)
        assert {say(sited)[1] for _ in range(4)} == {3}
        assert ask(session)[1] == pid


def test_a_death_of_the_old_generation_is_noticed_after_a_reload_as_well(start: Start) -> None:
    host = start(workers=1)
    with connect(host.address) as session:
        _, pid, _ = ask(session)
        reload(host)
        os.kill(pid, signal.SIGKILL)
        assert session.recv(1) == b""
        died = host.wait_for("worker_died", pid=pid)
        assert (died["cause"], died["next"]) == ("killed by SIGKILL", "it was on its way out")
    say(host)


def test_a_host_that_is_told_to_stop_while_it_reloads_stops(start: Start) -> None:
    host = start(workers=2)
    host.signal(signal.SIGHUP)
    host.wait_for("host_reloading")
    host.signal(signal.SIGTERM)
    assert host.wait() == 0


def test_many_signals_at_once_lead_to_one_state(start: Start) -> None:
    host = start(workers=2)
    for number in [signal.SIGHUP, signal.SIGTTIN, signal.SIGCHLD, signal.SIGTTOU] * 100:
        host.signal(number)
    host.wait_for("generation_ready")
    host.signal(signal.SIGTERM)
    assert host.wait() == 0


@pytest.mark.slow
def test_nothing_is_left_open_by_reloads(start: Start) -> None:
    name = fresh_name()
    host = start("--name", name, workers=2, listen=("tcp4", "unix"))
    counts = []
    for _ in range(5):
        reload(host)
        with at_rest(host, name):
            counts.append(len(descriptors(host.pid)))
    assert counts == counts[:1] * 5


def test_people_in_a_chat_hear_each_other_across_a_reload(start: Start) -> None:
    host = start(plugin="chat", workers=2, settings={"lifecycle.drain_timeout_seconds": 30})
    with ExitStack() as closing:

        def join(nick: str) -> Any:
            sock = closing.enter_context(connect(host.address))
            file = closing.enter_context(sock.makefile("rwb"))
            file.write(f"/nick {nick}\n/join #room\n".encode())
            file.flush()
            return file

        def hear(file: Any, words: bytes) -> None:
            while words not in (line := file.readline()):
                assert line

        ann = join("ann")
        hear(ann, b"#room")
        ann.write(b"before\n")
        ann.flush()
        hear(ann, b"before")
        reload(host)
        bob = join("bob")
        hear(bob, b"before")
        bob.write(b"after\n")
        bob.flush()
        hear(bob, b"after")


def can_unshare() -> bool:
    """Tell whether a process namespace of one's own may be made here."""
    tried = shutil.which("unshare") and subprocess.run(
        [*UNSHARED, "true"], check=False, capture_output=True
    )
    return bool(tried) and tried.returncode == 0


@pytest.mark.skipif(not can_unshare(), reason="no process namespace may be made here")
def test_it_reloads_as_process_one_too(tmp_path: Path) -> None:
    path = tmp_path / "one.sock"
    flags = ["--plugin", "echo", "--workers", "2", "--listen", f"unix:{path}"]
    program = [sys.executable, "-m", "host", *flags, "--log-format", "json"]
    hears_hangup = ["env", "--default-signal=HUP"]  # nohup(1) has the tests themselves ignore it
    with subprocess.Popen(
        [*hears_hangup, *UNSHARED, *program],
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment(),
    ) as host:
        try:
            assert host.stderr is not None

            def wait_for(word: str) -> str:
                assert host.stderr is not None
                for line in host.stderr:
                    if word in line:
                        return line
                raise AssertionError(f"the host has ended and never said {word}")

            wait_for('"host_ready"')
            children = Path(f"/proc/{host.pid}/task/{host.pid}/children").read_text()
            one = int(children.split()[0])
            os.kill(one, signal.SIGHUP)
            assert '"pid": 1' in wait_for('"generation_ready"')
            with connect(f"unix:{path}") as sock:
                sock.sendall(b"hello\n")
                assert sock.recv(100) == b"hello\n"
            os.kill(one, signal.SIGTERM)
            assert host.wait(20) == 0
        finally:
            host.kill()
