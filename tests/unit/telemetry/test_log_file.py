"""A log file that is opened anew is the one that has the path now; the old one gets no more."""

import os
import stat

import pytest

from host.telemetry.emitter import Record
from host.telemetry.events import Event, Level
from host.telemetry.log_file import LogFile, open_for
from host.telemetry.logs import LogWriter

SAYS = Event("says", Level.INFO, "{what}")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "host.log"


@pytest.fixture
def opened(path):
    file = LogFile(str(path))
    yield file
    os.close(file.descriptor)


def writing_to(file):
    return LogWriter(
        file.descriptor, lambda record: f"{record.fields['what']}\n", Level.DEBUG, file=file
    )


def say(log, what):
    log(Record(SAYS, 0.0, {"what": what}))


def test_lines_are_added_to_what_is_there(path, tmp_path, monkeypatch):
    path.write_text("before\n")
    monkeypatch.chdir(tmp_path)
    file = LogFile("host.log")
    assert file.path == str(path)
    say(writing_to(file), "one")
    os.close(file.descriptor)
    assert path.read_text() == "before\none\n"


def test_a_file_that_is_made_is_not_for_everybody(path, opened):
    mode = stat.S_IMODE(path.stat().st_mode)
    assert mode & 0o137 == 0
    assert not os.get_inheritable(opened.descriptor)


def test_after_a_rotation_lines_go_to_the_new_file_under_the_same_descriptor(path, opened):
    log, old = writing_to(opened), path.with_suffix(".1")
    number = opened.descriptor
    say(log, "one")
    path.rename(old)
    say(log, "two")
    log.reopen()
    say(log, "three")
    assert (old.read_text(), path.read_text()) == ("one\ntwo\n", "three\n")
    assert opened.descriptor == number
    assert not os.get_inheritable(number)


def test_another_process_that_has_the_descriptor_opens_its_own(path, opened):
    other = LogFile(str(path), os.dup(opened.descriptor))
    path.rename(path.with_suffix(".1"))
    opened.reopen()
    os.write(other.descriptor, b"old\n")
    other.reopen()
    os.write(other.descriptor, b"new\n")
    os.close(other.descriptor)
    assert (path.with_suffix(".1").read_text(), path.read_text()) == ("old\n", "new\n")


@pytest.mark.parametrize("hindrance", [os.mkdir, os.mkfifo])
def test_what_cannot_be_opened_leaves_all_as_it_was(path, opened, hindrance):
    log, old = writing_to(opened), path.with_suffix(".1")
    path.rename(old)
    hindrance(path)
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match=r"Is a directory|No such device"):
        log.reopen()
    assert set(os.listdir("/proc/self/fd")) == before
    say(log, "on")
    assert old.read_text() == "on\n"


def test_a_pipe_may_take_the_place_of_the_file(path, opened):
    log = writing_to(opened)
    path.unlink()
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log.reopen()
    say(log, "through the pipe")
    assert os.read(reader, 100) == b"through the pipe\n"
    path.unlink()
    log.reopen()
    say(log, "into the file")
    os.close(reader)
    assert path.read_text() == "into the file\n"


def test_lines_that_wait_go_to_the_new_file(path, opened):
    log = writing_to(opened)
    log.restore([b"waits\n"], 0)
    path.rename(path.with_suffix(".1"))
    log.reopen()
    assert path.read_text() == "waits\n"


def test_a_log_that_goes_to_no_file_is_not_opened_anew():
    reader, writer = os.pipe()
    log = LogWriter(writer, lambda record: f"{record.fields['what']}\n", Level.DEBUG)
    log.reopen()
    say(log, "on")
    assert os.read(reader, 100) == b"on\n"
    log.close()
    os.close(reader)
    os.close(writer)


def test_a_file_that_is_opened_for_another_user_is_no_link(path):
    path.symlink_to("elsewhere")
    with pytest.raises(OSError, match="symbolic link"):
        open_for(str(path), os.getuid(), os.getgid())
    assert not path.with_name("elsewhere").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_that_is_opened_for_another_user_is_that_users_unless_it_has_another_name(path):
    os.close(open_for(str(path), 65_534, 65_533))
    assert (path.stat().st_uid, path.stat().st_gid) == (65_534, 65_533)
    os.chown(path, 0, 0)
    path.with_suffix(".2").hardlink_to(path)
    os.close(open_for(str(path), 65_534, 65_533))
    assert (path.stat().st_uid, path.stat().st_gid) == (0, 0)
