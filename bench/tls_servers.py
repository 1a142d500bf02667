"""The servers with TLS that are compared, and the certificate that they all have."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

from bench.contenders import Contender, ours, terminator, uvloop_tls
from bench.tls_clients import HOST_NAME

UVLOOP = "uvloop TLS, memory kept"
"""What uvloop is judged by; see `uvloop_tls`."""
CONFIG = """
plugins = ["echo"]
workers = 1
[[listen]]
address = "tcp://127.0.0.1:0"
tls = "public"
[tls.public]
certificates = [{{ certificate = "{certificate}", key = "{key}" }}]
"""


@dataclass(frozen=True)
class TlsServers:
    """Servers with TLS of one worker each.

    Attributes:
        authority: the file with the certificate of who has issued theirs.
        host: the host.
        uvloop: uvloop, as it is and with memory that glibc keeps.
        nginx, haproxy: they alone, without the echo behind them.
    """

    authority: str
    host: Contender
    uvloop: tuple[Contender, ...]
    nginx: Contender
    haproxy: Contender


@contextmanager
def tls_servers() -> Iterator[TlsServers]:
    """Make what they need, in a folder that is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        authority, certificate, key = (folder / each for each in ("ca.pem", "a.pem", "a.key"))
        issuer = trustme.CA(key_type=trustme.KeyType.ECDSA)
        leaf = issuer.issue_cert(HOST_NAME, key_type=trustme.KeyType.ECDSA)
        issuer.cert_pem.write_to_path(authority)
        certificate.write_bytes(b"".join(each.bytes() for each in leaf.cert_chain_pems))
        key.touch(0o600)
        leaf.private_key_pem.write_to_path(key)
        config = folder / "host.toml"
        config.write_text(CONFIG.format(certificate=certificate, key=key))
        files = str(certificate), str(key)
        yield TlsServers(
            str(authority),
            ours(flags=("--config", str(config)), listen=""),
            uvloop_tls(*files),
            terminator("nginx", *files, name),
            terminator("haproxy", *files, name),
        )
