"""Runs the whole test run as everybody may: each Python that is here, as root and as another user.

Each run is under nohup(1), may have 1,024 descriptors, and has three other runs beside it. What
is committed is tested, in a clone. One line tells of each run. See CONTRIBUTING.md.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
USERS = {"root": 0, "nobody": 65534}
"""Whom the tests run as: only root can become the other one, which Linux has for nobody."""
DESCRIPTORS = 1024
WHOLE = ("tests/unit", "tests/contract", "tests/long", "tests/process")
NEEDED = (("-U", "pip"), ("--group", "test", "-e", ".", "matplotlib"))


@dataclass(frozen=True, slots=True)
class Place:
    """Where tests are run, and by whom.

    Attributes:
        folder: the user's own folder, for what is written.
        clone: the repository, or a clone.
        python: the interpreter of an environment with the host and what the tests need.
        uid: who runs them.
    """

    folder: Path
    clone: Path
    python: Path
    uid: int

    @property
    def user(self) -> dict[str, object]:
        """How `subprocess` starts something as the user."""
        own = {"HOME": str(self.folder), "LD_LIBRARY_PATH": str(self.folder / "python/lib")}
        env = {name: text for name, text in os.environ.items() if not name.startswith("PYTEST_")}
        started: dict[str, object] = {"cwd": self.folder, "env": env | own}
        if self.uid != os.geteuid():
            started |= {"user": self.uid, "group": self.uid, "extra_groups": []}
        return started

    def start(self, command: Sequence[str | Path], output: Path) -> subprocess.Popen[bytes]:
        """Start a command in the clone, in a session of its own, which `end` ends.

        If this process is killed first, the kernel ends the command (prctl(2), PR_SET_PDEATHSIG).
        """
        limit = f"--nofile={DESCRIPTORS}:{DESCRIPTORS}"
        with output.open("wb") as file:
            return subprocess.Popen(
                ["prlimit", limit, "setpriv", "--pdeathsig", "KILL", "nohup", *map(str, command)],
                **self.user | {"cwd": self.clone},  # type: ignore[call-overload]
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )


def end(process: subprocess.Popen[bytes]) -> None:
    """End what `Place.start` has started, if it runs."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def prepared(python: str, uid: int) -> Iterator[Place]:
    """Make a clone and an environment, which are the user's own; they are removed in the end."""
    with tempfile.TemporaryDirectory(prefix="everybody-", dir="/tmp") as name:
        folder = Path(name)
        place = Place(folder, folder / "prefork", folder / "venv/bin/python", uid)
        subprocess.run(["git", "clone", "-q", ROOT, place.clone], check=True)
        subprocess.run([usable(python, place), "-m", "venv", folder / "venv"], check=True)
        for what in NEEDED:
            install = [place.python, "-m", "pip", "install", "-q", *what]
            subprocess.run(install, cwd=place.clone, env=place.user["env"], check=True)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, uid, uid, follow_symlinks=False)
        yield place


def interpreter(version: str) -> str:
    """Return the first interpreter of a version that is on the path and works (pyenv's may not)."""
    for folder in os.get_exec_path():
        found = shutil.which(f"python{version}", path=folder)
        if found and works(found):
            return found
    return ""


def works(python: str) -> bool:
    """Tell whether an interpreter runs at all."""
    return subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0


def usable(python: str, place: Place) -> Path:
    """Return an interpreter that the user can execute: a copy, if it is in somebody's home."""
    place.folder.chmod(0o755)
    asked = "import sys; print(sys.base_prefix)"
    said = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True)
    prefix, copy = Path(said.stdout.strip()), place.folder / "python"
    entered = subprocess.run(["test", "-x", prefix], check=False, **place.user)
    if entered.returncode == 0:
        return Path(python)
    shutil.copytree(prefix, copy, symlinks=True, ignore=shutil.ignore_patterns("site-packages"))
    return copy / "bin" / Path(python).name


@contextmanager
def beside(place: Place, count: int) -> Iterator[None]:
    """Have so many other test runs go on meanwhile: unit tests, again and again."""
    again = 'while :; do "$0" -m pytest -q -p no:cacheprovider tests/unit; done'
    with ExitStack() as stack:
        for number in range(count):
            output = place.folder / f"beside-{number}"
            stack.callback(end, place.start(["sh", "-c", again, place.python], output))
        yield


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the tests.

    Attributes:
        green: whether all have passed, or cannot be run by this user.
        seconds: how long it took.
        last: what pytest has said last.
        failed: what it has said of each test that failed.
        output: all that it has said.
    """

    green: bool
    seconds: float
    last: str
    failed: tuple[str, ...]
    output: str


def run(place: Place, tests: Sequence[str], count: int) -> Run:
    """Run the tests once, with so many other runs beside them."""
    began, output = time.monotonic(), place.folder / "output"
    flags = ["-q", "-n", "2", "--dist", "loadfile", "--color", "no"]
    with beside(place, count):
        process = place.start([place.python, "-m", "pytest", *flags, *tests], output)
        try:
            code = process.wait()
        finally:
            end(process)
    text = output.read_text(errors="replace")
    failed = re.findall(r"^(?:FAILED|ERROR) .*$", text, re.MULTILINE)
    last = text.strip().rpartition("\n")[2].strip("= ")
    return Run(code == 0, time.monotonic() - began, last, tuple(failed), text)


def main() -> int:
    """Return how many runs were not green."""
    parser = argparse.ArgumentParser(prog="everybody", description=__doc__)
    parser.add_argument("--pythons", nargs="+", default=PYTHONS, metavar="3.x")
    parser.add_argument("--users", nargs="+", default=list(USERS), choices=USERS)
    parser.add_argument("--times", type=int, default=3, help="how often each; 3 by default")
    parser.add_argument("--beside", type=int, default=3, help="how many other runs; 3 by default")
    parser.add_argument("tests", nargs="*", default=WHOLE, help="by default those of the whole run")
    chosen = parser.parse_args()
    if os.geteuid():
        parser.error("only root can run tests as somebody else")
    red = 0
    for version in chosen.pythons:
        if not (python := interpreter(version)):
            print(f"{version} is not on the path")
            continue
        for user in chosen.users:
            with prepared(python, USERS[user]) as place:
                for _ in range(chosen.times):
                    one = run(place, chosen.tests, chosen.beside)
                    red += not one.green
                    show(f"{version} {user:6}", one)
    return red


def show(who: str, one: Run) -> None:
    """Print one run as soon as it is over; what a red one has said is kept."""
    print(f"{who}  {'green' if one.green else 'red':5} {one.seconds:6.0f} s  {one.last}")
    for each in one.failed:
        print(f"    {each}")
    if not one.green:
        kept = Path(tempfile.mkdtemp(prefix="everybody-")) / "output"
        kept.write_text(one.output)
        print(f"    all that was said: {kept}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(min(main(), 100))
