"""A host that root has started becomes another user, for good, before it loads a plugin."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.address import connect
from support.hosting import Host, Start, eventually
from support.ordinary import NAME, NOBODY, Ordinary, free_reserved_port, ordinary
from support.processes import of_session

pytestmark = pytest.mark.process

BIND = 1 << 10
"""CAP_NET_BIND_SERVICE in the sets of proc_pid_status(5)."""
SETS = ("CapInh", "CapPrm", "CapEff", "CapAmb")


@pytest.fixture(scope="module")
def nobody() -> Iterator[Ordinary]:
    with ordinary() as found:
        yield found


class Scene:
    """A host that becomes nobody, its settings file, and a folder that nobody may not write to."""

    def __init__(self, start: Start, nobody: Ordinary, folder: Path) -> None:
        self._start, self._nobody, self.folder = start, nobody, folder
        self.file = folder / "host.toml"
        self.own = folder / "own"
        self.own.mkdir()
        os.chown(self.own, NOBODY, NOBODY)
        self.listen: list[dict[str, Any]] = [{"address": "tcp://127.0.0.1:0"}]
        self.process: dict[str, Any] = {"user": NAME}

    def write(self) -> None:
        """Write the settings."""

        def table(values: dict[str, Any]) -> str:
            return "".join(f"{key} = {_toml(value)}\n" for key, value in values.items())

        tables = ["[[listen]]\n" + table(each) for each in self.listen]
        self.file.write_text("\n".join([*tables, "[process]\n" + table(self.process)]))

    def start(self, *flags: str, **others: Any) -> Host:
        """Start the host."""
        self.write()
        given = {"listen": (), "python": self._nobody.python, "env": self._nobody.env, **others}
        name = f"privileges-{os.getpid()}-{self.folder.name}"
        return self._start("--config", str(self.file), "--name", name, *flags, **given)

    def reload(self, host: Host) -> str:
        """Reload; return why it is refused, or "" if the new generation is ready."""
        self.write()
        mark = host.mark()
        host.signal(signal.SIGHUP)
        ends = ("generation_ready", "reload_failed", "generation_failed")
        eventually(lambda: any(host.events(each, since=mark) for each in ends), "the reload ends")
        failed = [*host.events("reload_failed", since=mark)]
        failed += host.events("generation_failed", since=mark)
        return failed[0]["reason"] if failed else ""


def _toml(value: object) -> str:
    return f"0o{value:o}" if isinstance(value, int) else repr(value).replace("'", '"')


@pytest.fixture
def scene(start: Start, nobody: Ordinary, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder = nobody.folder / f"scene-{len(list(nobody.folder.iterdir()))}"
    folder.mkdir()
    return Scene(start, nobody, folder)


def statuses(host: Host) -> dict[int, dict[str, str]]:
    """Return what proc_pid_status(5) has of each process of the host."""
    return {
        one.pid: dict(
            line.split(":", 1) for line in Path(f"/proc/{one.pid}/status").read_text().splitlines()
        )
        for one in of_session(host.pid)
    }


def check_rights(host: Host, *, kept: int) -> None:
    """No process is root's or has root's groups; the supervisor has `kept`, the others nothing."""
    found = statuses(host)
    assert len(found) >= 3
    for pid, status in found.items():
        assert status["Uid"].split() == [str(NOBODY)] * 4
        assert status["Gid"].split() == [str(NOBODY)] * 4
        assert status["Groups"].split() in ([], [str(NOBODY)])
        assert status["NoNewPrivs"].strip() == "1"
        mine = kept if pid == host.pid else 0
        assert [int(status[each], 16) for each in SETS] == [mine] * 4, (pid, status)


@pytest.mark.parametrize(("keep", "kept"), [([], 0), (["bind"], BIND)])
def test_no_process_is_roots_before_or_after_a_reload(
    scene: Scene, keep: list[str], kept: int
) -> None:
    port = free_reserved_port()
    scene.listen = [{"address": f"tcp://127.0.0.1:{port}"}]
    scene.process["keep"] = keep
    host = scene.start()
    check_rights(host, kept=kept)
    for _ in range(5):
        assert scene.reload(host) == ""
    eventually(lambda: len(of_session(host.pid)) == 3, "the old workers have ended")
    check_rights(host, kept=kept)
    with connect(host.addresses[0]) as client:
        client.sendall(b"x\n")
        assert client.recv(10)
