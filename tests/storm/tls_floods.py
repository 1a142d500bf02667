"""Floods of what costs more in TLS than data does: handshakes, and new keys."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from host.testing.machine import patience
from storm.admission import refusals
from storm.handshakes import CONFIG
from storm.hosts import soon
from storm.load import Clients, Waits, pass_time
from storm.peers import unhandled
from storm.rows import Trial, row
from support.certificates import Authority
from support.processes import descriptors, resident_bytes
from support.tls_records import Records, logging_secrets, secret_of

TLS_CROWD = Path(__file__).with_name("tls_crowd.py")
REFUSED = ("garbage", "broken", "stranger")
"""Those whom the host refuses. The others go by themselves, before or after they are let in."""
SESSIONS = 40
MIB = 1 << 20


class Scene:
    """A host with TLS, and sessions whose waits are compared.

    Attributes:
        host: the host.
        authority: has issued its certificate.
    """

    def __init__(self, trial: Trial, *flags: str) -> None:
        self.authority = Authority(trial.folder)
        files = self.authority.files("a", "a.example")
        config = trial.folder / "tls.toml"
        config.write_text(CONFIG.format(seconds=10.0, files=files.toml))
        self.host = trial.start("echo", listen=(), flags=("--config", str(config), *flags))
        self._trial = trial
        self._sessions = self.crowd("pings", count=SESSIONS, every=0.002)
        self._sessions.answer()

    def crowd(self, do: str, **plan: object) -> Clients:
        """Start clients of one kind (a function of `tls_crowd.py`)."""
        address, ca = self.host.addresses[0], str(self.authority.file)
        return self._trial.crowd(do, address, script=TLS_CROWD, ca=ca, **plan)

    def waits(self) -> Waits:
        """Return the waits of the sessions since this was asked last."""
        self._sessions.tell()
        return Waits(*self._sessions.answer())

    def quiet(self) -> Waits:
        """Return the waits while nothing else goes on."""
        self.waits()
        pass_time(self._trial.pick(1.0, 10.0))
        return self.waits()

    def at_rest(self) -> tuple[list[int], int]:
        """Wait until only the sessions are left; return descriptors and memory of the workers."""
        host = self.host
        rest = soon(lambda: sum(host.board.active) == SESSIONS, 10.0)
        self._trial.must(rest, f"connections left: {host.board.active}")
        pids = host.workers.values()
        return [len(descriptors(pid)) for pid in pids], sum(map(resident_bytes, pids))


@row(
    55,
    "handshakes without end from 4 clients: whole, half, broken, garbage, of clients that do not"
    " trust the certificate",
    "sessions go on, p99 at most 50 ms; each refusal counted; memory and descriptors flat",
)
def handshake_flood(trial: Trial) -> str:
    scene = Scene(trial)
    first = flood(scene, trial.pick(1.0, 10.0))  # what is needed once counts as it is then
    before, quiet = scene.at_rest(), scene.quiet()
    began = time.monotonic()
    counts = flood(scene, trial.seconds(2.0, 60.0))
    took, during = time.monotonic() - began, scene.waits()
    after = scene.at_rest()
    trial.fast(during.p99, 0.050, "p99 of the sessions")
    refused, found = sum((first + counts)[kind] for kind in REFUSED), refusals(scene.host)
    gone = found.pop("gone", 0)
    trial.must(found == {"tls": refused}, f"refused: {found}, which should be {refused}")
    trial.must(before[0] == after[0], f"descriptors {before[0]} → {after[0]}")
    growth = (after[1] - before[1]) / MIB
    trial.must(growth <= 8, f"{growth:.1f} MiB more after it")
    unhandled(trial, scene.host)
    return (
        f"{counts.total():,} in {took:.0f} s, {counts['full']:,} of them whole; {refused:,} refused"
        f" and counted, {gone:,} gone before; p99 of the sessions {quiet.p99 * 1000:.1f} →"
        f" {during.p99 * 1000:.1f} ms; {growth:.1f} MiB more"
    )


def flood(scene: Scene, seconds: float) -> Counter[str]:
    """Have handshakes made for so long; return how many of each kind."""
    crowds = [scene.crowd("handshakes", seconds=seconds, seed=number) for number in range(4)]
    counts: Counter[str] = Counter()
    for each in crowds:
        counts.update(each.answer(seconds + 30.0))
        each.close()
    return counts


class Renewer:
    """A client that sends new keys again and again; the records are made beforehand.

    Args:
        scene: its host is the one that gets them.
        updates: how many new keys.
        between: after how many of them a byte of data comes; 0 for none.
        answers: whether it asks for new keys of the host each time.
    """

    def __init__(self, scene: Scene, updates: int, between: int, answers: bool) -> None:
        context = scene.authority.client()
        secrets = logging_secrets(context, scene.authority.folder)
        sock = socket.create_connection(("127.0.0.1", scene.host.port), timeout=patience(30.0))
        with context.wrap_socket(sock, server_hostname="a.example") as client:
            self._sock = socket.socket(fileno=socket.dup(client.fileno()))
        self._sock.settimeout(patience(30.0))
        records, parts = Records(secret_of(secrets)), []
        for each in range(updates):
            parts.append(records.key_update(requested=answers))
            if between and each % between == between - 1:
                parts.append(records.data(b"x"))
        self._flood = b"".join(parts)
        self._thread = threading.Thread(target=self._send, name="renewer")

    def begin(self) -> None:
        """Send all of it."""
        self._thread.start()

    def end(self) -> None:
        """Wait until it is sent, or the host has ended the connection."""
        self._thread.join()
        self._sock.close()

    def _send(self) -> None:
        with suppress(OSError):
            self._sock.sendall(self._flood)
            self._sock.shutdown(socket.SHUT_WR)
            while self._sock.recv(1 << 16):
                pass


@row(
    56,
    "8 clients that send new TLS keys (KeyUpdate) as fast as they can: 4 without data, 4 among it",
    "4 ended, 4 served; sessions go on, p99 at most 50 ms; memory flat",
)
def key_updates(trial: Trial) -> str:
    scene = Scene(trial, "--set", "log.access=true")
    updates = trial.pick(5000, 20_000)
    kinds = [(1000, 0, answers) for answers in (False, True)]
    kinds += [(updates, between, False) for between in (10, 30)]
    during = [renewed(scene, 2 * kinds)]
    before, quiet = scene.at_rest(), scene.quiet()
    for _ in trial.rounds(range(1), range(100)):
        during.append(renewed(scene, 2 * kinds))
    rounds = len(during)
    after = scene.at_rest()
    trial.fast(max(waits.p99 for waits in during), 0.050, "p99 of the sessions")
    told = soon(lambda: len(scene.host.events("connection_closed")) == 8 * rounds, 10.0)
    trial.must(told, "not all ends are told")
    reasons = Counter(event["reason"] for event in scene.host.events("connection_closed"))
    wanted = {"TLS protocol error": 4 * rounds, "ended without close_notify": 4 * rounds}
    trial.must(reasons == wanted, f"ended: {reasons}, which should be {wanted}")
    trial.must(before[0] == after[0], f"descriptors {before[0]} → {after[0]}")
    growth = (after[1] - before[1]) / MIB
    trial.must(growth <= 8, f"{growth:.1f} MiB more after it")
    unhandled(trial, scene.host)
    p99s = sorted(waits.p99 for waits in during)
    return (
        f"{rounds} rounds: {4 * rounds} ended, {4 * updates * rounds:,} new keys taken from the"
        f" others; p99 of the sessions {quiet.p99 * 1000:.1f} →"
        f" {p99s[len(p99s) // 2] * 1000:.1f} ms (median), {p99s[-1] * 1000:.1f} ms (worst);"
        f" {growth:.1f} MiB more"
    )


def renewed(scene: Scene, kinds: Sequence[tuple[int, int, bool]]) -> Waits:
    """Have a client of each kind send all it has; return the waits of the sessions meanwhile."""
    renewers = [Renewer(scene, *kind) for kind in kinds]
    scene.waits()
    for each in renewers:
        each.begin()
    for each in renewers:
        each.end()
    return scene.waits()
