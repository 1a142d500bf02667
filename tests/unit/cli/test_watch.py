"""The live view of `top`: how it goes on, and how it ends, whatever the host does meanwhile."""

import signal
from contextlib import closing

import pytest

from host.cli.top import View
from host.cli.watch import watch
from host.control.commands import CommandError
from host.testing.machine import patience
from support.at_terminal import DEADLINE_SECONDS
from support.fake_host import STATUS, FakeHost, worker

LEFT = b"\x1b[?1049l"
"""What leaves the screen of its own (xterm's alternate one): all is as it was before."""


@pytest.mark.parametrize("how", ["q", "Ctrl-C"])
def test_it_goes_on_until_it_is_told_to_end(host, terminal, how):
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
    shown.wait_for(LEFT)


def test_keys_work_while_the_host_does_not_answer(host, terminal):
    shown = terminal("top", "--name", host(status=[STATUS, None]).name, "--timeout", "60")
    shown.wait_for(b"by slot")
    shown.type(b" ")
    shown.type(b"c")
    shown.wait_for(b"by cpu")
    shown.type(b"r")
    shown.wait_for(b"by cpu, reversed")
    shown.type(b"q")
    assert shown.process.wait(patience(DEADLINE_SECONDS)) == 0


def test_another_size_is_drawn_at_once_and_nothing_is_cleared_first(host, terminal):
    shown = terminal("top", "--name", host(status=[STATUS, None]).name, width=120)
    shown.wait_for(b"OUTSTANDING")
    shown.resize(40, 12)
    shown.wait_for(b"generation 1, up 1d")
    shown.resize(120, 24)
    shown.wait_for(b"OUTSTANDING", times=2)
    shown.type(b"q")
    shown.wait_for(LEFT)
    assert b"\x1b[2J" not in shown.said
    assert b"\x1b[J" not in shown.said


def test_a_terminal_that_does_not_know_its_size_is_one_of_80_columns(host, terminal):
    shown = terminal("top", "--name", host(status=STATUS).name, width=0, height=0)
    shown.wait_for(b"a active  m me")
    shown.type(b"q")
    assert shown.process.wait(patience(DEADLINE_SECONDS)) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_when_the_terminal_is_as_it_was(host, terminal, number):
    shown = terminal("top", "--name", host(status=STATUS).name)
    shown.wait_for(b"by slot")
    shown.process.send_signal(number)
    shown.wait_for(LEFT)
    assert shown.process.wait(patience(DEADLINE_SECONDS)) == -number


def test_it_leaves_the_screen_when_it_is_stopped_and_comes_back(host, terminal):
    shown = terminal("top", "--name", host(status=STATUS).name)
    shown.wait_for(b"by slot")
    shown.process.send_signal(signal.SIGTSTP)
    shown.wait_for(LEFT)
    shown.process.send_signal(signal.SIGCONT)
    shown.wait_for(b"\x1b[?1049h", times=2)
    shown.type(b"q")
    assert shown.process.wait(patience(DEADLINE_SECONDS)) == 0


def test_a_host_that_has_ended_is_said_to_have(terminal):
    with closing(FakeHost(status=STATUS)) as fake:
        shown = terminal("top", "--name", fake.name)
        shown.wait_for(b"by slot")
    shown.wait_for(b"no host named")
    shown.type(b"q")
    assert shown.process.wait(patience(DEADLINE_SECONDS)) == 0


def test_hundreds_of_workers_are_sorted_and_gone_through(host, terminal):
    many = [worker(slot, active=slot) for slot in range(300)]
    fake = host(status=STATUS | {"workers": many})
    shown = terminal("top", "--name", fake.name, "--sort", "active", width=60)
    shown.wait_for(b" 299 ")
    shown.wait_for(b"workers 1 to ")
    shown.type(b"\x1b[B")
    shown.wait_for(b"workers 2 to ")
    shown.type(b"q")
    assert shown.process.wait(patience(DEADLINE_SECONDS)) == 0


class Interrupting(dict):
    """A state of a host that is read while Ctrl-C is pressed; notes what is read after that."""

    def __getitem__(self, key):
        if key == "version":
            signal.raise_signal(signal.SIGINT)  # to this thread: pytest-xdist has others
        self.setdefault("read", []).append(key)
        return super().__getitem__(key)


def test_ctrl_c_amid_a_drawing_ends_it_when_all_is_drawn():
    before = signal.getsignal(signal.SIGINT)
    state = Interrupting(STATUS)
    watch(lambda: state, View())
    assert "listeners" in state["read"][state["read"].index("version") :]
    assert signal.getsignal(signal.SIGINT) is before
