"""Proxies that people use hand connections on, and the host knows whose they are."""

import shutil
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from host.control import client as control
from host.testing.machine import patience
from support.asking import fresh_name
from support.hosting import SUPPORT, eventually

pytestmark = pytest.mark.process

ORIGINS = str(SUPPORT / "origins.py")
STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
needs_haproxy = pytest.mark.skipif(
    shutil.which("haproxy") is None, reason="haproxy is not installed (Debian: haproxy)"
)
needs_nginx = pytest.mark.skipif(
    not STREAM_MODULE.exists(), reason="nginx is not installed (Debian: libnginx-mod-stream)"
)
needs_curl = pytest.mark.skipif(
    shutil.which("curl") is None, reason="curl is not installed (Debian: curl)"
)
HAPROXY = """
defaults
  mode tcp
  timeout connect 5s
  timeout client 30s
  timeout server 30s
listen l
  bind {folder}/front.sock
  bind 127.0.0.1:{port}
  unique-id-format id%rt
  server one 127.0.0.1:{host} {options}
"""
NGINX = """
load_module {module};
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
stream {{
  server {{
    listen 127.0.0.1:{port};
    proxy_pass 127.0.0.1:{host};
    proxy_protocol on;
  }}
}}
"""


@pytest.fixture
def proxy(tmp_path):
    """Start a proxy with a configuration; the process that it is ends with the test."""
    running = []

    def start(text, command):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        path = tmp_path / "proxy.conf"
        path.write_text(text.replace("{port}", str(port)).replace("{folder}", str(tmp_path)))
        running.append(subprocess.Popen([*command, str(path)], stderr=subprocess.PIPE))
        eventually(lambda: is_there(port), "the proxy listens")
        return port

    yield start
    for process in running:
        process.send_signal(signal.SIGKILL)
        process.communicate()


def is_there(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def behind(host_server, tmp_path):
    """Start a host that takes headers of a version from this machine."""

    def start(version, *flags, proxies="127.0.0.1"):
        config = tmp_path / "host.toml"
        config.write_text(
            f'[[listen]]\naddress = "tcp://127.0.0.1:0"\n'
            f'proxy = "{version}"\nproxy_from = ["{proxies}"]\n'
        )
        given = ["--config", str(config), "--name", fresh_name(), *flags]
        return host_server(ORIGINS, listen=(), workers=2, flags=given)

    return start


def talk(port):
    """Have a client come through a proxy; return its address and what it was greeted with."""
    with socket.create_connection(("127.0.0.1", port), timeout=patience(20)) as client:
        with client.makefile("rwb", buffering=0) as file:
            greeting = file.readline()
            file.write(b"hello\n")
            assert file.readline() == b"hello\n"
        return "{}:{}".format(*client.getsockname()), greeting.decode().split(" ", 3)


@needs_haproxy
@pytest.mark.parametrize(
    ("version", "options"),
    [("v1", "send-proxy"), ("v2", "send-proxy-v2"), ("any", "send-proxy-v2")],
)
def test_haproxy(behind, proxy, version, options):
    host = behind(version)
    text = HAPROXY.replace("{host}", str(host.port)).replace("{options}", options)
    port = proxy(text, ["haproxy", "-db", "-f"])
    client, greeting = talk(port)
    assert greeting[0] == client
    assert greeting[1:3] == [options[-2:] if "v2" in options else "v1", client]
    assert host.stop() == 0


@needs_haproxy
def test_haproxy_with_a_checksum_and_an_id(behind, proxy):
    host = behind("v2")
    options = "send-proxy-v2 proxy-v2-options crc32c,unique-id"
    text = HAPROXY.replace("{host}", str(host.port)).replace("{options}", options)
    client, greeting = talk(proxy(text, ["haproxy", "-db", "-f"]))
    assert greeting[0] == client
    assert greeting[3].startswith("b'id")


@needs_haproxy
def test_haproxy_tells_of_the_tls_that_ends_there(behind, proxy, authority):
    host = behind("v2")
    files = authority.files("a", "a.example")
    both = authority.folder / "both.pem"  # as HAProxy wants them
    both.write_bytes(files.certificate.read_bytes() + files.key.read_bytes())
    bind = f"bind 127.0.0.1:{{port}} ssl crt {both} ca-file {authority.file} verify optional"
    options = "send-proxy-v2-ssl-cn proxy-v2-options ssl-cipher"
    text = HAPROXY.replace("bind 127.0.0.1:{port}", bind)
    text = text.replace("{host}", str(host.port)).replace("{options}", options)
    port = proxy(text, ["haproxy", "-db", "-f"])

    def greeting_of(certificate):
        context = authority.client(certificate)
        with (
            socket.create_connection(("127.0.0.1", port), timeout=patience(20)) as sock,
            context.wrap_socket(sock, server_hostname="a.example") as client,
            client.makefile("rb") as file,
        ):
            return file.readline().decode(), client.cipher()[0]

    greeting, cipher = greeting_of(authority.ca.issue_cert("b.example", common_name="bee"))
    assert f"version='TLSv1.3', cipher='{cipher}', common_name='bee', verified=True" in greeting
    greeting, cipher = greeting_of(None)
    assert f"version='TLSv1.3', cipher='{cipher}', common_name=None, verified=False" in greeting


@needs_haproxy
def test_checks_of_haproxy_are_told_to_no_plugin(behind, proxy):
    host = behind("any", "--set", "log.access=true")
    options = "check inter 50ms send-proxy-v2 check-send-proxy"
    text = HAPROXY.replace("{host}", str(host.port)).replace("{options}", options)
    port = proxy(text, ["haproxy", "-db", "-f"])

    def probes():
        return refusals(host)["probes"] + refusals(host)["gone"]

    eventually(lambda: probes() >= 5, "haproxy has looked five times")
    assert len(host.events("connection_closed")) <= 1  # that of who looked whether haproxy is there
    assert host.events("connections_refused") == []
    client, greeting = talk(port)
    assert greeting[0] == client


def status(host):
    [starting] = host.events("host_starting")
    return control.ask(starting["name"], "status", {}, patience(20))


def refusals(host):
    [listener] = status(host)["listeners"]
    return listener["refusals"]


@needs_nginx
def test_nginx(behind, proxy):
    host = behind("v1")
    text = NGINX.format(module=STREAM_MODULE, folder="{folder}", port="{port}", host=host.port)
    client, greeting = talk(proxy(text, ["nginx", "-e", "stderr", "-c"]))
    assert greeting[:3] == [client, "v1", client]


@needs_curl
def test_curl(behind):
    host = behind("v1")
    address = f"http://127.0.0.1:{host.port}/"
    command = ["curl", "-s", "--http0.9", "--haproxy-protocol", "--max-time", str(patience(1))]
    command.append(address)
    done = subprocess.run(command, capture_output=True, timeout=patience(60), check=False)
    assert b" v1 127.0.0.1:" in done.stdout
    assert b"GET / HTTP/1.1" in done.stdout


def test_a_client_that_pretends_to_be_a_proxy_is_refused(behind):
    host = behind("any", proxies="192.0.2.0/24")
    with host.connect() as client, suppress(ConnectionResetError):
        client.sendall(b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n")
        assert client.recv(100) == b""
    refused = host.wait_for("connections_refused")
    assert "is no proxy of proxy_from" in refused["why"]


def test_a_stop_waits_for_who_is_being_let_in(behind):
    host = behind("v1")
    with host.connect() as client:
        eventually(lambda: sum(active(host)) == 1, "it was accepted")
        client.sendall(b"PROXY TCP4 1.2.3.4 ")
        host.signal(signal.SIGTERM)
        host.wait_for("host_stopping")
        client.sendall(b"5.6.7.8 1 2\r\n")
        assert client.recv(100).startswith(b"1.2.3.4:1 v1 1.2.3.4:1")
    assert host.wait() == 0


def active(host):
    return [worker["active"] for worker in status(host)["workers"]]
