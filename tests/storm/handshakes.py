"""TLS handshakes that never end."""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import suppress

from host.testing.machine import patience
from storm.admission import refusals
from storm.peers import unhandled
from storm.rows import Trial, row
from support.certificates import Authority

CONFIG = """
[limits]
admission_seconds = {seconds}
[[listen]]
address = "tcp://127.0.0.1:0"
plugin = "echo"
tls = "public"
[tls.public]
certificates = [{files}]
"""


def first_flight(authority: Authority) -> bytes:
    """Return a ClientHello."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = authority.client().wrap_bio(incoming, outgoing, server_hostname="a.example")
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def echoes(port: int, authority: Authority) -> bool:
    """Connect, and tell whether what is sent comes back."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=patience(20.0)) as sock,
        authority.client().wrap_socket(sock, server_hostname="a.example") as client,
    ):
        client.sendall(b"hello")
        return client.recv(16) == b"hello"


@row(
    54,
    "400 clients that send a TLS handshake byte by byte and stop in each of its steps",
    "each closed within admission_seconds + 1 s; a client that comes then is served",
)
def unfinished_handshakes(trial: Trial) -> str:
    deadline = trial.pick(2.0, 10.0)
    authority = Authority(trial.folder)
    files = authority.files("a", "a.example")
    config = trial.folder / "tls.toml"
    config.write_text(CONFIG.format(seconds=deadline, files=files.toml))
    host = trial.start("echo", listen=(), flags=("--config", str(config)))
    hello = first_flight(authority)
    # Nothing, a part of a record's header, the header, a part of its body, and a whole ClientHello
    # after which the client says no more.
    steps = (b"", hello[:1], hello[:4], hello[:5], hello[:40], hello)
    count, began = trial.pick(60, 400), time.monotonic()
    crowd = trial.crowd(
        "unfinished",
        host.addresses[0],
        count=count,
        every=deadline / 1000,
        seconds=patience(deadline + 20.0),
        source="127.0.0.1",
        begins=[each.hex() for each in steps],
    )
    crowd.answer(60.0)
    trial.must(echoes(host.port, authority), "a client that came meanwhile was not served")
    result = crowd.answer(deadline + 60.0)
    ages = result["ages"]
    trial.must(not result["left"], f"{result['left']} of {count} were not closed")
    trial.must(ages[0] >= deadline - 0.1, f"closed too early, after {ages[0]:.2f} s")
    trial.fast(ages[-1] - deadline, 1.0, "closed later than admission_seconds by")
    found = refusals(host)
    trial.must(found == {"late": count}, f"refused: {found}")
    unhandled(trial, host)
    return (
        f"{count} closed after {ages[0]:.1f} to {ages[-1]:.1f} s (admission_seconds"
        f" {deadline:g}), all in {time.monotonic() - began:.1f} s"
    )
