"""memccapable, and the tests of three clients against a server, from their source distributions."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

PORT_IN_TESTS = b"11211"
MOST_SECONDS = 600

HELPERS = '''"""What the source distribution has left out."""

import io
import sys
from contextlib import contextmanager


@contextmanager
def captured_stderr():
    """Catch what is written to standard error."""
    before, sys.stderr = sys.stderr, io.StringIO()
    try:
        yield sys.stderr
    finally:
        sys.stderr = before
'''


@dataclass(frozen=True, slots=True)
class Suite:
    """The tests of a client.

    Attributes:
        name: the distribution.
        tests: its tests that need a server, all of them.
        with_port: the files that have memcached's port in them, which becomes the server's.
        flags: for pytest; `{port}` is the server's.
        left_out: tests that are not for servers like this one, as pytest's -k has them, and why.
    """

    name: str
    tests: tuple[str, ...]
    with_port: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()


_BINARY = "speaks the binary protocol"
SUITES = (
    Suite(
        "pymemcache",
        ("pymemcache/test/test_integration.py",),
        flags=("--server", "127.0.0.1", "--port", "{port}"),
    ),
    Suite(
        "python-memcached",
        ("tests/test_memcache.py", "tests/test_setmulti.py"),
        with_port=("tests/test_memcache.py",),
    ),
    Suite(
        "pylibmc",
        ("tests",),
        with_port=("tests/__init__.py",),
        left_out=(
            ("test_refcounts and not test_cas", "speak the binary protocol"),
            ("test_no_autoconf", "asks port 11211, wherever the server is"),
            ("test_zerokey", _BINARY),
            ("test_utf8_encoding", _BINARY),
            ("test_get_with_default", _BINARY),
            ("test_none_values", _BINARY),
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Result:
    """How a suite has gone."""

    passed: int
    failed: int
    skipped: int = 0

    def __str__(self) -> str:
        skipped = f", {self.skipped} skipped by itself" if self.skipped else ""
        return f"{self.passed} passed, {self.failed} failed{skipped}"


def memccapable(port: int) -> Result:
    """Run the tests of the text protocol of memccapable (libmemcached-tools)."""
    command = ["memccapable", "-h", "127.0.0.1", "-p", str(port), "-a"]
    said = _run(command, Path.cwd())
    return Result(said.count("[pass]"), said.count("[FAIL]"))


def fetch(suite: Suite, folder: Path) -> str:
    """Download and unpack a suite into `folder`; return its version."""
    flags = ["--quiet", "--no-deps", "--no-binary", suite.name, "--dest", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "download", *flags, suite.name], check=True)
    return unpack(suite, folder)


def unpack(suite: Suite, folder: Path) -> str:
    """Unpack a suite that was downloaded, as it was; return its version."""
    (archive,) = folder.glob(f"{suite.name}-*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    return archive.name.removesuffix(".tar.gz").rpartition("-")[2]


def judge(suite: Suite, folder: Path, port: int) -> Result:
    """Run the tests of a suite that `fetch` has unpacked; print what they say."""
    (source,) = (path for path in folder.glob(f"{suite.name}-*") if path.is_dir())
    for path in map(source.joinpath, suite.with_port):
        path.write_bytes(path.read_bytes().replace(PORT_IN_TESTS, b"%d" % port))
    tests = source / "tests"
    if tests.is_dir() and not (tests / "__init__.py").exists():
        (tests / "__init__.py").touch()
        (tests / "utils.py").write_text(HELPERS)
    flags = [flag.format(port=port) for flag in suite.flags]
    chosen = " and ".join(f"not ({name})" for name, _ in suite.left_out)
    command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", str(source)]
    said = _run([*command, "-k", chosen, *flags, *suite.tests], source, MEMCACHED_PORT=str(port))
    print(said)
    counts = {word: int(number) for number, word in re.findall(r"(\d+) ([a-z]+)", _last(said))}
    failed = counts.get("failed", 0) + counts.get("error", 0) + counts.get("errors", 0)
    return Result(counts.get("passed", 0), failed, counts.get("skipped", 0))


def _last(said: str) -> str:
    return said.strip().rpartition("\n")[2]


def _run(command: list[str], folder: Path, **more: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | more,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=MOST_SECONDS,
        check=False,
        text=True,
    )
    return done.stdout
