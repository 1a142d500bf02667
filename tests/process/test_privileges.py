"""A host that root has started becomes another user, for good, before it loads a plugin."""

from __future__ import annotations

import grp
import os
import shutil
import signal
import socket
import stat
import struct
from pathlib import Path
from typing import Any

import pytest

import host
from support.address import connect
from support.hosting import SUPPORT, Host, eventually
from support.ordinary import NAME, NOBODY, Ordinary, free_reserved_port
from support.processes import of_session
from support.scenes import Scene

pytestmark = pytest.mark.process

RIGHTS = str(SUPPORT / "rights.py")
BIND = 1 << 10
"""CAP_NET_BIND_SERVICE in the sets of proc_pid_status(5)."""
SETS = ("CapInh", "CapPrm", "CapEff", "CapAmb")


def statuses(host: Host) -> dict[int, dict[str, str]]:
    """Return what proc_pid_status(5) has of each process of the host."""
    return {
        one.pid: dict(
            line.split(":", 1) for line in Path(f"/proc/{one.pid}/status").read_text().splitlines()
        )
        for one in of_session(host.pid)
    }


def check_rights(host: Host, *, kept: int) -> None:
    """No process is root's or has root's groups; the supervisor has `kept`, the others nothing."""
    found = statuses(host)
    assert len(found) >= 3
    for pid, status in found.items():
        assert status["Uid"].split() == [str(NOBODY)] * 4
        assert status["Gid"].split() == [str(NOBODY)] * 4
        assert status["Groups"].split() in ([], [str(NOBODY)])
        assert status["NoNewPrivs"].strip() == "1"
        mine = kept if pid == host.pid else 0
        assert [int(status[each], 16) for each in SETS] == [mine] * 4, (pid, status)


@pytest.mark.slow
@pytest.mark.parametrize(("keep", "kept"), [([], 0), (["bind"], BIND)])
def test_no_process_is_roots_before_or_after_a_reload(
    scene: Scene, keep: list[str], kept: int
) -> None:
    port = free_reserved_port()
    scene.listen = [{"address": f"tcp://127.0.0.1:{port}"}]
    scene.process["keep"] = keep
    host = scene.start()
    check_rights(host, kept=kept)
    for _ in range(5):
        assert scene.reload(host) == ""
    eventually(lambda: len(of_session(host.pid)) == 3, "the old workers have ended")
    check_rights(host, kept=kept)
    with connect(host.addresses[0]) as client:
        client.sendall(b"x\n")
        assert client.recv(10)


def answer(address: str, port: int) -> str:
    """Ask the plugin `rights` what it may do."""
    with connect(address) as client:
        client.sendall(f"{port}\n".encode())
        return client.recv(1000).decode().strip()


def test_plugins_are_imported_as_the_user_and_workers_keep_nothing(scene: Scene) -> None:
    port = free_reserved_port()
    scene.process |= {"keep": ["bind"], "umask": "0027"}
    host = scene.start(plugin=RIGHTS)
    # The supervisor still dies with who has started it, as `launcher.py` wants.
    expected = f"({NOBODY}, {NOBODY}, {NOBODY}) {int(signal.SIGKILL)} refused "
    assert answer(host.addresses[0], port) == f"{expected}27"
    scene.process["umask"] = "0077"
    assert scene.reload(host) == ""
    assert answer(host.addresses[0], port) == f"{expected}77"
    del scene.process["umask"]
    assert scene.reload(host) == ""
    as_started = os.umask(0o077)
    os.umask(as_started)
    assert answer(host.addresses[0], port) == f"{expected}{as_started:o}"


def test_workers_are_offered_to_the_kernel_first_and_end_with_the_supervisor(
    scene: Scene,
) -> None:
    host = scene.start()
    scores = {
        one.pid: int(Path(f"/proc/{one.pid}/oom_score_adj").read_text())
        for one in of_session(host.pid)
    }
    own = scores.pop(host.pid)
    assert set(scores.values()) == {own + 300}
    host.signal(signal.SIGKILL)
    assert host.wait() == -signal.SIGKILL
    eventually(lambda: not of_session(host.pid), "the workers end with the supervisor")


NOT_ROOT = "this host is not root's"
NOT_OWNER = "its mode, owner or group changes"


@pytest.mark.parametrize("keep", [[], ["bind"]])
@pytest.mark.parametrize("by", ["root", NAME])
def test_what_a_reload_can_add(scene: Scene, by: str, keep: list[str]) -> None:
    """Twelve cases: who has started the host, what it keeps, and what the reload changes."""
    file: dict[str, Any] = {"address": f"unix:{scene.own}/a.sock"}
    scene.listen.append(file)
    scene.process["keep"] = keep
    host = scene.start(uid=None if by == "root" else NOBODY)
    file["mode"] = 0o640
    assert scene.reload(host) == ""
    assert stat.S_IMODE((scene.own / "a.sock").stat().st_mode) == 0o640
    file["owner"] = "daemon"
    assert NOT_OWNER in scene.reload(host)
    del file["owner"]
    port = free_reserved_port()
    scene.listen.append({"address": f"tcp://127.0.0.1:{port}"})
    refused = scene.reload(host)
    if by == "root" and keep:
        assert refused == ""
        connect(f"tcp://127.0.0.1:{port}").close()
    else:
        assert f"tcp://127.0.0.1:{port}: Permission denied; {NOT_ROOT}" in refused
        assert 'process.keep = ["bind"]' in refused
    assert host.stop() == 0
    assert not list(scene.own.iterdir())


def test_user_group_and_keep_are_changed_by_a_restart_only(scene: Scene) -> None:
    host = scene.start()
    for changed in ({"user": "daemon"}, {"group": "daemon"}, {"keep": ["bind"]}):
        before = dict(scene.process)
        scene.process |= changed
        reason = scene.reload(host)
        assert reason.startswith(f"process.{next(iter(changed))} changes from ")
        assert reason.endswith(", which takes a restart")
        scene.process = before
    scene.process = {}
    assert 'process.user changes from "nobody" to ""' in scene.reload(host)
    assert set(host.workers.values()) <= {one.pid for one in of_session(host.pid)}


def test_the_host_of_root_cannot_become_a_user_by_a_reload(scene: Scene) -> None:
    scene.process = {}
    host = scene.start()
    scene.process = {"user": NAME}
    assert 'process.user changes from "" to "nobody"' in scene.reload(host)


def test_a_socket_file_in_a_folder_of_roots_is_the_users_and_stays(scene: Scene) -> None:
    path = scene.folder / "a.sock"
    scene.listen.append({"address": f"unix:{path}", "mode": 0o660, "group": "daemon"})
    for _ in range(2):  # what the first one leaves behind is replaced
        host = scene.start()
        found = path.lstat()
        assert (found.st_uid, found.st_gid) == (NOBODY, grp.getgrnam("daemon").gr_gid)
        assert stat.S_IMODE(found.st_mode) == 0o660
        with connect(f"unix:{path}") as client:
            uid = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            assert uid[1] == NOBODY
        assert scene.reload(host) == ""
        assert host.stop() == 0
        assert stat.S_ISSOCK(path.lstat().st_mode)


def test_root_is_led_nowhere_by_what_is_in_the_users_folder(scene: Scene) -> None:
    victim = scene.folder / "victim"
    victim.write_text("untouched\n")
    victim.chmod(0o600)
    link = scene.own / "a.sock"
    link.symlink_to(victim)
    scene.listen.append({"address": f"unix:{link}"})
    scene.refuse("it is no socket", code=5)
    scene.listen.pop()
    log = scene.own / "log"
    log.symlink_to(victim)
    scene.refuse("log.file", "--set", f"log.file={log}", code=3)
    log.unlink()
    log.hardlink_to(victim)
    scene.refuse("Permission denied", "--set", f"log.file={log}", code=3)
    assert victim.read_text() == "untouched\n"
    assert (victim.stat().st_uid, stat.S_IMODE(victim.stat().st_mode)) == (0, 0o600)


def test_root_makes_nothing_where_a_link_of_the_user_leads(scene: Scene) -> None:
    there = scene.folder / "there"
    there.mkdir()
    link = scene.own / "way"
    link.symlink_to(there)
    scene.refuse("could lead root to any file", "--set", f"log.file={link}/log", code=3)
    scene.refuse("profile.directory", "--set", f"profile.directory={link}/a/b", code=3)
    scene.listen.append({"address": f"unix:{link}/a.sock"})
    scene.refuse("Permission denied", code=5)
    assert not list(there.iterdir())


def test_a_log_file_of_roots_folder_is_the_users_and_is_opened_anew(scene: Scene) -> None:
    log, old = scene.folder / "host.log", scene.folder / "host.log.1"
    host = scene.start("--set", f"log.file={log}", ready=False)
    eventually(lambda: log.exists() and "host_ready" in log.read_text(), "the host is ready")
    assert log.stat().st_uid == NOBODY
    log.rename(old)
    host.signal(signal.SIGUSR1)
    eventually(lambda: "log_not_reopened" in old.read_text(), "the user may make no file there")
    log.touch(0o640)
    os.chown(log, NOBODY, NOBODY)
    host.signal(signal.SIGUSR1)
    eventually(lambda: "log_reopened" in log.read_text(), "what logrotate has made is opened")
    assert host.stop() == 0


def test_profiles_are_written_by_the_user(scene: Scene) -> None:
    folder = scene.folder / "profiles"
    host = scene.start("--profile", str(folder))
    assert folder.stat().st_uid == NOBODY
    assert host.stop() == 0
    assert len(list(folder.glob("worker-*.json"))) == 2
    assert host.other_output[0] == f"profile of 2 workers, in {folder}"
    host.other_output.clear()


def test_the_user_and_root_give_commands_also_after_a_reload(scene: Scene) -> None:
    host = scene.start()
    for _ in range(2):
        for uid, code in ((0, 0), (NOBODY, 0), (1, 10)):
            assert scene.command(uid, "status", "--name", scene.name).returncode == code
        assert scene.reload(host) == ""


def test_a_host_that_the_user_may_not_read_is_said_at_the_start(
    scene: Scene, tmp_path: Path, nobody: Ordinary
) -> None:
    home = tmp_path / "home-of-root"
    home.mkdir(0o700)
    (home / "host").symlink_to(Path(host.__file__).parent)
    env = nobody.env | {"PYTHONPATH": f"{home}{os.pathsep}{nobody.env['PYTHONPATH']}"}
    told = scene.refuse(f"that user may not read {home}/host/", code=3, env=env)
    assert 'process.user = "nobody"' in told


def test_what_cannot_be_is_said_in_one_message(scene: Scene) -> None:
    scene.process = {"user": "no-such-user"}
    scene.refuse('there is no user "no-such-user" on this machine', code=3)
    scene.process = {"user": NAME, "group": "no-such-group"}
    scene.refuse('process.group = "no-such-group"  there is no group "no-such-group"', code=3)
    scene.process = {"user": "54321"}
    scene.refuse("uid 54321 has no name on this machine", code=3)
    scene.process = {"user": "daemon"}
    scene.refuse("only root may become another user", code=3, uid=NOBODY)
    scene.process = {"user": "root", "group": "daemon"}
    scene.refuse("it is root that is given up", code=3)
    scene.process = {"user": NAME}
    scene.listen.append({"address": f"unix:{scene.own}/a.sock", "owner": "no-such-user"})
    scene.refuse('listen[1].owner = "no-such-user"', code=3)


def test_a_plugin_that_the_user_cannot_read_is_refused(scene: Scene) -> None:
    plugin = scene.folder / "secret.py"
    shutil.copy(RIGHTS, plugin)
    plugin.chmod(0o600)
    message = scene.refuse("secret.py", "--plugin", str(plugin), code=4)
    assert "Permission denied" in message
    checked = scene.command(0, "check", "--config", str(scene.file), "--plugin", str(plugin))
    assert checked.returncode == 4
    assert "Permission denied" in checked.stderr


def test_check_says_what_the_host_becomes(scene: Scene) -> None:
    scene.process["keep"] = ["bind"]
    scene.write()
    for uid in (0, 1):
        checked = scene.command(uid, "check", "--config", str(scene.file), "--plugin", "echo")
        assert checked.returncode == 0, checked.stderr
        assert f"it becomes {NAME} (uid {NOBODY}, gid {NOBODY})" in checked.stdout
        assert "keeps CAP_NET_BIND_SERVICE" in checked.stdout
