"""`examples/cluster`: one command runs two hosts and Redis, and its page says what is seen."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from host.testing.machine import patience
from support.hosting import environment
from support.processes import everyone
from support.talkers import Client
from walkthrough import ROOT, Block, Running, blocks, prints

pytestmark = pytest.mark.process

FOLDER = ROOT / "examples" / "cluster"
SESSIONS = [block for block in blocks(FOLDER / "README.md") if block.language == "console"]


class Cluster(Running):
    """The script, with what it has started."""

    def __init__(self) -> None:
        super().__init__(f"exec {sys.executable} run.py --port 0", FOLDER, environment())
        for number in (1, 2):
            self.wait_for(rf"host{number} \| .* ready: 2 workers")
            self.wait_for(rf"host{number} \| .* the bus is connected")

    def address(self, number: int) -> str:
        """Return where a host listens."""
        return self.wait_for(rf"host{number} \| .*listening on (tcp://127.0.0.1:\d+),")[1]

    def pid(self, name: str) -> int:
        """Return the process of a host, or of Redis."""
        return int(self.wait_for(rf"(?m)^{name} \| process (\d+)$")[1])

    def signal(self, number: int) -> None:
        """Send the script a signal."""
        self._process.send_signal(number)

    def wait(self) -> int:
        """Wait until it has ended, and with it all that it has started; return the exit code."""
        sessions = {self.pid(name) for name in ("redis", "host1", "host2")}
        code = self._process.wait(patience(60))
        assert not [one for one in everyone() if one.session in sessions], "left over"
        folder = self.wait_for(r"at (/\S+)/redis\.sock")[1]
        assert not Path(folder).exists()
        return code


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster()
    yield made
    if made._process.poll() is None:
        made.signal(signal.SIGINT)
        made.wait()
    made.kill()


def follow(session: Block, cluster: Cluster) -> None:
    """Type the commands of a session, with the ports that the system has chosen."""
    for command, output in session.commands():
        for number in (1, 2):
            port = cluster.address(number).rpartition(":")[2]
            command = command.replace(f"700{number}", port)  # noqa: PLW2901
        done = subprocess.run(
            ["bash", "-c", command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=patience(30),
            check=True,
        )
        assert prints(done.stdout.replace("\r", ""), output), done.stdout


def test_the_page_says_what_is_seen(cluster: Cluster) -> None:
    started, talked = SESSIONS
    [(command, output)] = started.commands()
    assert command == "python run.py"
    assert prints(cluster.said, output), cluster.said
    follow(talked, cluster)
    cluster.signal(signal.SIGINT)
    assert cluster.wait() == 0


def test_a_host_that_is_killed_is_missed_and_the_other_goes_on(cluster: Cluster) -> None:
    with ExitStack() as stack:
        ada, bob = (stack.enter_context(Client(cluster.address(each))) for each in (1, 2))
        for client, nick in ((ada, "ada"), (bob, "bob")):
            client.ask(f"/nick {nick}", rf"-- \w+ is now {nick}$")
            client.ask("/join #lobby", rf"-- {nick} has joined #lobby")
        ada.wait_for(r"-- bob has joined #lobby \(2 here\)$")
        subprocess.run(["kill", "-9", str(cluster.pid("host2"))], check=True)
        cluster.wait_for(r"host2 \| has ended: SIGKILL")
        ada.wait_for(r"-- bob has quit \(connection lost\)$", seconds=20.0)
        ada.ask("/nick bob", r"-- ada is now bob$")
    cluster.signal(signal.SIGTERM)
    assert cluster.wait() == 0


def test_it_ends_with_its_broker(cluster: Cluster) -> None:
    subprocess.run(["kill", str(cluster.pid("redis"))], check=True)
    assert cluster.wait() == 1
    cluster.wait_for(r"(?m)^the broker has ended$")
