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


def free_port():
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


needs_haproxy = pytest.mark.skipif(
    shutil.which("haproxy") is None, reason="haproxy is not installed"
)


@needs_haproxy
@pytest.mark.parametrize("name", ["haproxy.cfg", "machines.cfg"])
def test_haproxy_takes_the_file(name, tmp_path):
    (tmp_path / name).write_text(FILES[name])
    done = subprocess.run(
        ["haproxy", "-c", "-f", name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=patience(60),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr


@needs_haproxy
def test_a_machine_that_stops_gets_nobody_more(host_server, tmp_path):
    (tmp_path / "host.toml").write_text(FILES["host.toml"].replace(":7000", ":0"))
    flags = ["--config", "host.toml", "--ops", "tcp://127.0.0.1:0"]
    flags += ["--set", "lifecycle.shutdown_delay_seconds=3"]
    one, two = (host_server(listen=(), flags=[*flags, "--name", fresh_name()]) for _ in range(2))
    text, front = FILES["machines.cfg"].replace("inter 2s", "inter 100ms"), free_port()
    for address, host in (("10.0.0.1:7000", one), ("10.0.0.2:7000", two)):
        [listening] = host.events("ops_listening")
        ops = listening["address"].rpartition(":")[2]
        text = text.replace(f"{address} port 9180", f"127.0.0.1:{host.port} port {ops}")
    (tmp_path / "machines.cfg").write_text(text.replace(":8000", f":{front}"))
    proxy = subprocess.Popen(["haproxy", "-db", "-f", "machines.cfg"], cwd=tmp_path)
    try:
        for host in (one, two):
            eventually(lambda: answers(front), "a host answers through the proxy")
            eventually(
                lambda host=host: answers(front) and host.events("connection_closed", bytes_in=5),
                "this host has answered one of them",
            )
        assert one.stop() == 0
        # It has stopped only when all whom the proxy had sent to it were served.
        assert all(answers(front) for _ in range(10))
        assert " via 127.0.0.1:" in two.events("connection_closed", bytes_in=5)[-1]["peer"]
    finally:
        proxy.kill()
        proxy.wait()
    assert two.stop() == 0


@needs_haproxy
def test_the_files_work_together(host_server, tmp_path):
    (tmp_path / "host.toml").write_text(FILES["host.toml"].replace(":7000", ":0"))
    host = host_server(listen=(), flags=["--config", "host.toml", "--name", fresh_name()])
    front = free_port()
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
