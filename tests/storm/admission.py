"""Those who come in slowly, too often, or from addresses that they have made up."""

from __future__ import annotations

import socket
import time

from host.control import client
from host.testing.machine import patience
from storm.hosts import POLITE, StormHost, soon
from storm.load import pass_time
from storm.peers import OTHERS, compared, unhandled
from storm.rows import Trial, row
from support.address import connect
from support.client_counts import counted, memory_of_counts
from support.session import ask

PROXY = "127.0.0.2"
CONFIG = """
[limits]
{limits}
[[listen]]
address = "tcp://127.0.0.1:0"
proxy = "any"
proxy_from = ["{proxy}"]
proxy_others = "plain"
[[listen]]
address = "tcp://127.0.0.1:0"
max_per_client = 0
"""
V1 = b"PROXY TCP6 2001:db8::1 2001:db8::2 50000 443\r\n"
V2 = bytes.fromhex("0d0a0d0a000d0a515549540a21110010010203040506070803e80050030001ff")
BEGINS = (b"", V1[:1], V1[:-1], V2[:12], V2[:15], V2[:-1])
"""Where headers stop: before the first byte, and in each step of reading them."""


def behind_a_proxy(trial: Trial, plugin: str, limits: str) -> StormHost:
    """Start a host that takes headers from one address, and all others for clients."""
    config = trial.folder / f"host-{len(list(trial.folder.iterdir()))}.toml"
    config.write_text(CONFIG.format(limits=limits, proxy=PROXY))
    return trial.start(plugin, listen=(), flags=("--config", str(config)))


@row(
    50,
    "800 peers that send a PROXY header byte by byte and never its end, from the first byte on",
    "each closed within admission_seconds + 1 s; others 100 % served, p99 < 2 ×",
)
def unfinished_headers(trial: Trial) -> str:
    deadline = trial.pick(2.0, 10.0)
    host = behind_a_proxy(trial, "echo", f"admission_seconds = {deadline}")
    load = trial.load(host.addresses[0], **OTHERS)
    load.under_way()
    before = pass_time(trial.pick(2.0, 10.0))
    count, began = trial.pick(120, 800), time.monotonic()
    crowd = trial.crowd(
        "unfinished",
        host.addresses[0],
        count=count,
        every=deadline / 40,
        seconds=patience(deadline + 20.0),
        source=PROXY,
        begins=[each.hex() for each in BEGINS],
    )
    crowd.answer(60.0)
    result = crowd.answer(deadline + 60.0)
    during = (began, time.monotonic())
    one, other = load.waits("loops", [before, during])
    others = load.end()
    ages = result["ages"]
    trial.must(not result["left"], f"{result['left']} of {count} were not closed")
    trial.must(ages[0] >= deadline - 0.1, f"closed too early, after {ages[0]:.2f} s")
    trial.fast(ages[-1] - deadline, 1.0, "closed later than admission_seconds by")
    trial.must(not others.failed, f"others failed: {others.causes()}")
    found = refusals(host)
    trial.must(found == {"late": count}, f"refused: {found}")
    unhandled(trial, host)
    return (
        f"{count} closed after {ages[0]:.1f} to {ages[-1]:.1f} s (admission_seconds"
        f" {deadline:g}); others {others.served:,} served, {others.failed} failed;"
        f" {compared(trial, one, other, 2.0)}"
    )


@row(
    51,
    "clients from 1,000,000 forged addresses behind a proxy, and one client at its limit",
    "memory of the counts flat; all of them served; the one has its limit; others' p99 < 2 ×",
)
def forged_addresses(trial: Trial) -> str:
    limit, workers = 10, 4
    settings = f'max_per_client = {limit}\nrate_per_client = "1000/s"'
    host = behind_a_proxy(trial, POLITE, settings)
    held = [connect(host.addresses[0]) for _ in range(limit)]
    for sock in held:
        ask(sock)
    load = trial.load(host.addresses[1], **{**OTHERS, "plain": False})
    load.under_way()
    before = pass_time(trial.pick(2.0, 10.0))
    sizes, served, rounds, began = [], 0, 0, time.monotonic()
    for number in trial.rounds(range(2), range(100)):
        count = trial.pick(1000, 10_000)
        result = trial.crowd(
            "forgers", host.addresses[0], count=count, batch=50, seed=number, source=PROXY
        ).answer(600.0)
        trial.must(not result["failures"], f"not served: {result['failures']}")
        served, rounds = served + result["served"], rounds + count
        sizes.append(memory_of_counts(host.pid))
        with connect(host.addresses[0]) as one_more:
            trial.must(is_refused(one_more), "the client at its limit got another connection")
    one, other = load.waits("loops", [before, (began, time.monotonic())])
    others = load.end()
    trial.must(not others.failed, f"others failed: {others.causes()}")
    trial.must(served == rounds, f"{rounds - served} of {rounds} forged clients were not served")
    # A row has three pairs of tables; every page of them has been touched by then.
    most = workers * 3 * (256 << 10) + (128 << 10)
    trial.must(sizes[-1] <= most, f"the counts take {sizes[-1] >> 10} KiB, at most {most >> 10}")
    trial.must(soon(lambda: counted(host.pid) == limit, 10.0), "others count that have left")
    for sock in held:
        ask(sock)
        sock.close()
    trial.must(soon(lambda: counted(host.pid) == 0, 10.0), "some count that have left")
    unhandled(trial, host)
    return (
        f"{served:,} of {rounds:,} forged clients served; the counts take {sizes[-1] >> 10} KiB"
        f" ({sizes[0] >> 10} after the first round); the one had {limit} all the time;"
        f" {compared(trial, one, other, 2.0)}"
    )


def refusals(host: StormHost) -> dict[str, int]:
    """Return how many were not let in, by cause."""
    listener = client.ask(host.name, "status", {}, patience(10.0))["listeners"][0]
    return {cause: count for cause, count in listener["refusals"].items() if count}


def is_refused(sock: socket.socket) -> bool:
    """Tell whether a connection is closed without an answer."""
    try:
        ask(sock)
    except (OSError, AssertionError):
        return True
    return False
