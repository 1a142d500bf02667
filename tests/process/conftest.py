"""Fixtures that start hosts and clients, and see to it that nothing is left of them."""

from __future__ import annotations

import compileall
import fcntl
import itertools
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import host
import host.plugins
import host.settings
from host.settings import BusSettings
from host.testing.machine import patience
from prefork_pytest import hosts_of
from support.asking import fresh_name
from support.bus_world import World, more_members
from support.certificates import Authority
from support.hosting import WHOAMI, Host, Load, Refusal, Refuse, Start, command, environment
from support.ordinary import Ordinary, UnreachableError, ordinary
from support.processes import everyone
from support.redis_server import RedisServer
from support.scenes import Scene
from support.service_manager import FakeManager
from support.warm import Warm

NUMBERS = itertools.count()
PATIENCE_MS = 20_000
"""A machine with other things to do must not make a worker look hung that is none, or tests of
what schedulers decide would depend on the machine. Tests of hung workers use the default."""

LISTEN = {"tcp4": "tcp://127.0.0.1:0", "tcp6": "tcp://[::1]:0"}


def listen_flags(folder: Path, listen: tuple[str, ...], host: int) -> list[str]:
    """Return flags for `tcp4`, `tcp6`, `unix` or a whole address, each perhaps with `=PLUGIN`."""
    flags = []
    for number, text in enumerate(listen):
        kind, equals, plugin = text.partition("=")
        address = (
            f"unix:{folder}/{host}-{number}.sock" if kind == "unix" else LISTEN.get(kind, kind)
        )
        flags += ["--listen", f"{address}{equals}{plugin}"]
    return flags


@pytest.fixture(scope="session", autouse=True)
def bytecode() -> None:
    """Let hosts load bytecode, where PYTHONDONTWRITEBYTECODE keeps each from writing its own.

    It does in containers, and a start that compiles all modules takes twice as long.
    """
    for package in (host, host.plugins, host.settings):
        compileall.compile_dir(package.__path__[0], quiet=2)


@pytest.fixture(autouse=True)
def room(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Let a test that measures time run alone, where others run beside each other (pytest-xdist).

    Whoever waits for the second lock keeps the first, so that nobody else gets in before it.
    """
    folder = tmp_path_factory.getbasetemp().parent
    alone = request.node.get_closest_marker("timing") is not None
    with (folder / "door").open("w") as door, (folder / "room").open("w") as inside:
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(inside, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        yield


@pytest.fixture(scope="session")
def an_interpreter() -> Iterator[Warm]:
    """One that has imported the host."""
    warm = Warm(environment())
    yield warm
    warm.close()


@pytest.fixture
def warm(request: pytest.FixtureRequest) -> Warm | None:
    """What hosts come from in tests with the mark `warm`."""
    if request.node.get_closest_marker("warm") is None:
        return None
    return request.getfixturevalue("an_interpreter")


@pytest.fixture
def start(request: pytest.FixtureRequest, tmp_path: Path, warm: Warm | None) -> Iterator[Start]:
    """Start hosts. They must end well, with no process and no socket file left."""
    hosts = hosts_of(request.node)

    def start(
        *flags: str,
        plugin: str | None = WHOAMI,
        listen: tuple[str, ...] = ("tcp4",),
        workers: int | None = 2,
        ready: bool = True,
        settings: dict[str, Any] | None = None,
        patient: bool = True,
        **others: Any,
    ) -> Host:
        chosen = {"dispatch.missed_claim_ms": PATIENCE_MS} if patient else {}
        chosen |= settings or {}
        given = ["--log-format", "json", *flags]
        if not {"--name", "--config"} & set(flags):  # hosts of other tests run beside this one
            given += ["--name", f"test-{os.getpid()}-{next(NUMBERS)}"]
        if workers is not None:
            given += ["--workers", str(workers)]
        if plugin is not None:
            given += ["--plugin", plugin]
        given += listen_flags(tmp_path, listen, len(hosts))
        for key, value in chosen.items():
            given += ["--set", f"{key}={value}"]
        host = Host(given, cwd=tmp_path, slots=workers or 0, **{"warm": warm} | others)
        hosts.append(host)
        if ready:
            host.wait_for("host_ready")
        return host

    yield start
    with ExitStack() as ending:
        ending.callback(lambda: _no_sockets_in(tmp_path))
        for host in hosts:
            ending.callback(host.clean_up)


@pytest.fixture
def start_from(start: Start, tmp_path: Path) -> Start:
    """Start hosts from the text of a settings file, which is `host.toml` in `tmp_path`."""

    def start_from(text: str, *flags: str, **others: Any) -> Host:
        file = tmp_path / "host.toml"
        file.write_text(text)
        given = ("--config", str(file), "--name", fresh_name(), *flags)
        return start(*given, plugin=None, listen=(), **others)

    return start_from


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Who issues the certificates of a test."""
    return Authority(tmp_path)


@pytest.fixture
def manager(tmp_path: Path, start: Start) -> Iterator[FakeManager]:
    """A service manager; hosts that it has started are ended after it."""
    made = FakeManager(tmp_path, start)
    yield made
    made.close()


def _no_sockets_in(folder: Path) -> None:
    left = [path for path in folder.rglob("*") if stat.S_ISSOCK(path.lstat().st_mode)]
    assert not left, f"left over: {left}"


@pytest.fixture
def loads() -> Iterator[Callable[[], Load]]:
    """Start clients, each time in a process of their own."""
    started: list[Load] = []

    def start() -> Load:
        started.append(Load())
        return started[-1]

    yield start
    for clients in started:
        clients.end()


@pytest.fixture
def load(loads: Callable[[], Load]) -> Load:
    """Clients in a process of their own."""
    return loads()


@pytest.fixture
def refuse(tmp_path: Path, warm: Warm | None) -> Refuse:
    """Run hosts that must not start: one message, no traceback, nothing left."""

    def refuse(*flags: str, env: dict[str, str] | None = None, **others: Any) -> Refusal:
        given = environment(env)
        if warm is not None and not others and warm.fits(given):
            done = warm.run(flags, cwd=tmp_path, env=given, seconds=patience(30))
            session, code, out, err = done.args, done.returncode, done.stdout, done.stderr
        else:
            process = subprocess.Popen(
                command(flags, **others),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=tmp_path,
                env=given,
                start_new_session=True,
            )
            out, err = process.communicate(timeout=patience(30))
            session, code = process.pid, process.returncode
        assert out == "", out
        assert err.count("host: ") == 1, err
        assert err.startswith("host: "), err
        assert "Traceback" not in err, err
        assert not [one for one in everyone() if one.session == session]
        return Refusal(code, err)

    return refuse


@pytest.fixture(scope="module")
def nobody() -> Iterator[Ordinary]:
    with ExitStack() as stack:
        try:
            found = stack.enter_context(ordinary())
        except UnreachableError as error:
            pytest.skip(str(error))
        yield found


@pytest.fixture
def scene(start: Start, refuse: Refuse, nobody: Ordinary) -> Scene:
    folder = nobody.folder / f"scene-{len(list(nobody.folder.iterdir()))}"
    folder.mkdir()
    return Scene(start, refuse, nobody, folder)


@pytest.fixture(scope="module")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A redis-server for tests that leave it as it is, each in a namespace of its own."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.close()


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A redis-server of the test's own; a restart finds what it had."""
    folder = tmp_path / "redis"
    folder.mkdir()
    server = RedisServer(folder, "--appendonly", "yes")
    yield server
    server.close()


@pytest.fixture
def worlds() -> Iterator[Callable[..., World]]:
    """Make worlds of members of a bus, as `World` is made."""
    with ExitStack() as ending:

        def make(*settings: BusSettings, **others: Any) -> World:
            world = World(settings, **others)
            ending.callback(world.close)
            return world

        yield make


@pytest.fixture(params=["embedded", "redis, one host", "redis, two hosts"])
def bus_world(
    request: pytest.FixtureRequest, shared_redis: RedisServer, worlds: Callable[..., World]
) -> World:
    """Two members of each bus that there is, whose subscriptions are confirmed."""
    hosts = 2 if "two" in request.param else 1
    settings = BusSettings()
    if request.param != "embedded":
        namespace = f"conformance-{next(NUMBERS)}"
        settings = BusSettings(url=shared_redis.url, namespace=namespace, node="n")
    world = worlds(*[settings] * hosts)
    more_members(world, 2)
    return world
