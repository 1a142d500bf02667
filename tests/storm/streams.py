"""Standard streams that are of no use, and plugins that take them away."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
from contextlib import ExitStack, suppress

from host.control.client import ask as query
from host.errors import ExitCode, RemoteError
from storm.hosts import StormHost, soon
from storm.rows import Trial, row
from storm.signals import Terminal, terminal
from support.address import connect
from support.hosting import PRINTING, command, environment
from support.processes import says_last_words

BUFFERED = {"PYTHONUNBUFFERED": ""}
"""What is printed waits in the process."""
USABLE, GONE = "usable", "terminal gone"
INPUT = (USABLE, "closed", "broken", GONE)
OUTPUT = (USABLE, "closed", "full", "stalled", "broken", GONE)
SHORT = (
    ("closed", "closed", "closed"),
    (USABLE, "full", "stalled"),
    (GONE, GONE, GONE),
    ("broken", "stalled", "broken"),
)


def is_ready(host: StormHost) -> bool:
    """Tell whether a host says that it is ready."""
    with suppress(RemoteError):
        return bool(query(host.name, "status", {}, 10.0)["ready"])
    return False


def exchange(client: socket.socket, data: bytes) -> bool:
    """Send something; tell whether exactly that comes back."""
    client.sendall(data)
    return client.recv(1000) == data


@row(
    38,
    "standard input, output, error closed, full, stalled, broken, or a terminal that is closed"
    " while the host runs; each combination; a worker ends meanwhile",
    "host and commands behave as without; exit codes as documented",
)
def streams(trial: Trial) -> str:
    tried, every = 0, list(itertools.product(INPUT, OUTPUT, OUTPUT))
    trial.random.shuffle(every)
    for states in trial.rounds(SHORT, every):
        with terminal() as window:
            one_host(trial, states, window)
        tried += 1
    return (
        f"{tried} combinations: served, a worker replaced, `status --ready` 0, a plugin"
        " that there is not 4, stopped 0"
    )


def one_host(trial: Trial, states: tuple[str, ...], window: Terminal) -> None:
    """Serve with such streams, replace a worker, ask by a command, and stop."""
    chosen = {number: state for number, state in enumerate(states) if state != USABLE}
    spoiled = {number: state for number, state in chosen.items() if state != GONE}
    given = {number: window.path if state == GONE else state for number, state in chosen.items()}
    name = ", ".join(states)
    path = trial.folder / "streams.sock"
    host = trial.start(
        PRINTING,
        workers=2,
        listen=(f"unix:{path}",),
        ready=False,
        env=BUFFERED,
        streams=given,
    )
    trial.must(soon(lambda: is_ready(host), 10.0), f"{name}: it does not start")
    with connect(f"unix:{path}") as first, connect(f"unix:{path}") as second:
        trial.must(exchange(first, b"1") and exchange(second, b"2"), f"{name}: not served")
        window.close()
        trial.must(exchange(first, b"3") and exchange(second, b"4"), f"{name}: not served on")
        first.shutdown(socket.SHUT_WR)
        trial.must(first.recv(1) == b"", f"{name}: a session was not ended")
        trial.must(soon(lambda: idle(host), 10.0), f"{name}: its worker has it still")
        pid = idle(host)[0]
        os.kill(pid, signal.SIGTERM)
        trial.must(soon(lambda: replaced(host, pid), 10.0), f"{name}: not replaced")
        trial.must(exchange(second, b"5"), f"{name}: a session of the other worker was lost")
    if states[1] != "stalled":  # it would wait for somebody to read, as any program
        asked = command(["status", "--ready", "--name", host.name], streams=spoiled)
        code = subprocess.run(asked, env=environment(), capture_output=True, check=False).returncode
        trial.must(code == 0, f"{name}: `status --ready` has ended with {code}")
    code = refusal(spoiled)
    trial.must(code == ExitCode.PLUGIN, f"{name}: a plugin that there is not: {code}")
    code = host.stop()
    trial.must(code == 0, f"{name}: exit code {code}")
    host.other_output.clear()  # what the plugin prints
    trial.broken += host.finish()


def idle(host: StormHost) -> list[int]:
    """Return the workers that have no connection."""
    told = query(host.name, "status", {}, 10.0)["workers"]
    return [each["pid"] for each in told if not each["active"]]


def replaced(host: StormHost, pid: int) -> bool:
    """Tell whether a worker has gone, and all are ready."""
    told = query(host.name, "status", {}, 10.0)
    return told["ready"] and pid not in [each["pid"] for each in told["workers"]]


def refusal(states: dict[int, str]) -> int:
    """Start a host that cannot start; return its exit code. Who cannot say why is told to end."""
    asked = command(["--plugin", "no_such_plugin"], streams=states)
    with subprocess.Popen(
        asked, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:

        def ended() -> bool:
            if process.poll() is None:
                with suppress(FileNotFoundError):
                    if states.get(2) == "stalled" and says_last_words(process.pid):
                        process.terminate()
            return process.poll() is not None

        if not soon(ended, 10.0):
            process.kill()
    return process.returncode


@row(
    41,
    "a plugin closes descriptors 0 to 2 in a worker and opens files in their place, while clients"
    " come, send and make it raise",
    "no log byte ever reaches a client; no client's byte is taken for input",
)
def taken_streams(trial: Trial) -> str:
    host = trial.start(PRINTING, workers=1, env=BUFFERED)
    taken = 0
    words = [f"{word} {number}" for word in ("close", "take") for number in (0, 1, 2)]
    with ExitStack() as stack:
        clients: list[socket.socket] = []
        for turn in trial.rounds(range(60), range(2000)):
            taken += 1
            word = trial.random.choice(words)
            with connect(host.address) as harmful:
                harmful.sendall(word.encode())
                trial.must(harmful.recv(1000) == word.encode(), f"{word}: no answer")
            if len(clients) < 20:
                clients.append(stack.enter_context(connect(host.address)))
            with connect(host.address) as raising:
                raising.sendall(b"raise")
                trial.must(raising.recv(1000) == b"", "what raises was answered")
            for number, client in enumerate(clients):
                data = b"%d from %d" % (turn, number)
                trial.must(exchange(client, data), f"{word}: a client got something else")
            with connect(host.address) as curious:
                curious.sendall(b"read 0")
                trial.must(curious.recv(1000) == b"read 0: nothing", f"{word}: there is input")
    trial.must(host.stop() == 0, "it did not stop well")
    host.other_output.clear()  # what the plugin prints
    trial.broken += host.finish()
    told = len(host.events("hook_failed"))  # so many a second
    trial.must(told, "nothing is in the log")
    return f"{taken:,} descriptors taken, {told:,} log lines, 20 clients: each got its own bytes"
