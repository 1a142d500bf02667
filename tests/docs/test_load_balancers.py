"""What the page on load balancers shows works with HAProxy as it stands."""

import shutil
import socket
import subprocess

import pytest

from host.testing.machine import patience
from support.asking import fresh_name
from support.hosting import eventually
from walkthrough import ROOT, blocks

FILES = {block.file: block.text for block in blocks(ROOT / "docs/load-balancers.md") if block.file}


def answers(port):
    """Tell whether somebody sends back what is sent to this port."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=patience(20)) as client:
            client.sendall(b"hello")
            return client.recv(100) == b"hello"
    except OSError:
        return False


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")
def test_the_files_work_together(host_server, tmp_path):
    (tmp_path / "host.toml").write_text(FILES["host.toml"].replace(":7000", ":0"))
    host = host_server(listen=(), flags=["--config", "host.toml", "--name", fresh_name()])
    with socket.create_server(("127.0.0.1", 0)) as free:
        front = free.getsockname()[1]
    text = FILES["haproxy.cfg"].replace(":7000", f":{host.port}").replace(":8000", f":{front}")
    (tmp_path / "haproxy.cfg").write_text(text)
    proxy = subprocess.Popen(["haproxy", "-db", "-f", "haproxy.cfg"], cwd=tmp_path)
    try:
        eventually(lambda: answers(front), "the host answers through the proxy")
        closed = host.wait_for("connection_closed", bytes_in=5)
        assert " via 127.0.0.1:" in closed["peer"]
    finally:
        proxy.kill()
        proxy.wait()
    assert host.stop() == 0
