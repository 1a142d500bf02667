"""Writes docs/performance.md whole: the tables goal by goal, the plots, and how to repeat it."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path

from bench import tables
from bench.plots import draw
from bench.results import Report

_WIDTH = 108

HOSTS = ("<!-- hosts -->\n", "<!-- end of the hosts -->\n")
"""What `bench.bus` has measured is between these, and stays there when the page is written."""

Draw = Callable[[Report, Path], dict[str, Path]]

_INTRODUCTION = """\
How much of the machine the host needs, compared with what a user would pick instead, and with a
minimal server in C that does one `epoll_wait` for a batch of events, one `recv` and one `send` for
each message. That server is the floor: in C, too, it could hardly be less. The *Python loop* makes
the same three calls and does nothing else: no server in Python could do with less. For lines it
also makes one call each.
[Where the time goes](costs.md) says what a message, a line, a connection and a start consist of.

`python -m bench` has measured all that is on this page, and has written the page. Machines are
noisy, so what matters are ratios: two servers take turns in short slices, and each ratio is of two
slices that are next to each other in time. A ratio is shown as the median of all pairs, with the
smallest and the largest. *CPU each* is the CPU time, user and system, of all processes of a server,
divided by what it did. It stands beside throughput, because on a machine that also runs the clients
throughput depends on them, too; the clients are in C so that they are not what is measured.
"""

_METHOD = """\
Every server is started with its defaults on a free port of the loopback. The peers are in
`bench/peers`, each written as its own documentation teaches; the load generator and the floor are
in `bench/load`. A client sends a message, waits for the whole answer, checks it, and sends the next
one. Latencies are from the sending to the answer. Opened connections stay open over all slices of a
case.

The clients wait for events as real ones do, asleep if there are none. Who wakes a sleeping client
pays for it: that is the server, in send(2). It is the same for all servers, so it brings ratios
nearer to 1. Clients that poll, without ever sleeping, take that part away; the table of (a) has
both. The goals are judged with clients that wait: so do the clients of real servers.

`asyncio.Protocol` gets a new buffer of 256 KiB for each read. Some processes get it from the
kernel each time and some from memory that glibc keeps, which makes a factor of three or more
between two runs of the same program. So the bar for asyncio is `asyncio.BufferedProtocol`, which
brings its own buffer; the other one is shown for comparison.

For connections a client connects, sends 64 bytes when it may, waits for the answer, closes, and
connects again; one process does so for all of them. It closes as real clients do, with a FIN; one
table has the same with a reset (SO_LINGER 0), which spares both sides the rest of TCP's farewell.
Each connection comes from the next of 250 addresses: a single one has 28,000 ports, and each stays
in TIME_WAIT for a minute, or a second where the kernel may use it again (`tcp_tw_reuse`, tcp(7)),
so there soon would be none left.

The *process pool* is the one of the textbooks, in C (`bench/load/pool.c`): the parent waits for the
listening socket, takes the next child in turn, and writes to it; the child accepts one connection.
As it is usually written (*edges*), clients that come together may make one event, and one of them
is accepted: the others are left waiting. After a second nearly all of them are, so each slice has
servers of its own. The other pool is told as long as anybody waits. It leaves nobody waiting, but
it tells children again and again until one has accepted, most of their accepts find nobody, and who
gets how many is left to chance.

For requests the clients are redis-benchmark and the bar is redis-server, a server in C.

For TLS the clients are in Python, 8 connections that all send and then all wait, so only the CPU
time of the server says something, and not the rate. uvloop reads each message into 256 KiB, too,
and in some processes glibc maps and unmaps them for each message: three times the cost. So the bar
is uvloop with memory kept (`MALLOC_MMAP_THRESHOLD_`), and the other one is shown for comparison.
nginx and HAProxy stand with TLS before uvloop's echo, and only what they themselves use is counted:
in the host and in uvloop it is the TLS and the echo. All have the same certificate (P-256).

Handshakes are full ones: the clients have no sessions to resume. For (v) they are in a process of
their own, and the latencies are those of the 8 sessions alone. For (w) each connection has sent one
message of 64 bytes and read its echo; it is memory that OpenSSL keeps, and what the servers add.

Memory per connection is what the server's processes grow by (PSS, so shared memory counts once)
divided by the number of connections; what the kernel keeps for a socket is the same for all and not
in it. A wake-up is a voluntary context switch of any thread.
"""

_REPEAT = """\
On Linux, with gcc, in a checkout (and with redis-server and redis-benchmark for (j), and for TLS
with HAProxy and nginx, with its module stream):

```sh
.venv/bin/pip install -e '.[bench]'
.venv/bin/python -m bench
```

| flag | what it does |
|---|---|
| `--quick` | short slices and small cases: shows that everything works, not how fast it is |
| `--workloads a,c` | only these; the letters are those above, and `scale` and `dispatch` |
| `--peers uvloop,twisted,c` | only these families of peers; `c`: the floor and the process pool |
| `--seconds S`, `--pairs N` | how long a slice is, and how many pairs of them there are |
| `--json FILE` | writes all readings |
| `--from FILE` | measures nothing but shows what `--json` has written; may be repeated |
| `--plots DIR` | draws the plots |
| `--markdown FILE` | writes this page, with the plots in a folder beside it |

`tox -e bench` does the same in an environment of its own. What continuous integration checks is
what no other load on the machine can change: `tests/process/test_costs.py` counts system calls, and
`tests/unit/worker/test_hot_path.py` bytecodes.
"""

_HOSTS_ABOUT = """\
A message of the bus goes from a worker over its supervisor and bridge to Redis, and over the other
host's bridge and supervisor to a worker there. Beside it, one goes from a process with redis-py to
Redis and to another such process. What is compared takes turns.
`python -m bench.bus --markdown docs/performance.md` has measured this table.
"""

_PLOTS = {
    "a": ("echo", "latency"),
    "b": ("bulk",),
    "c": ("lines",),
    "d": ("connects",),
    "h": ("mixed",),
    "scale": ("scale",),
    "dispatch": ("dispatch",),
}
_ALT = {
    "goals": "What was measured as a part of each goal",
    "echo": "CPU time per message of each server",
    "latency": "Latency of each server",
    "bulk": "CPU time per large message of each server",
    "lines": "CPU time per line of each server",
    "connects": "Connections per second",
    "mixed": "CPU time per message amid idle connections",
    "scale": "CPU time per message with more connections and workers",
    "dispatch": "CPU time of a dispatch pass with more candidates and listeners",
}


def write(report: Report, path: Path, draw: Draw = draw) -> None:
    """Write the page, and its plots into a folder of the same name beside it.

    Args:
        report: what was measured.
        path: the page's file.
        draw: draws the plots into a folder; returns the file of each.
    """
    folder, hosts = path.with_suffix(""), ""
    if path.exists():
        hosts = path.read_text(encoding="utf-8").partition(HOSTS[0])[2].partition(HOSTS[1])[0]
    plots = {name: f"{folder.name}/{file.name}" for name, file in draw(report, folder).items()}
    path.write_text("\n".join(_page(report, plots, hosts)) + "\n")


def _page(report: Report, plots: dict[str, str], hosts: str) -> Iterable[str]:
    yield "# Performance\n"
    yield _INTRODUCTION
    yield "## The machine\n"
    yield from _machine(report)
    if report.settings.get("quick"):
        yield "This was a `--quick` run: it shows that all works, and little of how fast it is.\n"
    yield "## Goals\n"
    yield tables.markdown(tables.goals(report)) + "\n"
    yield from _images(["goals"], plots)
    for title, comparisons in tables.by_workload(report):
        yield f"## {title}\n"
        for table in tables.of_workload(comparisons):
            yield f"{table.title}:\n"
            yield tables.markdown(table) + "\n"
        notes = dict.fromkeys(note for one in comparisons for note in one.notes)
        for note in notes:
            yield textwrap.fill(f"- not measured: {note}", _WIDTH, subsequent_indent="  ") + "\n"
        yield from _images(_PLOTS.get(comparisons[0].workload, ()), plots)
    yield "## The bus over two hosts\n"
    yield _HOSTS_ABOUT
    yield f"{HOSTS[0]}{hosts}{HOSTS[1]}"
    yield "## How it is measured\n"
    yield _METHOD
    yield "## To repeat it\n"
    yield _REPEAT.rstrip()


def _machine(report: Report) -> Iterable[str]:
    seconds = report.settings["seconds"]
    counts = [len(pairs) for one in report.comparisons for pairs in one.pairs.values()]
    few, many = min((count for count in counts if count > 1), default=1), max(counts, default=1)
    rows = [("date", report.date), *report.machine.items()]
    rows += [("slices", f"{seconds:g} s, {few} to {many} pairs")]
    rows += [("versions", ", ".join(f"{key} {value}" for key, value in report.versions.items()))]
    yield (
        "| what | |\n|---|---|\n" + "\n".join(f"| {key} | {value} |" for key, value in rows) + "\n"
    )


def _images(names: Iterable[str], plots: dict[str, str]) -> Iterable[str]:
    for name in names:
        if name in plots:
            yield f"![{_ALT[name]}]({plots[name]})\n"
