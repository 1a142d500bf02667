"""Certificates of a running host: replaced while it serves, listed, and kept secret."""

from __future__ import annotations

import base64
import os
import subprocess
from pathlib import Path

import pytest

from host.control import client as control
from host.errors import RemoteError
from host.testing.machine import patience
from support.asking import fresh_name
from support.certificates import Authority, Files, chain_of
from support.hosting import Host

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


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def files(authority):
    return authority.files("a", "a.example")


@pytest.fixture
def served(start, files, tmp_path):
    """Start a host with a certificate for a.example."""

    def begin(*flags, table="check_seconds = 0", **how):
        config = tmp_path / "host.toml"
        config.write_text(CONFIG.format(files=files.toml, table=table))
        given = ["--config", str(config), "--name", fresh_name(), *flags]
        return start(*given, plugin=None, listen=(), **how)

    return begin


def name_of(host: Host) -> str:
    return str(host.events("host_starting")[0]["name"])


def ask(host: Host, command: str, **args):
    return control.ask(name_of(host), command, args, patience(20))


def test_they_are_taken_over_by_themselves(served, files, authority):
    host = served(table="check_seconds = 0.1")
    files.write(authority.leaf("a.example", "new.example"))
    host.wait_for("certificates_renewed", table="public")
    (listed,) = ask(host, "certificates")["certificates"]
    assert "new.example" in listed["names"]
    assert host.stop() == 0


def test_a_wrong_key_keeps_what_is_in_service(served, files, authority):
    host = served(table="check_seconds = 0.1")
    files.certificate.write_bytes(chain_of(authority.leaf("a.example", "new.example")))
    refused = host.wait_for("certificates_refused", table="public")
    assert "does not fit" in refused["cause"]
    with pytest.raises(RemoteError, match="does not fit"):
        ask(host, "reload", certificates=True)
    with pytest.raises(RemoteError, match="does not fit"):
        ask(host, "reload")
    (listed,) = ask(host, "certificates")["certificates"]
    assert listed["names"] == ["a.example"]
    assert host.stop() == 0


def test_certificates_are_listed(served, files, authority):
    host = served()
    (listed,) = ask(host, "certificates")["certificates"]
    assert (listed["tls"], listed["names"]) == ("public", ["a.example"])
    assert ask(host, "status")["certificates"][0]["fingerprint"] == listed["fingerprint"]
    printed = subprocess.run(
        ["openssl", "x509", "-noout", "-fingerprint", "-sha256", "-in", str(files.certificate)],
        capture_output=True,
        check=True,
    ).stdout.decode()
    assert printed.strip().partition("=")[2].replace(":", "").lower() == listed["fingerprint"]
    assert host.stop() == 0


def test_one_that_expires_is_warned_of(start, authority, tmp_path):
    files = authority.files("a", "a.example", days=5, age=85)
    config = tmp_path / "host.toml"
    config.write_text(CONFIG.format(files=files.toml, table=""))
    host = start("--config", str(config), "--name", fresh_name(), plugin=None, listen=())
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
    results += [str(ask(host, each)) for each in ("status", "certificates", "applied")]
    seen = ["\n".join(results).encode()]
    for pid in [host.pid, *(each["pid"] for each in ask(host, "status")["workers"])]:
        seen += [Path(f"/proc/{pid}/{each}").read_bytes() for each in ("environ", "cmdline")]
        for link in Path(f"/proc/{pid}/fd").iterdir():
            if "memfd" in os.readlink(link):
                seen.append(link.read_bytes())
    assert host.stop() == 0
    seen.append(host.said().encode())
    for each in keys:
        assert not any(each in text for text in seen)
