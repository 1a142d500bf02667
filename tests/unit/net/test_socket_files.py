"""Files of Unix sockets: which is whose, and which may be removed."""

import os
import socket
import tempfile
from contextlib import nullcontext

import pytest

from host.net.socket_files import bind, is_stale, open_file, owner_and_group
from host.runtime.accounts import Account
from host.runtime.privileges import acting_as
from host.settings import Listen


@pytest.fixture
def sock():
    with socket.socket(socket.AF_UNIX) as sock:
        yield sock


def test_a_file_is_present_gone_or_replaced(tmp_path, sock):
    path = tmp_path / "x.sock"
    file = bind(sock, str(path), 0o640)
    assert file.state == "present"
    path.rename(tmp_path / "y.sock")
    assert file.state == "gone"
    path.symlink_to("y.sock")
    assert file.state == "replaced"
    file.remove()
    assert path.is_symlink()


def test_the_path_is_the_same_wherever_the_process_goes(tmp_path, sock, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = bind(sock, "x.sock", 0o600)
    monkeypatch.chdir("/")
    assert file.state == "present"
    file.remove()
    assert not (tmp_path / "x.sock").exists()


def test_another_device_is_another_file(tmp_path, sock):
    file = bind(sock, str(tmp_path / "x.sock"), 0o600)
    assert file._replace(device=file.device + 1).state == "replaced"


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_a_socket_that_is_bound_and_does_not_listen_yet_has_its_file(tmp_path, kind):
    path = str(tmp_path / "x.sock")
    with socket.socket(socket.AF_UNIX, kind) as theirs:
        theirs.bind(path)
        assert not is_stale(path)
    assert is_stale(path)


def test_a_link_is_no_socket_file(tmp_path, sock):
    bind(sock, str(tmp_path / "x.sock"), 0o600)
    os.symlink("nowhere", tmp_path / "link")
    with pytest.raises(FileExistsError):
        is_stale(str(tmp_path / "link"))
    assert not is_stale(str(tmp_path / "missing"))


def test_a_file_has_the_mode_that_the_settings_have_now(tmp_path, sock):
    path = tmp_path / "x.sock"
    file = bind(sock, str(path), 0o600)
    listen = Listen(address=f"unix:{path}", mode=0o640)
    assert file.as_wanted(listen) == file._replace(mode=0o640)
    assert path.stat().st_mode & 0o777 == 0o640
    path.chmod(0o666)  # an operator's
    assert file._replace(mode=0o640).as_wanted(listen).mode == 0o640
    assert path.stat().st_mode & 0o777 == 0o666


def test_a_file_is_given_to_a_group_of_this_user(tmp_path, sock):
    path = tmp_path / "x.sock"
    listen = Listen(address=f"unix:{path}", group=str(os.getgid()))
    file = open_file(sock, listen, None)
    assert (file.owner, file.group) == owner_and_group(listen) == (-1, os.getgid())
    file.check_wanted(listen)
    assert file.as_wanted(listen) is file


def test_what_has_the_path_of_a_lost_file_is_given_to_nobody(tmp_path, sock):
    path = tmp_path / "x.sock"
    file = bind(sock, str(path), 0o600)
    path.rename(tmp_path / "y.sock")
    path.symlink_to("y.sock")
    assert file.given(12_345, 12_345) is file
    assert path.stat().st_uid == os.getuid()


def test_a_file_with_a_second_name_is_given_to_nobody(tmp_path, sock):
    file = bind(sock, str(tmp_path / "x.sock"), 0o600)
    os.link(tmp_path / "x.sock", tmp_path / "y.sock")
    with pytest.raises(OSError, match="Stale file handle"):
        file.given(os.getuid(), os.getgid())


@pytest.fixture
def folder_of_nobody():
    """A folder that this process, who is nobody meanwhile if it is root's, may write to."""
    is_root = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        nobody = Account("nobody", 65_534, 65_534, (65_534,))
        with acting_as(nobody) if is_root else nullcontext():
            yield folder


def test_only_root_gives_files_to_others(folder_of_nobody, sock):
    path = f"{folder_of_nobody}/x.sock"
    file = bind(sock, path, 0o600)
    listen = Listen(address=f"unix:{path}", owner="0")
    with pytest.raises(PermissionError):
        file.check_wanted(listen)
    with pytest.raises(PermissionError), socket.socket(socket.AF_UNIX) as other:
        open_file(other, Listen(address=f"unix:{path}2", owner="0"), None)
    assert not os.path.lexists(f"{path}2")
