"""Certificates of a running host: replaced while it serves, listed, and kept secret."""

from __future__ import annotations

import base64
import os
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest

from host.control import client as control
from host.errors import RemoteError
from host.testing.machine import patience
from support.certificates import Files, chain_of
from support.hosting import Host, eventually
from support.processes import links_to

pytestmark = pytest.mark.process

CONFIG = """
plugins = ["echo"]
[[listen]]
address = "tcp://127.0.0.1:0"
tls = "public"
[tls.public]
certificates = [{files}]
{table}
"""

HIDDEN = """
import ctypes
from host import hookimpl

def dumpable():
    return ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)  # PR_GET_DUMPABLE

class Hidden:
    @hookimpl
    def on_host_start(self, host):
        print("supervisor", dumpable())

    @hookimpl
    def on_accept(self, connection):
        connection.write(f"worker {dumpable()}".encode())
"""


@pytest.fixture
def files(authority):
    return authority.files("a", "a.example")


@pytest.fixture
def served(start_from, files):
    """Start a host with a certificate for a.example."""

    def begin(*flags, table="check_seconds = 0", **how):
        return start_from(CONFIG.format(files=files.toml, table=table), *flags, **how)

    return begin


def name_of(host: Host) -> str:
    return str(host.events("host_starting")[0]["name"])


def ask(host: Host, command: str, **args):
    return control.ask(name_of(host), command, args, patience(20))


def visit(host: Host, context: ssl.SSLContext) -> tuple[str, ...]:
    """Return the names of the certificate that a client is shown, after it has been served."""
    address = ("127.0.0.1", host.port)
    with (
        socket.create_connection(address, timeout=patience(20)) as sock,
        context.wrap_socket(sock, server_hostname="a.example") as client,
    ):
        client.sendall(b"hello")
        assert client.recv(16) == b"hello"
        return tuple(value for _, value in client.getpeercert()["subjectAltName"])


def test_all_workers_show_new_certificates_and_connections_go_on(served, files, authority):
    host, context = served(), authority.client()
    pids = {each["pid"] for each in ask(host, "status")["workers"]}
    with (
        socket.create_connection(("127.0.0.1", host.port), timeout=patience(20)) as sock,
        context.wrap_socket(sock, server_hostname="a.example") as before,
    ):
        files.write(authority.leaf("a.example", "new.example"))
        assert ask(host, "reload", certificates=True)["certificates"] == ["public"]
        for _ in range(8):
            assert "new.example" in visit(host, context)
        before.sendall(b"still")
        assert before.recv(16) == b"still"
    assert {each["pid"] for each in ask(host, "status")["workers"]} == pids
    assert host.stop() == 0


def test_they_are_taken_over_by_themselves(served, files, authority):
    host = served(table="check_seconds = 0.1")
    files.write(authority.leaf("a.example", "new.example"))
    host.wait_for("certificates_renewed", table="public")
    assert "new.example" in visit(host, authority.client())
    assert host.stop() == 0


def test_a_wrong_key_keeps_what_is_in_service(served, files, authority):
    host, context = served(table="check_seconds = 0.1"), authority.client()
    new = files.certificate.with_name("new")
    new.write_bytes(chain_of(authority.leaf("a.example", "new.example")))
    new.replace(files.certificate)
    refused = host.wait_for("certificates_refused", table="public")
    assert "does not fit" in refused["cause"]
    assert visit(host, context) == ("a.example",)
    with pytest.raises(RemoteError, match="does not fit"):
        ask(host, "reload", certificates=True)
    assert visit(host, context) == ("a.example",)
    with pytest.raises(RemoteError, match="does not fit"):
        ask(host, "reload")
    assert visit(host, context) == ("a.example",)
    assert host.stop() == 0


@pytest.mark.parametrize("which", ["certificate", "key"])
def test_what_is_no_file_keeps_what_is_in_service_and_nobody_waits(served, files, authority, which):
    host, context = served(table="check_seconds = 0.1"), authority.client()
    path, new = getattr(files, which), files.key.with_name("new")
    os.mkfifo(new)
    new.replace(path)  # at no moment is there nothing
    refused = host.wait_for("certificates_refused", table="public")
    assert "it is no regular file" in refused["cause"]
    with pytest.raises(RemoteError, match="it is no regular file"):
        ask(host, "reload", certificates=True)
    assert visit(host, context) == ("a.example",)
    path.unlink()
    files.write(authority.leaf("a.example", "new.example"))
    host.wait_for("certificates_renewed", table="public")
    assert "new.example" in visit(host, context)
    assert host.stop() == 0


def test_a_replaced_worker_and_a_reload_have_the_new_ones(served, files, authority):
    host, context = served(), authority.client()
    files.write(authority.leaf("a.example", "second.example"))
    ask(host, "reload", certificates=True)
    for slot in (0, 1):
        host.kill_worker(slot)
        host.wait_for("worker_ready", slot=slot, count=2)
    for _ in range(4):
        assert "second.example" in visit(host, context)
    files.write(authority.leaf("a.example", "third.example"))
    ask(host, "reload")
    host.wait_for("generation_ready")
    for _ in range(4):
        assert "third.example" in visit(host, context)
    assert host.stop() == 0


def test_rotation_under_load_fails_nobody_also_with_wrong_keys(served, files, authority):
    host, context = served(), authority.client()
    stop, failures, visits = threading.Event(), [], []

    def client() -> None:
        while not stop.is_set():
            try:
                visits.append(visit(host, context))
            except (OSError, AssertionError) as error:
                failures.append(repr(error))

    clients = [threading.Thread(target=client) for _ in range(3)]
    for each in clients:
        each.start()
    try:
        for number in range(10):
            leaf = authority.leaf("a.example", f"n{number}.example")
            files.certificate.write_bytes(chain_of(leaf))
            with pytest.raises(RemoteError, match="does not fit"):
                ask(host, "reload", certificates=True)
            files.write(leaf)
            assert ask(host, "reload", certificates=True)["certificates"] == ["public"]
    finally:
        stop.set()
        for each in clients:
            each.join()
    assert failures == []
    assert len(set(visits)) > 1
    assert "n9.example" in visit(host, context)
    assert host.stop() == 0


def test_certificates_are_listed(served, files, authority):
    host = served()
    (listed,) = ask(host, "certificates")["certificates"]
    assert (listed["tls"], listed["names"]) == ("public", ["a.example"])
    assert ask(host, "status")["certificates"][0]["fingerprint"] == listed["fingerprint"]
    said = ["openssl", "s_client", "-connect", f"127.0.0.1:{host.port}"]
    said += ["-servername", "a.example", "-CAfile", str(authority.file), "-verify_return_error"]
    shown = subprocess.run(said, input=b"", capture_output=True, check=True).stdout
    printed = subprocess.run(
        ["openssl", "x509", "-noout", "-fingerprint", "-sha256"],
        input=shown,
        capture_output=True,
        check=True,
    ).stdout.decode()
    assert printed.strip().partition("=")[2].replace(":", "").lower() == listed["fingerprint"]
    assert host.stop() == 0


def test_one_that_expires_is_warned_of(start_from, authority):
    files = authority.files("a", "a.example", days=5, age=85)
    host = start_from(CONFIG.format(files=files.toml, table=""))
    (warned,) = host.events("certificate_expires")
    assert warned["validity"].endswith("in 5 days")
    assert host.stop() == 0


def secrets_of(files: Files) -> list[bytes]:
    """Return pieces of a key in the forms in which it could be seen."""
    body = b"".join(files.key.read_bytes().splitlines()[1:-1])
    raw = base64.b64decode(body)
    return [body[20:44], raw[40:60], raw[40:60].hex().encode()]


def test_no_byte_of_a_key_is_seen_anywhere(served, files, authority, tmp_path):
    host = served()
    keys = secrets_of(files)
    files.write(authority.leaf("a.example"))
    keys += secrets_of(files)
    files.key.write_bytes(authority.leaf("b.example").private_key_pem.bytes())
    keys += secrets_of(files)
    results = []
    with pytest.raises(RemoteError) as caught:
        ask(host, "reload", certificates=True)
    results.append(str(caught.value))
    files.write(authority.leaf("a.example"))
    keys += secrets_of(files)
    ask(host, "reload", certificates=True)
    ask(host, "reload")
    host.wait_for("generation_ready")
    eventually(lambda: len(ask(host, "status")["workers"]) == 2, "the old workers have ended")
    results += [str(ask(host, each)) for each in ("status", "certificates", "applied")]
    seen = ["\n".join(results).encode()]
    for pid in [host.pid, *(each["pid"] for each in ask(host, "status")["workers"])]:
        seen += [Path(f"/proc/{pid}/{each}").read_bytes() for each in ("environ", "cmdline")]
        seen += [link.read_bytes() for link in links_to("memfd", pid)]
    assert host.stop() == 0
    seen.append(host.said().encode())
    for each in keys:
        assert not any(each in text for text in seen)


def test_processes_with_keys_hide_their_memory(served, authority, tmp_path):
    (tmp_path / "hidden.py").write_text(HIDDEN)
    host = served("--plugin", "echo", "--plugin", "./hidden.py")
    with (
        socket.create_connection(("127.0.0.1", host.port), timeout=patience(20)) as sock,
        authority.client().wrap_socket(sock, server_hostname="a.example") as client,
    ):
        assert client.recv(16) == b"worker 0"
    assert [each["text"] for each in host.events("plugin_printed")] == ["supervisor 0"]
    assert host.stop() == 0


def test_the_keys_of_sessions_are_logged_only_if_that_is_asked_for(served, authority, tmp_path):
    host = served("--tls-keylog", str(log := tmp_path / "keys"))
    (told,) = host.events("keys_logged")
    assert told["file"] == str(log)
    visit(host, authority.client())
    assert "SERVER_TRAFFIC_SECRET" in log.read_text()
    assert log.stat().st_mode & 0o077 == 0
    assert host.stop() == 0
