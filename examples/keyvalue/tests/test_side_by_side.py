"""A memcached of Debian and the plugin are sent the same, and their replies are compared."""

import getpass
import shutil
import socket
import subprocess
from random import Random

import pytest
import streams

from host.testing.machine import patience

STEPS = 300


@pytest.fixture
def memcached(tmp_path):
    """Run a memcached; return the path of its socket."""
    program = shutil.which("memcached")
    assert program, "memcached is not installed: apt-get install memcached"
    path = tmp_path / "memcached"
    command = [program, "-u", getpass.getuser(), "-s", str(path), "-vv"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            for line in process.stderr:
                if "server listening" in line:
                    break
            ask_memcached(path, b"verbosity 0\r\n")  # nobody reads what it would print
            yield path
        finally:
            process.terminate()


def ask_memcached(path, data):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(patience(20))
        client.connect(str(path))
        return replies(client, data)


def replies(client, data):
    """Send `data`; return all that comes until the server hangs up."""
    got = b""
    try:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        while piece := client.recv(65_536):
            got += piece
    except (ConnectionResetError, BrokenPipeError):  # it has hung up before it has read all
        pass
    return got


@pytest.mark.parametrize("seed", range(4))
def test_random_streams(memcached, host_server, seed):
    host = host_server("keyvalue")
    told = []
    for request in streams.stream(Random(seed), STEPS):
        told.append(request)
        expected = ask_memcached(memcached, request.common)
        with host.connect() as client:
            got = replies(client, request.common + request.swallowed)
        shown = "\n".join(f"{each.common[:200]!r} {each.swallowed!r}" for each in told[-12:])
        assert got == expected, f"after\n{shown}"
    assert host.stop() == 0
