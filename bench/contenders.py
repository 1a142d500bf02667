"""The servers that are compared: the host, the peers, and the floor in C."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench import tools

OURS = "prefork"
FLOOR = "C floor"
PLUGINS = Path(__file__).parent / "plugins"
_KEEP_MEMORY = ("env", "MALLOC_MMAP_THRESHOLD_=1048576", "MALLOC_TRIM_THRESHOLD_=4194304")


@dataclass(frozen=True)
class Contender:
    """A server that can be started.

    Attributes:
        name: what tables call it.
        command: its command line.
        port_of: finds the port in what it has written so far; None until it serves.
        package: the distribution that it needs, if any.
        program: the program that it needs, if any.
        family: what `--peers` selects it by.
    """

    name: str
    command: tuple[str, ...]
    port_of: Callable[[str], int | None]
    package: str | None = None
    family: str = ""
    program: str | None = None

    @property
    def missing(self) -> str | None:
        """The package or program that is not installed, or None."""
        if self.package and package_version(self.package) is None:
            return self.package
        return self.program if self.program and shutil.which(self.program) is None else None


def package_version(package: str) -> str | None:
    """Return the version of an installed distribution, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def port_of_peer(written: str) -> int | None:
    """Find the line `port N`."""
    for line in written.splitlines(keepends=True):
        word, _, rest = line.partition(" ")
        if word == "port" and line.endswith("\n"):
            return int(rest)
    return None


def port_of_host(written: str) -> int | None:
    """Find the port in the host's JSON log, once it is ready."""
    port = None
    for line in written.splitlines(keepends=True):
        if not line.endswith("\n") or not line.startswith("{"):
            continue
        event = json.loads(line)
        if event["event"] == "listening":
            port = int(event["address"].rpartition(":")[2])
        elif event["event"] == "host_ready":
            return port
    return None


def port_of_redis(written: str) -> int | None:
    """Find the port in what redis-server says, once it serves."""
    port = re.search(r"\bport=(\d+)", written)
    return int(port[1]) if port and "Ready to accept connections" in written else None


def ours(
    *plugins: str,
    workers: int = 1,
    flags: tuple[str, ...] = (),
    listen: str = "tcp://127.0.0.1:0",
) -> Contender:
    """Return the host with its defaults, except for what is given."""
    command = [sys.executable, "-m", "host", "--workers", str(workers)]
    command += ["--log-format", "json", *flags]
    if listen:  # else the flags say where
        command += ["--listen", listen]
    for plugin in plugins:
        command += ["--plugin", plugin]
    return Contender(OURS, tuple(command), port_of_host)


def ours_with(file: str, *plugins: str, workers: int = 1, flags: tuple[str, ...] = ()) -> Contender:
    """Return the host with plugins and with one of the benchmark's own, a file."""
    return ours(*plugins, str(PLUGINS / file), workers=workers, flags=flags)


def floor(fan: bool = False) -> Contender:
    """Return the minimal server in C."""
    program = str(tools.compiled()["floor"])
    return Contender(FLOOR, (program, f"fan={int(fan)}"), port_of_peer)


def _peer(name: str, module: str, package: str | None, *arguments: str) -> Contender:
    command = (sys.executable, "-m", f"bench.peers.{module}", *arguments)
    family = name.split(maxsplit=1)[0].lower()
    return Contender(name, command, port_of_peer, package, family)


def datagram_floor() -> Contender:
    """Return the minimal server of datagrams in C."""
    return Contender(FLOOR, (str(tools.compiled()["udpfloor"]),), port_of_peer)


def uvloop_tls(certificate: str, key: str) -> tuple[Contender, ...]:
    """Return uvloop with TLS, as it is and with memory that glibc keeps.

    It reads each message into 256 KiB, which malloc(3) maps and unmaps for each of them in one
    process and keeps in another; with the two thresholds raised it always keeps them.
    """
    plain = _peer("uvloop TLS", "uvloop_tls", "uvloop", certificate, key)
    raised = (*_KEEP_MEMORY, *plain.command)
    return plain, replace(plain, name="uvloop TLS, memory kept", command=raised)


def terminator(program: str, certificate: str, key: str, folder: str) -> Contender:
    """Return `nginx` or `haproxy` with TLS before an echo, whose CPU time and memory do not count.

    Args:
        program: which of them.
        certificate: a file in PEM, with the whole chain.
        key: the file of its key.
        folder: for its configuration.
    """
    one = _peer(program, "terminator", None, program, certificate, key, folder)
    return replace(one, program=program)


def datagrams() -> tuple[Contender, ...]:
    """Return the echo servers of datagrams.

    asyncio reads into 256 KiB each time, which malloc(3) would map and unmap for each datagram;
    who uses it for datagrams raises the two thresholds.
    """
    bare = _peer("Python loop", "bare_datagrams", None)
    uvloop = _peer("uvloop datagrams", "asyncio_datagrams", "uvloop", "uvloop")
    plain = _peer("asyncio datagrams", "asyncio_datagrams", None)
    return bare, uvloop, replace(plain, command=(*_KEEP_MEMORY, *plain.command))


ECHO = (
    _peer("Python loop", "bare_loop", None),
    _peer("uvloop protocol", "uvloop_protocol", "uvloop"),
    _peer("uvloop streams", "uvloop_streams", "uvloop"),
    _peer("asyncio protocol", "asyncio_protocol", None),
    _peer("asyncio buffered protocol", "asyncio_buffered", None),
    _peer("asyncio streams", "asyncio_streams", None),
    _peer("gevent", "gevent_server", "gevent"),
    _peer("Twisted", "twisted_protocol", "twisted"),
    _peer("Tornado", "tornado_server", "tornado"),
    _peer("socketserver", "threading_server", None),
)
LINES = (
    _peer("Python loop, a call a line", "bare_lines", None),
    _peer("uvloop streams", "uvloop_line_streams", "uvloop"),
    _peer("uvloop protocol, a write each", "uvloop_line_protocol", "uvloop", "each"),
    _peer("uvloop protocol, joined", "uvloop_line_protocol", "uvloop", "joined"),
)
REDIS = Contender(
    "redis-server",
    (sys.executable, "-m", "bench.peers.redis_server"),
    port_of_redis,
    family="redis",
    program="redis-server",
)
FAMILIES = (
    "python",
    "asyncio",
    "uvloop",
    "gevent",
    "twisted",
    "tornado",
    "socketserver",
    "redis",
    "nginx",
    "haproxy",
    "c",
)
"""What `--peers` takes; `c` is the floor and the process pool."""


def uvloop_processes(count: int) -> Contender:
    """Return so many uvloop processes that share a listening socket."""
    name = "uvloop processes"
    return _peer(name, "uvloop_processes", "uvloop", str(count))


def process_pool(count: int, *, edge: bool) -> Contender:
    """Return the process pool of the textbooks, with so many children.

    Args:
        count: how many.
        edge: whether the parent is told of clients that come, and else that some wait.
    """
    program, name = str(tools.compiled()["pool"]), "process pool, edges" if edge else "process pool"
    command = (program, f"workers={count}", f"edge={int(edge)}")
    return Contender(name, command, port_of_peer, family="c")


def echo(*names: str) -> tuple[Contender, ...]:
    """Return echo servers by name; all of them without names."""
    return tuple(one for one in ECHO if not names or one.name in names)


def versions() -> dict[str, str]:
    """Return the versions of the packages that peers need, and of what the host is made of."""
    packages = {one.package for one in (*ECHO, *LINES) if one.package}
    wanted = ["pluggy", "pydantic", *sorted(packages)]
    return {name: found for name in wanted if (found := package_version(name)) is not None}
