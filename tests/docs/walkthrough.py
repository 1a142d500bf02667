"""Plays the code blocks of a page as a reader would: saves files, types commands, compares output.

A block after "Save this as `NAME`" is a file. A `console` block is a session: lines that begin
with "$ " are commands, the others what they print. A command that runs a host is left running
until the next one or the end. Numbers in output and the width of columns are not compared, and
"..." stands for any lines, or none.
Of a host's log the lines shown must be there, in that order.

One thing is not done as written: port 7000 may be taken on this machine, so the host is told to
choose a port, and clients are told the one that its log names.
"""

import os
import queue
import re
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from host.testing.machine import patience

ROOT = Path(__file__).resolve().parents[2]
PORT = "7000"
PATIENCE_SECONDS = 60.0

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SAVE = re.compile(r"[Ss]ave this as\s`([^`]+)`[^`]*\Z")
_SERVES = re.compile(r"python -m host(?! (?:check|plugins|settings)\b)")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, the line it begins in, and the file it is, if any."""

    language: str
    text: str
    line: int
    file: str | None

    def commands(self) -> list[tuple[str, list[str]]]:
        """The commands of a session, each with the lines that it prints."""
        found: list[tuple[str, list[str]]] = []
        for line in self.text.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                assert found, f"line {self.line}: a session begins with a command"
                found[-1][1].append(line)
        return found


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        before = text[: match.start()].rstrip().rpartition("\n\n")[2]
        save = _SAVE.search(before)
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(match[1], match[2], line, save[1] if save else None))
    return found


def environment() -> dict[str, str]:
    """Return this process's environment without what would reach into a reader's.

    That pip has a new version, which it says now and then, is no output of what a reader types.
    """
    foreign = ("PREFORK_", "PYTHON", "VIRTUAL_ENV", "TOX_", "COVERAGE_", "PYTEST_")
    kept = {name: text for name, text in os.environ.items() if not name.startswith(foreign)}
    return kept | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}


class Running:
    """A command that goes on running; its output is read as it comes."""

    def __init__(self, command: str, cwd: Path, env: dict[str, str]) -> None:
        self.command, self.said = command, ""
        self._lines: queue.Queue[str | None] = queue.Queue()
        # A session of its own: no signal for the tests reaches it, and none of ours the tests.
        self._process = subprocess.Popen(
            ["bash", "-c", command],
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                self._lines.put(line)
        self._lines.put(None)

    def wait_for(self, pattern: str, seconds: float = PATIENCE_SECONDS) -> re.Match[str]:
        """Wait until what was said matches."""
        deadline = time.monotonic() + patience(seconds)
        while (match := re.search(pattern, self.said)) is None:
            self._take(deadline, f"did not say {pattern!r} within {seconds:g} s")
        return match

    def stop(self) -> None:
        """Stop the host as Ctrl-C does, and see that it ends well."""
        try:
            supervisor = int(self.wait_for(r"starting: pid (\d+)")[1])
            os.kill(supervisor, signal.SIGINT)
            self.wait_for(r"stopped: exit code 0,")
            code = self._process.wait(patience(PATIENCE_SECONDS))
            assert code == 0, f"{self.command}: exit code {code}\n{self.said}"
        finally:
            self.kill()

    def kill(self) -> None:
        """End it in any case."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(patience(PATIENCE_SECONDS))
        self._reader.join(patience(PATIENCE_SECONDS))

    def _take(self, deadline: float, otherwise: str) -> None:
        try:
            line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            line = None
        assert line is not None, f"{self.command}: {otherwise}; it said:\n{self.said}"
        self.said += line


class Reader:
    """Somebody who follows a page word by word."""

    def __init__(self, cwd: Path) -> None:
        self.cwd, self.env = cwd, environment()
        self._host: Running | None = None
        self._port = ""

    def follow(self, page: Path) -> None:
        """Do what the page says, from its first block to its last."""
        try:
            for block in blocks(page):
                if block.file:
                    (self.cwd / block.file).write_text(block.text, encoding="utf-8")
                elif block.language == "console":
                    for command, output in block.commands():
                        self.type(command, output)
            self.stop_host()
        finally:
            if self._host is not None:
                self._host.kill()

    def type(self, command: str, output: list[str]) -> None:
        """Run a command and compare what it prints."""
        if _SERVES.search(command) and not refused(output):
            self._start_host(command, output)
        else:
            self._run(command, output)

    def stop_host(self) -> None:
        """Stop the host that runs, if one does."""
        if self._host is not None:
            host, self._host = self._host, None
            host.stop()

    def _start_host(self, command: str, output: list[str]) -> None:
        self.stop_host()
        env = self.env
        if "--listen" in command:
            command = command.replace(f":{PORT}", ":0")
        else:
            env = env | {"PREFORK_LISTEN": "tcp://127.0.0.1:0"}
        self._host = host = Running(command, self.cwd, env)
        host.wait_for(r"ready: \d+ workers serving")
        self._port = host.wait_for(r"listening on (?:tcp|udp)://127\.0\.0\.1:(\d+),")[1]
        said = iter(plain(line) for line in host.said.splitlines())
        for line in output:
            assert plain(line) in said, (
                f"{command}\nshould have said {line!r}; it said\n{host.said}"
            )

    def _run(self, command: str, output: list[str]) -> None:
        if PORT in command:
            assert command.count(PORT) == 1, command
            command = command.replace(PORT, self._port)
        # What the shell knows afterwards, the next command is to know, as in one terminal.
        script = f"{command}\ncode=$?\n{{ pwd; env -0; }} >&9\nexit $code"
        read, write = os.pipe()
        try:
            done = subprocess.run(
                ["bash", "-c", f"exec 9>&{write} {write}>&-\n{script}"],
                cwd=self.cwd,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=patience(PATIENCE_SECONDS),
                check=False,
                pass_fds=(write,),
            )
        finally:
            os.close(write)
        with open(read, encoding="utf-8") as state:
            folder, _, variables = state.read().partition("\n")
        self.cwd = Path(folder)
        self.env = dict(one.partition("=")[::2] for one in variables.split("\0") if one)
        context = f"$ {command}\n{done.stdout}"
        assert (done.returncode != 0) == refused(output), f"{context}\nexit code {done.returncode}"
        assert prints(done.stdout, output), f"{context}\nshould have printed\n" + "\n".join(output)


def prints(text: str, output: list[str]) -> bool:
    """Tell whether a command that has printed this does what the page shows."""
    pattern = "".join(
        r"(?:.*\n)*?" if line == "..." else re.escape(plain(line)) + "\n" for line in output
    )
    shown = "".join(f"{plain(line)}\n" for line in text.splitlines())
    return re.fullmatch(pattern, shown) is not None


def refused(output: list[str]) -> bool:
    """Tell whether what is printed is the host's refusal; the exit code then is not 0."""
    return bool(output) and output[0].startswith("host: ")


def plain(line: str) -> str:
    """Return a line with every number, and every gap between columns, made the same."""
    return re.sub(r"(?<=\S) {2,}", "  ", re.sub(r"\d+", "N", line)).rstrip()
