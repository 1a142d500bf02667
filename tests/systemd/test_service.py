"""A service and its sockets under a real systemd: start, reload, crash, watchdog, restart, stop.

`tox -e systemd` runs this. It needs root, for the namespace and the control group.
"""

import os
import shutil
import signal
import socket
import sys

import pytest

from host.testing.machine import patience
from support.asking import fresh_name, query
from support.hosting import eventually
from systemd.manager import Systemd

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("systemctl") is None, reason="it needs root and systemd"
)

SETTINGS = """
name = "{name}"
workers = {workers}
plugins = ["echo"]
listen = ["fd:web", "tcp://127.0.0.1:{port}"]
"""


class Site:
    """A service with a socket unit, and a listener of its own."""

    def __init__(self, folder):
        self.systemd, self.name, self._folder = Systemd(folder), fresh_name(), folder
        with socket.create_server(("", 0)) as one, socket.create_server(("", 0)) as other:
            self.web, self.own = (each.getsockname()[1] for each in (one, other))
        self.configure()
        host = f"{sys.executable} -m host"
        self.systemd.write(
            "service.service",
            [
                "[Service]",
                "Type=notify",
                f"ExecStart={host} --config {folder}/host.toml",
                f"ExecReload={host} reload --name {self.name}",
                "Restart=on-failure",
                "RestartPreventExitStatus=2 3 4 7",
                "RestartSec=0",
                "KillMode=mixed",
                "WatchdogSec=3",
                "FileDescriptorStoreMax=8",
            ],
        )
        listen = [f"ListenStream=127.0.0.1:{self.web}", "FileDescriptorName=web"]
        self.systemd.write("service.socket", ["[Socket]", *listen])
        self.systemd.control("daemon-reload")
        self.systemd.control("start", "service.socket")

    def configure(self, workers="2"):
        text = SETTINGS.format(name=self.name, workers=workers, port=self.own)
        (self._folder / "host.toml").write_text(text)

    def ask(self, port):
        with socket.create_connection(("127.0.0.1", port), timeout=patience(20)) as client:
            client.sendall(b"hello")
            assert client.recv(100) == b"hello"

    @property
    def pid(self):
        return int(self.systemd.show("MainPID"))

    def close(self):
        self.systemd.control("stop", "service.socket", "service.service")
        self.systemd.close()


@pytest.fixture
def site(tmp_path):
    made = Site(tmp_path)
    yield made
    made.close()


def test_the_first_connection_starts_the_service(site):
    assert site.systemd.show("ActiveState") == "inactive"
    site.ask(site.web)
    assert site.systemd.show("ActiveState") == "active"
    assert site.systemd.show("StatusText") == "serving: 2 of 2 workers, generation 0"


def test_a_reload_is_over_when_it_is_and_fails_when_it_does(site):
    site.ask(site.web)
    pid = site.pid
    site.configure(workers="3")
    site.systemd.control("reload", "service.service")
    assert site.systemd.show("StatusText") == "serving: 3 of 3 workers, generation 1"
    site.configure(workers='"many"')
    site.systemd.control("reload", "service.service", fails=True)
    assert "; reload failed: " in site.systemd.show("StatusText")
    assert (site.systemd.show("ActiveState"), site.pid) == ("active", pid)
    site.ask(site.web)


def test_a_crash_refuses_nobody(site):
    site.ask(site.web)
    before = site.pid
    assert site.systemd.show("NFileDescriptorStore") == "1"  # the other one is the socket unit's
    os.kill(before, signal.SIGKILL)
    site.ask(site.own)
    site.ask(site.web)
    assert site.pid != before
    assert site.systemd.show("NRestarts") == "1"
    sources = [each["source"] for each in query(site.name, "status")["listeners"]]
    assert sources == ["passed", "stored"]


def test_a_supervisor_that_is_stuck_is_replaced(site):
    site.ask(site.web)
    before = site.pid
    os.kill(before, signal.SIGSTOP)
    eventually(lambda: site.pid not in (0, before), "another one is started")
    site.ask(site.own)


def test_who_connects_while_the_service_restarts_is_served(site):
    site.ask(site.web)
    site.systemd.control("restart", "--no-block", "service.service")
    for _ in range(200):
        site.ask(site.web)
    eventually(lambda: site.systemd.show("Job") == "", "it has restarted")
    site.ask(site.own)


def test_a_start_that_fails_says_why(site):
    site.configure(workers='"many"')
    site.systemd.control("start", "service.service", fails=True)
    assert site.systemd.show("StatusText").startswith("cannot start: ")
    assert site.systemd.show("ExecMainStatus") == "3"
    site.configure()
