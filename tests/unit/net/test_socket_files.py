"""Files of Unix sockets: which is whose, and which may be removed."""

import os
import socket

import pytest

from host.net.socket_files import bind, is_stale


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
