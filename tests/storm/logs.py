"""A log that cannot be written: a full disk, a stalled reader."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storm.hosts import POLITE, soon
from storm.load import pass_time
from storm.rows import SkippedError, Trial, row
from support.hosting import Host

LOAD = {"loops": 4, "sessions": 50, "pause": 0.02}
ACCESS = ("--set", "log.access=true")


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a file system of 64 KiB."""
    place = folder / "disk"
    place.mkdir()
    options = ["-t", "tmpfs", "-o", "size=64k", "storm", str(place)]
    done = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SkippedError(f"cannot mount a tmpfs: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@row(
    26,
    "log disk full (tmpfs of 64 KiB, /dev/full), log pipe stalled",
    "p99 changes by less than 10 %; drops counted exactly",
)
def unwritable(trial: Trial) -> str:
    said = []
    usual = file_log(trial, "file", trial.folder / "log")
    with small_disk(trial.folder) as disk:
        log = disk / "log"
        p99 = file_log(trial, "disk", log)
        full = os.statvfs(disk).f_bavail == 0
        trial.must(full, "the disk did not get full")
        said.append(f"full disk {compared(trial, 'full disk', usual, p99)}")
    p99 = file_log(trial, "full", Path("/dev/full"))
    said.append(f"/dev/full {compared(trial, '/dev/full', usual, p99)}")
    said.append(stalled(trial))
    return f"p99 {usual * 1000:.1f} ms with a log file; {'; '.join(said)}"


def compared(trial: Trial, name: str, usual: float, p99: float) -> str:
    """Hold a p99 against the usual one."""
    trial.fast(p99 / usual, 1.1, f"{name}: p99, times the usual one")
    return f"{p99 * 1000:.1f} ms"


def file_log(trial: Trial, name: str, log: Path) -> float:
    """Serve with the log in a file; return the p99 of the loops."""
    path = trial.folder / f"{name}.sock"
    host = trial.start(
        POLITE, listen=(f"unix:{path}",), flags=ACCESS, log=log, ready=False, workers=2
    )
    trial.must(soon(path.exists, 10.0), f"{name}: it does not start")
    load = trial.load(f"unix:{path}", **LOAD)
    load.under_way()
    span = pass_time(trial.pick(2.0, 20.0))
    (waits,) = load.waits("loops", [span])
    result = load.end()
    trial.must(not result.failed, f"{name}: {result.causes()}")
    trial.must(host.alive, f"{name}: the host has ended")
    trial.broken += host.finish()
    return waits.p99


def stalled(trial: Trial) -> str:
    """Nobody reads the log for a while; then what was dropped must have been counted."""
    given = ["--log-format", "json", "--workers", "2", *ACCESS, "--plugin", POLITE]
    given += ["--listen", "tcp://127.0.0.1:0"]
    host = Host(given, cwd=trial.folder, slots=2, deaf_after="host_ready")
    try:
        host.wait_for("host_ready")
        clients = trial.bursts()
        size, rounds = 200, trial.pick(20, 200)
        failed = 0
        for turn in range(rounds):
            result = clients.burst(host.address, size, group=str(turn))
            failed += sum(result["failures"].values())
            clients.close(group=str(turn))
        host.listen()
        trial.must(host.stop() == 0, "the host did not stop well")
    finally:
        host.clean_up()
    written = len(host.events("connection_closed"))
    dropped = sum(event["count"] for event in host.events("lines_dropped"))
    trial.must(not failed, f"{failed} connections failed")
    trial.must(dropped, "nothing was dropped: the pipe took it all")
    # Each connection makes one line; the supervisor's own few come after the log is read again.
    trial.must(
        written + dropped == size * rounds,
        f"{written} written + {dropped} dropped are not {size * rounds}",
    )
    return f"stalled pipe: {written:,} written + {dropped:,} dropped of {size * rounds:,}"
