"""What `top` shows, and how it ends; a status is coloured where a terminal shows it."""

import fcntl
import io
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest
from rich.console import Console

from host.cli.screen import Rates, Table, ago, frame, watch
from host.control.commands import CommandError
from host.testing.machine import patience
from support.fake_host import EVIL, LISTENER, SPELLED, STATUS, TROUBLED, worker

DEADLINE_SECONDS = 10.0


def drawn(status, height=24, note="", seen=()):
    rates = Rates()
    for moment, each in enumerate([*seen, status]):
        rates.update(each, float(moment))
    output = io.StringIO()
    console = Console(
        width=80, height=height, file=output, force_terminal=True, color_system=None, markup=False
    )
    console.print(frame(status, rates, height, note))
    lines = output.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= height or height < 12
    assert "\x1b" not in output.getvalue()
    return lines


def test_a_frame_has_rates_and_fits_80_columns():
    before = STATUS | {
        "workers": [worker(0, accepted=9_999_000)],
        "listeners": [LISTENER | {"accepted": 19_999_000}],
    }
    lines = drawn(STATUS, seen=[before])
    assert lines[2:] == [
        "",
        "LISTENER             PLUGIN WAITING ACCEPTED RATE SPURIOUS REFUSED",
        "tcp://127.0.0.1:7000 echo         0 20000000 1000        5       0",
        "",
        "SLOT     PID GEN STATE   ACTIVE ACCEPTED RATE OUTSTANDING AGE   TURN MEMORY",
        "   0 4000000   1 serving  12345 10000000 1000           3  3m 12.3ms    31M",
        "   1 4000001   1 serving  12345 10000000    -           3  3m 12.3ms    31M",
        "",
        "q: quit",
    ]


def test_of_many_workers_a_frame_shows_what_there_is_room_for():
    many = STATUS | {"workers": [worker(slot) for slot in range(100)]}
    lines = drawn(many)
    assert sum(" serving " in line for line in lines) == 14
    assert len(lines) == 24
    assert "86 more workers: `status` shows them" in lines
    assert sum(" serving " in line for line in drawn(many, height=5)) == 1


def test_a_frame_of_troubles_harms_no_terminal():
    lines = drawn(TROUBLED, note=f"no answer {EVIL}")
    assert lines[0] == f"no answer {SPELLED}"
    assert any(line.startswith("worker 1 (pid 77) hung 1m ago") for line in lines)


def test_rates_of_a_slot_whose_count_begins_anew_are_not_negative():
    rates = Rates()
    rates.update(STATUS, 1.0)
    rates.update(STATUS | {"workers": [worker(0, accepted=1)]}, 2.0)
    assert rates.of("worker 4000000") == "0"
    assert rates.of("worker 4000001") is None


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (59.4, "59s"), (60, "1m"), (3600, "1h"), (200_000, "2d")]
)
def test_times_are_in_their_largest_unit(seconds, text):
    assert ago(seconds) == text


def test_a_table_without_rows():
    assert Table.of("ID PEER", []).plain() == "ID  PEER"


class Terminal:
    """A terminal of 80 columns with a command in it."""

    def __init__(self, *args):
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
        self.said = b""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "host", *args],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env=os.environ | {"TERM": "xterm-256color"},
        )
        os.close(theirs)

    def wait_for(self, text, seconds=DEADLINE_SECONDS):
        deadline = time.monotonic() + patience(seconds)
        while text not in self.said:
            left = deadline - time.monotonic()
            assert left > 0, self.said
            if select.select([self._ours], [], [], left)[0]:
                try:
                    self.said += os.read(self._ours, 65_536)
                except OSError:  # EIO: the command has ended
                    assert text in self.said, self.said

    def type(self, keys):
        os.write(self._ours, keys)

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


@pytest.fixture
def terminal():
    started = []

    def start(*args):
        started.append(Terminal(*args))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.mark.parametrize("how", ["q", "Ctrl-C"])
def test_top_goes_on_until_it_is_told_to_end(host, terminal, how):
    fake = host(status=[STATUS, CommandError("too busy"), STATUS | {"version": "9.9"}])
    shown = terminal("top", "--name", fake.name)
    shown.wait_for(b"fake 0.1.0")
    shown.type(b" ")
    shown.wait_for(b"too busy")
    shown.wait_for(b"fake 9.9")
    if how == "q":
        shown.type(b"q")
    else:
        shown.process.send_signal(signal.SIGINT)
    assert shown.process.wait(patience(DEADLINE_SECONDS)) == 0
    shown.wait_for(b"\x1b[?1049l")  # the screen is what it was before


class Interrupting(dict):
    """A state of a host that is read while Ctrl-C is pressed; notes what is read after that."""

    def __getitem__(self, key):
        if key == "version":
            signal.raise_signal(signal.SIGINT)  # to this thread: pytest-xdist has others
        self.setdefault("read", []).append(key)
        return super().__getitem__(key)


def test_ctrl_c_amid_a_drawing_ends_it_when_all_is_drawn():
    state = Interrupting(STATUS)
    watch(lambda: state)
    assert "listeners" in state["read"][state["read"].index("version") :]


def test_on_a_terminal_status_has_colours(host, terminal):
    shown = terminal("status", "--name", host(status=STATUS).name)
    assert shown.process.wait(patience(DEADLINE_SECONDS)) == 0
    shown.wait_for(b"\x1b[32mserving")
