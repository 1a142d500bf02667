"""What other programs and users of the machine do with the name of a host."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from host.control import client
from storm.rows import SkippedError, Trial, row
from support.hosting import SUPPORT, environment

NOBODY = 65_534
MIB = 1 << 20
PATIENCE_SECONDS = 2
COMMANDS = (
    *(("stop",), ("status",), ("reload",), ("status", "--ready"), ("connections",)),
    *(("generations",), ("top",), ("scale", "9"), ("drain", "0"), ("why", "1-1")),
)
_MEASURED = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[2:])
_, status, used = os.wait4(process.pid, 0)
os.write(int(sys.argv[1]), b"%d" % used.ru_maxrss)
os._exit(os.waitstatus_to_exitcode(status))
"""
"""Runs a command for a program that is small itself: the most memory of a process (getrusage(2))
counts what its parent has when it is started (vfork(2))."""


@contextmanager
def stranger(uid: int, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `stranger.py` with these arguments; it and its children end with the context."""
    program = [sys.executable, "-I", "-S", str(SUPPORT / "stranger.py"), str(uid), *arguments]
    with subprocess.Popen(program, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def command(name: str, *words: str) -> tuple[int, str, float, float]:
    """Run a command; return exit code, what it says, MiB at most, and seconds."""
    began = time.monotonic()
    program = [sys.executable, "-m", "host", *words, "--name", name]
    reader, writer = os.pipe()
    with open(reader, "rb") as measured:
        launcher = [sys.executable, "-I", "-S", "-c", _MEASURED, str(writer)]
        done = subprocess.run(
            [*launcher, *program, "--timeout", str(PATIENCE_SECONDS)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment(),
            pass_fds=(writer,),
            check=False,
        )
        os.close(writer)
        memory = int(measured.read()) / 1024
    return done.returncode, done.stdout.decode(), memory, time.monotonic() - began


@row(
    40,
    "another user takes the host's name first; it, and a program of the same user, answer for ever,"
    " in several manners; 40,000 connects of another user that tell a host to stop",
    "commands end in memory and time, and say who answers; nothing is obeyed; answers within 1 s",
)
def strangers(trial: Trial) -> str:
    if os.geteuid() != 0:
        raise SkippedError("only root can become another user")
    memory = longest = 0.0
    count = 0
    for uid, manner in [
        (NOBODY, "endless"),
        *(
            (0, manner)
            for manner in trial.pick(("endless", "drips"), ("endless", "drips", "silent"))
        ),
        *trial.pick((), ((0, "pages"), (NOBODY, "pages"), (NOBODY, "silent"))),
    ]:
        name = f"storm-{os.getpid()}-taken-{uid}-{manner}"
        with stranger(uid, manner, name) as taker:
            assert taker.stdout is not None
            assert taker.stdout.readline() == b"ready\n"
            if uid:
                host = trial.start("echo", workers=1, settings={"name": name})
                cause = host.wait_for("admin_unavailable")["cause"]
                trial.must(f"process {taker.pid} of uid {uid}" in cause, f"the host says: {cause}")
            for words in COMMANDS[: trial.pick(1, len(COMMANDS))]:
                code, said, mib, seconds = command(name, *words)
                memory, longest, count = max(memory, mib), max(longest, seconds), count + 1
                expected = 1 if "--ready" in words else 10
                trial.must(code == expected, f"{manner}, {words}: exit code {code}, {said[:200]}")
                if uid and expected == 10:
                    named = f"process {taker.pid} of uid {uid}" in said
                    trial.must(named, f"{manner}, {words}: {said[:200]}")
            if uid:
                trial.must(host.alive, "the host has ended")
    trial.must(memory < 400, f"a command took {memory:.0f} MiB")
    trial.fast(longest, PATIENCE_SECONDS + 2.0, "longest command")
    refused, slowest = knocks(trial)
    return (
        f"{count} commands: at most {memory:.0f} MiB and {longest:.1f} s; {refused:,} stops of"
        f" another user refused, meanwhile answers within {slowest * 1000:.0f} ms"
    )


def knocks(trial: Trial) -> tuple[int, float]:
    """Have strangers tell a host to stop; return how many were refused, and the slowest answer."""
    count = trial.pick(250, 10_000)
    host = trial.start("line", workers=1)
    slowest = 0.0
    with ExitStack() as stack:
        others = [
            stack.enter_context(stranger(NOBODY, "knocks", host.name, str(count))) for _ in range(4)
        ]
        while any(other.poll() is None for other in others):
            began = time.monotonic()
            trial.must(client.ask(host.name, "status", {}, 10.0)["state"] == "serving", "no status")
            slowest = max(slowest, time.monotonic() - began)
        refused = sum(int(other.stdout.read()) for other in others if other.stdout is not None)
    trial.must(refused == 4 * count, f"{refused} of {4 * count} refused")
    trial.must(not host.events("admin_command"), "a command of a stranger was obeyed")
    trial.fast(slowest, 1.0, "the slowest answer")
    return refused, slowest
