"""What the page "Put it on the internet" shows works as it stands, but for the ports."""

import os
import shutil
import smtplib
import socket
import ssl
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from host.testing.machine import patience
from support.asking import fresh_name
from walkthrough import ROOT, blocks, prints

PAGE = blocks(ROOT / "docs/internet.md")
FILES = {block.file: block.text for block in PAGE if block.file}
SCRIPT = FILES["/etc/letsencrypt/renewal-hooks/deploy/service"]


def shell(start: str) -> str:
    """Return the block of commands that begins like this."""
    [text] = [each.text for each in PAGE if each.language == "sh" and each.text.startswith(start)]
    return text


def done(command: str, folder: Path, **variables: str) -> str:
    """Run commands that must succeed; return what they have printed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ended = subprocess.run(
        ["bash", "-ec", command],
        cwd=folder,
        env={**os.environ, "PATH": path, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=patience(60),
        check=False,
    )
    assert ended.returncode == 0, f"{command}\n{ended.stdout}{ended.stderr}"
    return ended.stdout


def test_the_try_works_from_the_certificate_to_the_commands(host_server, tmp_path):
    done(shell("openssl req"), tmp_path)
    (tmp_path / "host.toml").write_text(FILES["host.toml"])
    [(check, ok), (start, _)], asking = [
        block.commands() for block in PAGE if block.language == "console"
    ]
    assert prints(done(check, tmp_path), ok)
    assert start == "python -m host --config host.toml"
    (tmp_path / "host.toml").write_text(FILES["host.toml"].replace(":7000", ":0"))
    name = fresh_name()
    host = host_server(listen=(), flags=["--config", "host.toml", "--name", name])
    client = shell("(echo PING").replace(":7000", f":{host.port}")
    assert done(client, tmp_path).split() == ["+PONG", "+bye"]
    for command, output in asking:
        assert command.endswith("--name service")
        printed = done(command.replace("--name service", f"--name {name}"), tmp_path)
        assert prints(printed, output), printed
    assert host.stop() == 0


def test_the_script_gives_the_group_of_the_folder_both_files_and_nobody_else(tmp_path):
    there, here = tmp_path / "live", tmp_path / "tls"
    there.mkdir()
    here.mkdir()
    done(shell("openssl req"), there)
    done(SCRIPT, tmp_path, RENEWED_LINEAGE=str(there), SERVICE_TLS=str(here))
    assert sorted(path.name for path in here.iterdir()) == ["fullchain.pem", "privkey.pem"]
    for path in here.iterdir():
        assert path.read_bytes() == (there / path.name).read_bytes()
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        assert path.stat().st_gid == here.stat().st_gid


def test_the_settings_for_a_server_serve_ipv4_and_ipv6(host_server, tmp_path):
    [text] = [each.text for each in PAGE if each.language == "toml" and ":443" in each.text]
    done(shell("openssl req"), tmp_path)
    here = text.replace("/etc/service/tls", str(tmp_path))
    (tmp_path / "host.toml").write_text(f'plugins = ["line"]\n{here}')
    assert done("python -m host check host.toml", tmp_path).startswith("ok\n")
    (tmp_path / "host.toml").write_text(f'plugins = ["line"]\n{here.replace(":443", ":0")}')
    host = host_server(listen=(), flags=["--config", "host.toml", "--name", fresh_name()])
    context = ssl.create_default_context(cafile=str(tmp_path / "fullchain.pem"))
    addresses = [each["address"].rpartition(":") for each in host.events("listening")]
    assert [each[0] for each in addresses] == ["tcp://0.0.0.0", "tcp://[::]"]
    for local, (*_, port) in zip(("127.0.0.1", "::1"), addresses, strict=True):
        with (
            socket.create_connection((local, int(port)), timeout=patience(20)) as sock,
            context.wrap_socket(sock, server_hostname="localhost") as client,
        ):
            client.sendall(b"PING\n")
            assert client.recv(100).split() == [b"+PONG"]
    assert host.stop() == 0


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_takes_the_unit_with_the_port(tmp_path):
    unit = (ROOT / "contrib/systemd/252/service.service").read_text()
    text = unit.replace("/opt/service/.venv/bin/python", sys.executable)
    (tmp_path / "service.service").write_text(text)
    folder = tmp_path / "service.service.d"
    folder.mkdir()
    (folder / "port.conf").write_text(FILES["/etc/systemd/system/service.service.d/port.conf"])
    assert done("systemd-analyze verify ./service.service 2>&1", tmp_path) == ""


def test_tls_begins_in_the_middle(host_server, tmp_path):
    done(shell("openssl req"), tmp_path)
    (tmp_path / "mail.py").write_text(FILES["mail.py"])
    settings = FILES["mail.toml"].replace(":2525", ":0")
    (tmp_path / "mail.toml").write_text(settings)
    name = fresh_name()
    host = host_server(listen=(), flags=["--config", "mail.toml", "--name", name])
    client = shell("echo QUIT").replace(":2525", f":{host.port}")
    assert done(client, tmp_path).splitlines()[-1] == "221 bye"
    with smtplib.SMTP("127.0.0.1", host.port, timeout=patience(20)) as smtp:
        context = ssl.create_default_context(cafile=str(tmp_path / "fullchain.pem"))
        context.check_hostname = False
        assert smtp.starttls(context=context)[0] == 220
        assert smtp.ehlo() == (250, b"mail.example")
