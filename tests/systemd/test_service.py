"""A service and its sockets under a real systemd: start, reload, crash, watchdog, restart, stop.

`tox -e systemd` runs this. It needs root, for the namespace and the control group.
"""

import os
import shutil
import signal
import socket
import sys
from pathlib import Path

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
listen = ["fd:web", "tcp://{own}"]
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

    def configure(self, workers="2", own="127.0.0.1"):
        text = SETTINGS.format(name=self.name, workers=workers, own=f"{own}:{self.own}")
        (self._folder / "host.toml").write_text(text)

    def ask(self, port):
        with socket.create_connection(("127.0.0.1", port), timeout=patience(20)) as client:
            client.sendall(b"hello")
            assert client.recv(100) == b"hello"

    def is_up(self):
        """Wait until systemd knows that the service has started, which clients may know before."""
        eventually(lambda: self.systemd.show("ActiveState") == "active", "it has started")

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
    site.is_up()
    assert site.systemd.show("StatusText") == "serving: 2 of 2 workers, generation 0"


def test_a_reload_is_over_when_it_is_and_fails_when_it_does(site):
    site.ask(site.web)
    site.is_up()
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
    site.is_up()
    before = site.pid
    assert site.systemd.show("NFileDescriptorStore") == "1"  # the other one is the socket unit's
    os.kill(before, signal.SIGKILL)
    site.ask(site.own)
    site.ask(site.web)
    assert site.pid != before
    site.is_up()
    assert site.systemd.show("NRestarts") == "1"
    sources = [each["source"] for each in query(site.name, "status")["listeners"]]
    assert sources == ["passed", "stored"]


def test_a_crash_and_other_settings_at_once(site):
    """The stored socket is out of the way before the new address is bound."""
    site.ask(site.web)
    site.is_up()
    site.configure(own="0.0.0.0")
    os.kill(site.pid, signal.SIGKILL)
    site.ask(site.web)
    listeners = query(site.name, "status")["listeners"]
    assert [each["address"] for each in listeners][1] == f"tcp://0.0.0.0:{site.own}"
    assert [each["source"] for each in listeners] == ["passed", "opened"]
    site.is_up()
    assert site.systemd.show("NFileDescriptorStore") == "1"
    site.ask(site.own)


def test_a_supervisor_that_is_stuck_is_replaced(site):
    site.ask(site.web)
    site.is_up()
    before = site.pid
    os.kill(before, signal.SIGSTOP)
    eventually(lambda: site.pid not in (0, before), "another one is started")
    site.ask(site.own)


def test_who_connects_while_the_service_restarts_is_served(site):
    site.ask(site.web)
    site.is_up()
    site.systemd.control("restart", "--no-block", "service.service")
    for _ in range(200):
        site.ask(site.web)
    eventually(lambda: site.systemd.show("Job") == "", "it has restarted")
    site.ask(site.own)


ELSEWHERE = ("DynamicUser", "PrivateDevices", "PrivateMounts", "PrivateTmp", "Protect")
"""What a user's systemd has not, what a container may not do, and what may hide the interpreter."""


def test_the_host_works_with_the_system_calls_and_without_the_rights_of_the_unit(site, tmp_path):
    unit = (Path(__file__).parents[2] / "contrib/systemd/252/service.service").read_text()
    unit = unit.replace("/opt/service/.venv/bin/python", sys.executable)
    unit = unit.replace("/etc/service", str(tmp_path)).replace(
        "--name service", f"--name {site.name}"
    )
    lines = [line for line in unit.splitlines() if not line.startswith(ELSEWHERE)]
    site.systemd.write("service.service", lines)
    site.systemd.control("daemon-reload")
    site.ask(site.web)
    site.is_up()
    site.configure(workers="3")
    site.systemd.control("reload", "service.service")
    assert site.systemd.show("StatusText") == "serving: 3 of 3 workers, generation 1"
    assert query(site.name, "status")["listeners"][0]["waiting"] == 0
    site.ask(site.own)
    site.systemd.control("stop", "service.service")
    assert site.systemd.show("Result") == "success"
    assert site.systemd.show("ExecMainStatus") == "0"


def test_a_start_that_fails_says_why(site):
    site.configure(workers='"many"')
    site.systemd.control("start", "service.service", fails=True)
    assert site.systemd.show("StatusText").startswith("cannot start: ")
    assert site.systemd.show("ExecMainStatus") == "3"
    site.configure()
