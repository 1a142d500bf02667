"""A re-exec that fails leaves everything as it was."""

import errno
import os
import resource
import signal
from contextlib import closing

import pytest

from host.errors import ListenError
from host.ipc.scoreboard import SENT
from host.net.listeners import open_listener
from host.runtime.usage import address_space
from host.settings import BusSettings, Listen, Process
from host.supervisor.reload import handover
from host.supervisor.reload.reexec import hand_over, reexec
from host.supervisor.reload.reloader import Plan, ReloadError
from support.generations import ANY_PORT, connect
from support.reexecuting import Before
from support.supervision import site


class Attempt:
    """A re-exec whose program does not exist.

    Attributes:
        certain: what `on_certain` has seen: whether the control channels would be inherited.
        started: how often the stand-in was started.
        refusal: what its start raises.
    """

    def __init__(self, before):
        self.before, self.site = before, before.site
        self.certain, self.started, self.refusal = [], 0, None

    def start(self, parts):
        assert parts is self.before.parts
        self.started += 1
        if self.refusal is not None:
            raise self.refusal
        return self.before.stand_in

    def run(self, *listens, address_space=0, **process):
        plan = Plan(
            format=handover.FORMAT,
            process=Process(**process),
            bus=BusSettings(),
            listen=list(listens),
            ops=[],
            control="prefork",
            address_space=address_space,
        )
        reexec(self.before.parts, plan, self._certain, self.start)

    def _certain(self):
        handle = self.site.find(0)
        self.certain.append(os.get_inheritable(handle.channel.fileno()))


@pytest.fixture
def attempt():
    with site() as made, closing(Before(made)) as before:
        made.start()
        yield Attempt(before)


def blocked():
    return signal.pthread_sigmask(signal.SIG_BLOCK, ())


def descriptors(*but):
    """Return the open descriptors but these, each with whether an exec would leave it open."""
    numbers = {int(name) for name in os.listdir("/proc/self/fd")} - {*but}
    found = {}
    for number in numbers:
        try:
            found[number] = os.get_inheritable(number)
        except OSError:  # the one by which the folder was read
            continue
    return found


def test_a_program_that_does_not_exist_leaves_everything_as_it_was(attempt):
    _pid, *closed = attempt.before.stand_in.model_dump().values()
    signals, before = blocked(), descriptors(*closed)
    handed = attempt.before.hand_over()
    with pytest.raises(FileNotFoundError):
        attempt.run(ANY_PORT)
    assert attempt.certain == [True]
    assert descriptors(*closed) == before
    assert blocked() == signals
    assert attempt.before.hand_over() == handed
    assert handover.VARIABLE not in os.environ


def test_the_stand_in_ends_when_the_exec_fails(attempt):
    with pytest.raises(FileNotFoundError):
        attempt.run()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(attempt.before.stand_in.pipe)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(attempt.before.stand_in.written)


def test_who_came_meanwhile_is_handed_out_when_the_exec_has_failed(attempt):
    serving = attempt.site.generations.serving
    with connect(serving.sockets[0]):
        with pytest.raises(FileNotFoundError):
            attempt.run()
        assert serving.scoreboard.total(0, SENT) == 1


def test_an_address_that_was_added_is_closed_when_the_exec_fails(attempt, tmp_path):
    path = tmp_path / "a.sock"
    with pytest.raises(FileNotFoundError):
        attempt.run(Listen(address=f"unix:{path}"))
    assert not path.exists()


def test_an_address_that_is_refused_ends_the_attempt_before_anything_is_started(attempt):
    before = descriptors()
    with pytest.raises(ListenError):
        attempt.run(Listen(address="unix:/no/such/folder/a.sock"))
    assert (attempt.started, attempt.certain) == (0, [])
    assert descriptors() == before


def test_a_stand_in_that_cannot_be_started_ends_the_attempt(attempt, tmp_path):
    path = tmp_path / "a.sock"
    attempt.refusal = OSError(errno.EAGAIN, "try again")
    signals, before = blocked(), descriptors()
    with pytest.raises(OSError, match="try again"):
        attempt.run(Listen(address=f"unix:{path}"))
    assert (attempt.started, attempt.certain) == (1, [])
    assert not path.exists()
    assert descriptors() == before
    assert blocked() == signals


def test_a_socket_that_two_generations_have_is_handed_over_once():
    with site(coming=True, lost=1) as made, closing(Before(made)) as before:
        handed = before.hand_over()
        serving = made.generations.serving
        assert [each.fd for each in handed.sockets] == [each.fileno() for each in serving.sockets]
        assert handed.serving.sockets == [0, 1]


def test_a_generation_without_workers_that_does_not_serve_is_left_behind():
    with site(coming=True) as made, closing(Before(made)) as before:
        handed = before.hand_over()
        assert [each.generation for each in handed.scores] == [0]
        assert handed.generation == 2


def test_a_listener_that_was_added_is_handed_over_and_not_served_yet(attempt):
    with closing(open_listener(ANY_PORT, 0, "line")) as added:
        serving = attempt.site.generations.serving
        sockets = [*serving.sockets, added]
        handed = hand_over(attempt.before.parts, sockets, attempt.before.stand_in)
        assert [each.fd for each in handed.sockets] == [each.fileno() for each in sockets]
        assert handed.serving.sockets == [0]
        assert handed.served == {(serving.listeners[0].address, "echo")}


def test_a_process_that_could_not_map_the_counters_is_not_begun(attempt):
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    mapped = address_space()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + (200 << 20), hard))
    try:
        with pytest.raises(ReloadError, match=r"MiB of address space.*RLIMIT_AS"):
            attempt.run(address_space=mapped + (190 << 20))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert attempt.started == 0
