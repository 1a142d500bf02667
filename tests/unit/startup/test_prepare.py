"""What settings ask for is found out before anything is opened."""

from types import SimpleNamespace

import pytest

from host.errors import HostError, LimitsError, PluginError
from host.ipc.protocol import MAX_LISTENERS
from host.plugin.loading import load
from host.settings import (
    AppliedSetting,
    Listen,
    Loaded,
    Settings,
    SettingsError,
)
from host.settings.listen import DEFAULT_ADDRESS
from host.settings.models import Log, Profile
from host.startup.prepare import (
    assign,
    check_log_file,
    count_sockets,
    prepare_none,
    prepare_uninterrupted,
    profile_directory,
)


class Handed:
    """What was handed over."""

    def __init__(self, settings):
        self.settings_before, self.max_connections = settings, 17
        self.kept = None
        self.applied_before = [AppliedSetting("name", "shop", "host.toml:1")]


class Registry:
    """Who was selected: `protocols` serve, the others do not."""

    def __init__(self, protocols=(), others=()):
        self.protocols = tuple(protocols)
        self.plugins = [SimpleNamespace(name=name) for name in (*protocols, *others)]

    def serving(self, hook):
        return self.protocols if hook == "on_readable" else ()

    def protocol(self, name, hook, place):
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


def test_a_udp_listener_is_served_by_who_answers_datagrams(tmp_path):
    (tmp_path / "clock.py").write_text(
        "from host import hookimpl\n\n\n@hookimpl\ndef on_datagram(datagram):\n    pass\n"
    )
    clock = str(tmp_path / "clock.py")
    registry = load(Loaded(Settings(plugins=("line", clock, "weighted"))))
    udp, tcp = Listen(address="udp://127.0.0.1:1"), Listen(address="tcp://127.0.0.1:1")
    served = assign(Settings(listen=(udp, tcp)), registry)
    assert [plugin for _, plugin in served] == ["clock", "line"]
    assert count_sockets(served) == 65
    wrong = (
        (
            "udp://127.0.0.1:1",
            "line",
            r"a UDP listener.*on_datagram\n *protocols: clock",
        ),
        ("tcp://127.0.0.1:1", "clock", r"cannot serve a listener.*on_readable\n *protocols: line"),
    )
    for address, plugin, message in wrong:
        with pytest.raises(PluginError, match=message):
            assign(Settings(listen=(Listen(address=address, plugin=plugin),)), registry)


def test_a_udp_listener_that_nobody_answers_is_a_problem_of_the_settings():
    registry = load(Loaded(Settings(plugins=("line",))))
    with pytest.raises(SettingsError, match="answers datagrams") as caught:
        assign(Settings(listen=(Listen(address="udp://127.0.0.1:1"),)), registry)
    assert "--plugin echo" in str(caught.value)


def test_a_plugin_that_is_not_selected_is_told_with_the_listener_that_names_it():
    registry = load(Loaded(Settings(plugins=("echo",))))
    address = "tcp://127.0.0.1:1"
    place = rf"listen\[1\] \({address}\)"
    for listen, message in (
        (Listen(address=address, plugin="line"), f'{place} is to be served by "line"'),
        (
            Listen(address=address, tls="x", alpn={"h2": "line"}),
            f'{place}, for "h2" of alpn, is to be served by "line"',
        ),
    ):
        settings = SimpleNamespace(listens=(Listen(address="unix:@a"), listen))
        with pytest.raises(PluginError, match=message):
            assign(settings, registry)


def test_more_listeners_than_a_notification_can_name_are_refused():
    listens = (Listen(address="tcp://127.0.0.1:0"),) * (MAX_LISTENERS + 1)
    many = SimpleNamespace(listens=listens)
    with pytest.raises(LimitsError, match="65535 are possible"):
        assign(many, Registry(["echo"]))


def test_a_plugin_that_interrupts_where_nobody_is_there_to_do_so_fails():
    def load_settings():
        raise KeyboardInterrupt

    with pytest.raises(HostError, match=r"KeyboardInterrupt was raised .*test_prepare\.py:"):
        prepare_uninterrupted(load_settings)


def test_a_host_that_only_looks_after_its_workers_serves_nothing():
    handed = Handed(Settings(name="shop", log=Log(format="json")))
    prepared = prepare_none(handed)
    assert prepared.settings is handed.settings_before
    assert (prepared.served, prepared.limit, prepared.profile) == ([], 17, None)
    assert prepared.applied() is handed.applied_before
    assert prepared.registry.plugins == ()


def test_profiles_are_collected_also_by_a_host_that_looks_after_its_workers(tmp_path):
    settings = Settings(profile=Profile(directory=str(tmp_path)))
    assert prepare_none(Handed(settings)).profile == tmp_path
    (tmp_path / "file").touch()
    settings = Settings(profile=Profile(directory=str(tmp_path / "file" / "profiles")))
    assert prepare_none(Handed(settings)).profile is None


def test_without_a_directory_nothing_is_measured():
    assert profile_directory(Loaded(Settings())) is None


def test_a_directory_that_cannot_be_made_is_a_problem_of_the_settings(tmp_path):
    (tmp_path / "file").touch()
    directory = str(tmp_path / "file" / "profiles")
    with pytest.raises(SettingsError, match=r"profile\.directory.*cannot be written to"):
        profile_directory(Loaded(Settings(profile=Profile(directory=directory))))


class TestLogFile:
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "there").touch()
        return tmp_path

    @pytest.mark.parametrize("file", ["", "host.log", "there", "/dev/null"])
    def test_one_that_can_be_opened_is_not_made_yet(self, folder, file):
        check_log_file(Loaded(Settings(log=Log(file=file))))
        assert [each.name for each in folder.iterdir()] == ["there"]

    @pytest.mark.parametrize(
        ("file", "cause"),
        [
            (".", "Is a directory"),
            ("none/host.log", "there is no folder none"),
            ("there/host.log", "there is no folder there"),
            ("a\0b", "it is no path"),
        ],
    )
    def test_one_that_cannot_is_a_problem_of_the_settings(self, file, cause):
        with pytest.raises(SettingsError, match=rf"log\.file.*cannot be written to: {cause}"):
            check_log_file(Loaded(Settings(log=Log(file=file))))
