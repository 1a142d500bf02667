"""(t) Echo over TLS 1.3: 64 bytes and 16 KiB on 8 connections, one worker."""

from __future__ import annotations

import tempfile
from pathlib import Path

import trustme

from bench.contenders import ours, uvloop_tls
from bench.contest import Bench, Case, fight
from bench.results import Comparison, Goal
from bench.tls_clients import NAME, PROGRAM

LETTER = "t"
TITLE = "Echo over TLS"
CASES = {"64 B × 8": 64, "16 KiB × 8": 16 * 1024}
PEER = "uvloop TLS, memory kept"
GOALS = (
    Goal(LETTER, "64 B × 8", "cpu_us", "≤", 0.85, PEER, "CPU per message"),
    Goal(LETTER, "16 KiB × 8", "cpu_us", "≤", 1.0, PEER, "CPU per message"),
)
CONFIG = """
plugins = ["echo"]
workers = 1
[[listen]]
address = "tcp://127.0.0.1:0"
tls = "public"
[tls.public]
certificates = [{{ certificate = "{certificate}", key = "{key}" }}]
"""


def run(bench: Bench) -> list[Comparison]:
    """Measure."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        authority, certificate, key = (folder / each for each in ("ca.pem", "a.pem", "a.key"))
        issuer = trustme.CA(key_type=trustme.KeyType.ECDSA)
        leaf = issuer.issue_cert(NAME, key_type=trustme.KeyType.ECDSA)
        issuer.cert_pem.write_to_path(authority)
        certificate.write_bytes(b"".join(each.bytes() for each in leaf.cert_chain_pems))
        key.touch(0o600)
        leaf.private_key_pem.write_to_path(key)
        config = folder / "host.toml"
        config.write_text(CONFIG.format(certificate=certificate, key=key))
        return [
            fight(
                bench,
                Case(
                    LETTER,
                    case,
                    "message",
                    PROGRAM,
                    {"connections": 8, "size": size, "authority": str(authority)},
                    ours(flags=("--config", str(config)), listen=""),
                    uvloop_tls(str(certificate), str(key)),
                ),
            )
            for case, size in CASES.items()
        ]
