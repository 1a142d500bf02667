"""What is decided before a host starts: who serves what, and how many connections fit."""

import resource
from types import SimpleNamespace

import pytest

from host.errors import ExitCode, LimitsError, ListenError
from host.ipc.protocol import MAX_LISTENERS
from host.runtime.processes import Exit
from host.settings import Limits, Listen, Settings, SettingsError
from host.startup.limits import RESERVED_DESCRIPTORS, max_connections, raise_descriptor_limit
from host.startup.prepare import DEFAULT_ADDRESS, assign
from host.supervisor.reload.sockets import take_listeners


class Registry:
    """Who was selected: `protocols` serve, the others do not."""

    def __init__(self, protocols=(), others=()):
        self.protocols = tuple(protocols)
        self.plugins = [SimpleNamespace(name=name) for name in (*protocols, *others)]

    def protocol(self, name):
        return SimpleNamespace(name=f"found {name}")


def test_without_an_address_only_this_machine_is_served():
    [(listen, plugin)] = assign(Settings(), Registry(["echo"]))
    assert (listen.address, plugin) == (DEFAULT_ADDRESS, "echo")
    assert DEFAULT_ADDRESS.startswith("tcp://127.0.0.1:")


def test_the_only_protocol_serves_whatever_names_none():
    settings = Settings(
        listen=(
            Listen(address="tcp://127.0.0.1:1"),
            Listen(address="tcp://127.0.0.1:2", plugin="line"),
        )
    )
    served = assign(settings, Registry(["echo"]))
    assert [plugin for _, plugin in served] == ["echo", "found line"]


def test_without_a_protocol_the_host_does_not_start():
    with pytest.raises(SettingsError, match=r"none of the selected plugins \(weighted\)") as caught:
        assign(Settings(), Registry(others=["weighted"]))
    assert "--plugin echo" in str(caught.value)


def test_with_several_protocols_one_has_to_be_named():
    with pytest.raises(
        SettingsError, match=r"several of .* could serve .* \(echo, line\)"
    ) as caught:
        assign(Settings(), Registry(["echo", "line"]))
    assert f"{DEFAULT_ADDRESS}=echo" in str(caught.value)


def unix(path):
    return Listen(address=f"unix:{path}")


def test_all_listeners_are_bound(tmp_path):
    first, second = tmp_path / "1.sock", tmp_path / "2.sock"
    sockets = take_listeners([(unix(first), "echo"), (unix(second), "line")], (), ())
    assert [(each.view.index, each.view.plugin) for each in sockets] == [(0, "echo"), (1, "line")]
    assert first.exists()
    assert second.exists()
    for listener in sockets:
        listener.close()
    assert list(tmp_path.iterdir()) == []


def test_if_one_listener_cannot_be_bound_none_is_left(tmp_path):
    served = [(unix(tmp_path / "1.sock"), "echo"), (unix(tmp_path / "no" / "2.sock"), "echo")]
    with pytest.raises(ListenError):
        take_listeners(served, (), ())
    assert list(tmp_path.iterdir()) == []


def test_more_listeners_than_a_notification_can_name_are_refused():
    listens = (Listen(address="tcp://127.0.0.1:0"),) * (MAX_LISTENERS + 1)
    many = SimpleNamespace(listen=listens)
    with pytest.raises(LimitsError, match="65535 are possible"):
        assign(many, Registry(["echo"]))


@pytest.fixture
def descriptors():
    """Keeps the process's own limit of descriptors; gives the hard one."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_limit_of_descriptors_is_raised_as_far_as_needed(descriptors):
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, descriptors))
    assert max_connections(Limits(max_connections_per_worker=300), 2) == 300
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 300 + 2 + RESERVED_DESCRIPTORS


def test_a_limit_that_suffices_is_left_alone(descriptors):
    resource.setrlimit(resource.RLIMIT_NOFILE, (500, descriptors))
    assert raise_descriptor_limit(400) == 500
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (500, descriptors)


def test_a_default_that_does_not_fit_is_lowered():
    assert max_connections(Limits(), 1, lambda needed: 1000) == 1000 - 1 - RESERVED_DESCRIPTORS


def test_a_wish_that_does_not_fit_is_refused():
    room = 1000 - 1 - RESERVED_DESCRIPTORS
    with pytest.raises(LimitsError, match=f"set it to {room} at most") as caught:
        max_connections(Limits(max_connections_per_worker=60_000), 1, lambda needed: 1000)
    assert caught.value.exit_code is ExitCode.LIMITS


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (Exit(7, 3, None), "exit code 3"),
        (Exit(7, None, 9), "killed by SIGKILL"),
        (Exit(7, None, 36), "killed by signal 36"),
    ],
)
def test_an_exit_is_told_in_words(end, said):
    assert str(end) == said


def test_exit_codes_are_numbers_with_a_line_each():
    assert [int(code) for code in ExitCode] == list(range(len(ExitCode)))
    assert all(code.description for code in ExitCode)
