"""What becomes of the files of Unix listeners while a host runs, and of others in their place."""

from __future__ import annotations

import os
import shutil
import socket
import stat
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from host.control import client
from storm.hosts import POLITE, StormHost
from storm.reloading import reload_once
from storm.rows import Trial, row
from support.address import connect
from support.session import ask

FILE = "own.sock"
Harm = Callable[[Path, ExitStack], object]


def bind(path: Path, stack: ExitStack) -> socket.socket:
    """Put a socket of ours in the place of the host's."""
    path.unlink()
    sock = stack.enter_context(socket.socket(socket.AF_UNIX))
    sock.bind(str(path))
    return sock


def write(path: Path) -> None:
    """Put a file of ours in the place of the host's."""
    path.unlink()
    path.write_text("ours")


def remake(folder: Path) -> None:
    """Remove a folder with all that is in it, and make it anew."""
    shutil.rmtree(folder)
    folder.mkdir()


MENDED: dict[str, tuple[Harm, str]] = {
    "nothing": (lambda path, stack: None, "present"),
    "removed": (lambda path, stack: path.unlink(), "gone"),
    "renamed": (lambda path, stack: path.rename(path.with_name("moved")), "gone"),
    "stale": (lambda path, stack: bind(path, stack).close(), "replaced"),
    "folder remade": (lambda path, stack: remake(path.parent), "gone"),
}
"""Harm that a reload mends, and what `status` says of the file before."""
NAMED: dict[str, tuple[Harm, str, str]] = {
    "folder removed": (lambda path, stack: shutil.rmtree(path.parent), "gone", "does not exist"),
    "bound": (bind, "replaced", "another process"),
    "listened on": (lambda path, stack: bind(path, stack).listen(), "replaced", "another process"),
    "a file": (lambda path, stack: write(path), "replaced", "no socket"),
}
"""Harm that a reload cannot mend, what `status` says, and what the cause has in it."""


@row(
    42,
    "files of Unix listeners removed, renamed, replaced; folders remade; then reload and stop",
    "mended by the reload or named exactly; other listeners untouched; nobody else's file removed",
)
def socket_files(trial: Trial) -> str:
    rounds = 0
    for number in trial.rounds(range(1), range(50)):
        rounds += 1
        one_round(trial, trial.folder / str(number))
    return (
        f"{rounds} × {len(MENDED) - 1} kinds of harm mended by one reload, {len(NAMED)} named with"
        " their cause; TCP and Unix sessions went on; nothing of ours removed"
    )


def one_round(trial: Trial, folder: Path) -> None:
    """Do all kinds of harm to one host, reload it, and stop it."""
    paths = {kind: folder / kind.replace(" ", "-") / FILE for kind in (*MENDED, *NAMED)}
    for path in paths.values():
        path.parent.mkdir(parents=True)
    listen = ("tcp4", *(f"unix:{path}" for path in paths.values()))
    host = trial.start(POLITE, workers=2, listen=listen)
    with ExitStack() as stack:
        sessions = [stack.enter_context(connect(address)) for address in host.addresses]
        for session in sessions:
            ask(session)
        for kind, (harm, *_) in {**MENDED, **NAMED}.items():
            harm(paths[kind], stack)
        told = files(host)
        for kind, (_, state, *_) in {**MENDED, **NAMED}.items():
            found = told[f"unix:{paths[kind]}"]
            trial.must(found == state, f"{kind}: status says {found}")
        for session in sessions:  # before they are told to go
            ask(session)
        reload_once(host)
        for address in (host.addresses[0], *(f"unix:{paths[kind]}" for kind in MENDED)):
            with connect(address) as newcomer:
                ask(newcomer)
        lost = {each["address"]: each["cause"] for each in host.events("socket_file_lost")}
        expected = {f"unix:{paths[kind]}" for kind in NAMED}
        trial.must(lost.keys() == expected, f"lost files: {sorted(lost)}")
        for kind, (_, _, cause) in NAMED.items():
            said = lost.get(f"unix:{paths[kind]}", "nothing")
            trial.must(cause in said, f"{kind}: {said}")
    trial.broken += host.finish()
    left = {path.parent.name for path in paths.values() if os.path.lexists(path)}
    trial.must(left == {"bound", "listened-on", "a-file"}, f"files after the stop: {sorted(left)}")
    moved = folder / "renamed" / "moved"
    trial.must(stat.S_ISSOCK(moved.stat().st_mode), "what was moved away is gone")


def files(host: StormHost) -> dict[str, str]:
    """Return what `status` says of each socket file."""
    listeners = client.ask(host.name, "status", {}, 10.0)["listeners"]
    return {each["address"]: each["file"] for each in listeners}
