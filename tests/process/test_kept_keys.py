"""Keys that root alone may read, of a host that becomes another user."""

from __future__ import annotations

import base64
import os
import socket
from pathlib import Path

import pytest

from host.testing.machine import patience
from support.certificates import Authority, Files, chain_of
from support.hosting import Host, eventually
from support.ordinary import NAME, NOBODY
from support.processes import links_to, of_session
from support.scenes import Scene

pytestmark = pytest.mark.process

STALE = "cannot be read again: root has read it when the host started"
CURE = "restart the host, or let its user read it: by a group, or as a credential"


class Keys:
    """A certificate in a folder of root's, a host that uses it, and clients that trust it."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.folder = scene.folder / "tls"
        self.folder.mkdir()
        self.authority = Authority(self.folder)
        self.files: Files = self.authority.files("a", "a.example")
        self.close(self.files.key)
        scene.listen[0]["tls"] = "public"
        self.use(self.files)

    @staticmethod
    def close(path: Path) -> None:
        """Let root alone read a file."""
        path.chmod(0o600)

    def use(self, files: Files) -> None:
        """Have the settings name these files."""
        self.scene.more = f"[tls.public]\ncertificates = [{files.toml}]\ncheck_seconds = 0\n"

    def replace(self, *names: str) -> None:
        """Issue another certificate, with a new key."""
        leaf = self.authority.leaf("a.example", *names)
        self.files.certificate.write_bytes(chain_of(leaf))
        new = self.folder / "new"
        new.write_bytes(leaf.private_key_pem.bytes())
        new.chmod(self.files.key.stat().st_mode & 0o777)
        new.rename(self.files.key)

    def names(self, host: Host) -> tuple[str, ...]:
        """Return the names of the certificate that a client is shown."""
        port = int(host.addresses[0].rpartition(":")[2])
        with (
            socket.create_connection(("127.0.0.1", port), timeout=patience(20)) as sock,
            self.authority.client().wrap_socket(sock, server_hostname="a.example") as client,
        ):
            client.sendall(b"hello\n")
            assert client.recv(16)
            return tuple(value for _, value in client.getpeercert()["subjectAltName"])

    def renew(self, host: Host) -> str:
        """Run `reload --certificates`; return what it says to standard error."""
        done = self.scene.command(0, "reload", "--certificates", "--name", self.scene.name)
        assert (done.returncode == 0) == (not done.stderr), done
        return done.stderr


@pytest.fixture
def keys(scene: Scene) -> Keys:
    return Keys(scene)


@pytest.mark.parametrize("readable", [True, False])
@pytest.mark.parametrize("how", ["reload", "certificates"])
def test_a_new_key_is_taken_or_the_old_pair_serves_on(keys: Keys, readable: bool, how: str) -> None:
    """Four cases: whether the user may read the key, and what is to take a new one over."""
    if readable:
        os.chown(keys.files.key, NOBODY, NOBODY)
    host = keys.scene.start(plugin="echo")
    assert keys.scene.reload(host) == ""
    assert keys.renew(host) == ""
    assert keys.names(host) == ("a.example",)
    keys.replace("new.example")
    if readable:
        os.chown(keys.files.key, NOBODY, NOBODY)
    refused = keys.scene.reload(host) if how == "reload" else keys.renew(host)
    if readable:
        assert refused == ""
        assert "new.example" in keys.names(host)
    else:
        told = str(host.events("reload_failed")[-1]) if how == "reload" else refused
        assert "the key does not fit the certificate" in told
        assert f"{keys.files.key} {STALE}" in told
        assert CURE in told
        assert keys.names(host) == ("a.example",)
        keys.scene.name += "-again"  # root starts another, which reads the new one
        assert "new.example" in keys.names(keys.scene.start(plugin="echo"))


def test_a_folder_of_roots_is_kept_as_a_whole_and_links_in_it_are_followed(keys: Keys) -> None:
    live = keys.folder / "live"
    live.mkdir()
    linked = Files(live / "fullchain.pem", live / "privkey.pem")
    for link, path in zip(linked, keys.files, strict=True):
        link.symlink_to(os.path.relpath(path, live))
    keys.use(linked)
    keys.folder.chmod(0o700)
    host = keys.scene.start(plugin="echo")
    keys.replace("new.example")
    assert keys.scene.reload(host) == ""  # nobody can tell that there is a new one
    assert keys.names(host) == ("a.example",)
    told = keys.renew(host)
    assert f"{linked.certificate}, {linked.key} {STALE}" in told
    assert CURE in told


def test_a_new_certificate_of_the_same_key_is_taken(keys: Keys) -> None:
    host = keys.scene.start(plugin="echo")
    renewed = keys.authority.renewed(keys.files, "a.example", "again.example")
    keys.files.certificate.write_bytes(renewed)
    assert keys.renew(host) == ""
    assert "again.example" in keys.names(host)


def test_a_key_that_its_user_may_read_only_later_is_taken_by_itself(keys: Keys) -> None:
    keys.files.key.chmod(0o644)
    keys.scene.more = keys.scene.more.replace("check_seconds = 0", "check_seconds = 0.1")
    host = keys.scene.start(plugin="echo")
    keys.files.key.chmod(0o600)  # as what renews it may leave it
    keys.replace("new.example")
    refused = host.wait_for("certificates_refused")
    assert "the user of the host may not do so" in refused["cause"]
    keys.files.key.chmod(0o644)
    host.wait_for("certificates_renewed")
    assert "new.example" in keys.names(host)


def test_a_reload_cannot_name_another_key_of_roots(keys: Keys) -> None:
    host = keys.scene.start(plugin="echo")
    other = keys.authority.files("b", "a.example")
    keys.close(other.key)
    keys.use(other)
    assert keys.scene.reload(host)
    assert "the user of the host may not do so" in str(host.events("reload_failed")[-1])
    keys.use(keys.files)
    assert keys.scene.reload(host) == ""


def test_a_reload_that_leaves_tls_out_forgets_nothing(keys: Keys) -> None:
    host = keys.scene.start(plugin="echo")
    with_tls, keys.scene.more = keys.scene.more, ""
    del keys.scene.listen[0]["tls"]
    assert keys.scene.reload(host) == ""
    keys.scene.more, keys.scene.listen[0]["tls"] = with_tls, "public"
    assert keys.scene.reload(host) == ""
    assert keys.names(host) == ("a.example",)


def test_root_is_led_to_no_file_by_the_user(keys: Keys) -> None:
    for make in (Path.symlink_to, Path.hardlink_to):
        led = keys.scene.own / f"{make.__name__}.key"
        make(led, keys.files.key)
        keys.use(Files(keys.files.certificate, led))
        told = keys.scene.refuse("root does not do it", code=3)
        assert f"{keys.scene.own} is a folder that the user of the host may write to" in told
        checked = keys.scene.command(0, "check", "--config", str(keys.scene.file))
        assert checked.returncode == 3
        assert "root does not do it" in checked.stderr


def test_check_by_root_says_what_it_reads(keys: Keys) -> None:
    keys.scene.write()
    words = ("check", "--config", str(keys.scene.file), "--plugin", "echo")
    checked = keys.scene.command(0, *words)
    assert checked.returncode == 0, checked.stderr
    assert f"{keys.files.key} is read by root at the start, as {NAME} may not" in checked.stderr
    os.chown(keys.files.key, NOBODY, NOBODY)
    assert keys.scene.command(0, *words).stderr == ""


def test_check_against_a_host_of_roots_that_is_to_become_a_user(keys: Keys) -> None:
    keys.scene.process = {}
    keys.scene.start(plugin="echo")
    keys.scene.process = {"user": NAME}
    keys.scene.write()
    words = ("check", "--config", str(keys.scene.file), "--plugin", "echo")
    checked = keys.scene.command(0, *words, "--against-running", keys.scene.name)
    assert checked.returncode == 0, checked.stderr
    assert f'process.user "" -> "{NAME}"' in " ".join(checked.stdout.split())


# How the files in memory with certificates are called.
SEALED = "memfd:certificates"

STARTING = """
import os, subprocess, sys
from host import hookimpl

LIST = "import os; print(os.popen(f'ls -l /proc/{os.getpid()}/fd 2>/dev/null').read().split())"

def program():
    return subprocess.check_output([sys.executable, "-c", LIST], text=True)

def found():
    for number in os.listdir("/proc/self/fd"):
        try:
            yield os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            pass

def forked():
    read, write = os.pipe()
    if os.fork() == 0:
        os.write(write, str(list(found())).encode())
        os._exit(0)
    os.wait()
    return os.read(read, 10000).decode()

print(f"a program of the imported: {program()}")

class Starting:
    @hookimpl
    def on_host_start(self, host):
        print(f"a program: {program()}")
        print(f"a fork: {forked()}")
"""


def secrets_of(path: Path) -> list[bytes]:
    """Return the key in its forms: lines of PEM, and its bytes."""
    lines = path.read_bytes().splitlines()[1:-1]
    return [*(line for line in lines if len(line) > 30), base64.b64decode(b"".join(lines))]


def test_the_supervisor_alone_keeps_it_and_no_byte_is_seen(keys: Keys) -> None:
    plugin = keys.scene.folder / "starting.py"
    plugin.write_text(STARTING)
    host = keys.scene.start("--plugin", str(plugin), plugin="echo")
    shown = []
    for _ in range(3):
        assert keys.scene.reload(host) == ""
        eventually(lambda: len(of_session(host.pid)) == 3, "the old workers have ended")
        (kept,) = links_to(SEALED, host.pid)
        assert all(secret in kept.read_bytes() for secret in secrets_of(keys.files.key)[:1])
        for one in of_session(host.pid):
            if one.pid != host.pid:
                assert not links_to(SEALED, one.pid), one
            proc = Path(f"/proc/{one.pid}")
            shown += [(proc / each).read_bytes() for each in ("environ", "cmdline")]
    told = [str(each["text"]) for each in host.events("plugin_printed")]
    assert len(told) >= 8  # at the start, and of each reload by its rehearsal and by itself
    assert not [text for text in told if "certificates" in text]
    for words in (("status", "--json"), ("certificates",)):
        done = keys.scene.command(0, *words, "--name", keys.scene.name)
        assert done.returncode == 0, done.stderr
        shown.append(done.stdout.encode())
    shown.append(host.said().encode())
    for secret in secrets_of(keys.files.key):
        assert not any(secret in text for text in shown)
