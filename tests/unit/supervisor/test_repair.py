"""What plugins do to the supervisor is put right; what cannot be ends it, with the plugin named."""

import builtins
import os
import signal
import sys

import pytest

from host.errors import LimitsError, PluginError
from host.plugin.interference import NOTHING, Keeping
from host.plugin.loading import load
from host.supervisor.repair import Repair, Residents
from host.telemetry.events import PROCESS_HARMED
from support.fakes import Told
from support.plugin_files import loaded, write

HEAD = "from host import hookimpl\n@hookimpl\n"
SCHEDULER = f"{HEAD}def choose_worker(listener): ...\n"
CHAT = f"{HEAD}def on_readable(connection): connection.read()\n"


class Scene:
    """A repair, of what it tells, and a clock that does not move by itself."""

    def __init__(self, owner=None, keeping=NOTHING):
        self.told, self.now = Told(), 0.0
        residents = Residents("chooser", "file ./chooser.py")
        self.repair = Repair(residents, self.told.telemetry, lambda _: owner, lambda: self.now)
        self.repair.begin(keeping)

    @property
    def causes(self):
        return [each["cause"] for each in self.told.of(PROCESS_HARMED)]


@pytest.fixture(name="as_before")
def have_all_as_before():
    """Have nothing left of what a test does."""
    before, trace, profile = dict(builtins.__dict__), sys.gettrace(), sys.getprofile()
    timer = signal.setitimer(signal.ITIMER_REAL, 0)
    yield
    builtins.__dict__.update(before)
    sys.settrace(trace)
    sys.setprofile(profile)
    signal.setitimer(signal.ITIMER_REAL, *timer)


def test_nobody_is_blamed_where_all_is_as_it_was():
    scene = Scene()
    scene.repair.glance()
    scene.repair.check_descriptors()
    with pytest.raises(ZeroDivisionError):
        scene.repair.get_over(ZeroDivisionError())
    assert scene.told == []


@pytest.mark.usefixtures("as_before")
@pytest.mark.parametrize("name", ["len", "isinstance", "list", "iter", "vars", "callable"])
def test_a_builtin_that_is_gone_is_back_after_a_glance(name):
    scene, before = Scene(), getattr(builtins, name)
    setattr(builtins, name, None)
    scene.repair.glance()
    assert getattr(builtins, name) is before
    assert scene.causes == [
        f"it takes away builtins.{name}, for the whole host, which cannot work without"
    ]
    (told,) = scene.told.of(PROCESS_HARMED)
    assert (told["plugin"], told["consequence"]) == ("chooser", "that is put right")


@pytest.mark.usefixtures("as_before")
def test_a_timer_and_a_tracer_are_gone_after_a_glance():
    scene = Scene()
    signal.alarm(3_600)
    sys.settrace(lambda *_: None)
    sys.setprofile(lambda *_: None)
    scene.repair.glance()
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert sys.gettrace() is None
    assert sys.getprofile() is None
    assert "ITIMER_REAL" in scene.causes[0]
    assert "sys.settrace and sys.setprofile" in scene.causes[1]


@pytest.mark.usefixtures("as_before")
def test_an_error_is_got_over_whose_cause_is_put_right():
    scene = Scene()
    builtins.len = None
    scene.repair.get_over(TypeError("'NoneType' object is not callable"))
    assert builtins.len is not None
    assert "builtins.len" in scene.causes[0]


def test_a_plugin_whose_code_fails_in_the_midst_of_the_host_is_named_ten_times_a_minute():
    scene = Scene(owner="patching")
    error = ValueError("no")
    try:
        raise error
    except ValueError:
        pass
    for _ in range(10):
        scene.repair.get_over(error)
    with pytest.raises(PluginError, match="its code is called where the host does not call"):
        scene.repair.get_over(error)
    scene.now = 60.0
    scene.repair.get_over(error)
    told = scene.told.of(PROCESS_HARMED)
    assert {(each["plugin"], each["consequence"]) for each in told} == {
        ("patching", "the host goes on")
    }
    assert len(told) == 11


def test_what_cannot_be_put_right_ends_the_process_with_its_cause():
    reader, writer = os.pipe()
    scene = Scene(keeping=Keeping((reader,)))
    os.close(reader)
    with pytest.raises(PluginError, match=f"closes or replaces the host's descriptors {reader}"):
        scene.repair.get_over(OSError(9, "Bad file descriptor"))
    os.close(reader)  # /dev/null is open in its place
    with pytest.raises(PluginError) as caught:
        scene.repair.check_descriptors()
    assert caught.value.plugin == "chooser"
    os.close(reader)
    os.close(writer)


def test_errors_of_the_host_are_what_they_are():
    with pytest.raises(LimitsError):
        Scene(owner="chooser").repair.get_over(LimitsError("too low"))


@pytest.fixture(name="own_folder")
def be_in_an_own_folder(tmp_path, monkeypatch):
    """Be in a folder for the files of plugins."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("own_folder")
def test_who_is_called_in_the_supervisor_is_named_and_not_what_comes_with_the_host():
    write("chooser.py", SCHEDULER)
    write("chat.py", CHAT)
    found = Residents.of(load(loaded("./chooser.py", "./chat.py", "least_connections")))
    assert found == ("chooser", "file ./chooser.py")
    assert Residents.of(load(loaded("./chat.py", "least_connections"))).name == "least_connections"


@pytest.mark.usefixtures("as_before", "own_folder")
def test_a_scheduler_that_is_put_in_is_named_as_well():
    write("chooser_too.py", SCHEDULER)
    scene = Scene()
    scene.repair.add(load(loaded("./chooser_too.py")))
    builtins.len = None
    scene.repair.glance()
    assert scene.told.of(PROCESS_HARMED)[0]["plugin"] == "chooser, chooser_too"
