"""What speaking to a broker takes: a package, a password and files for TLS, each told by name."""

import os
import ssl
import sys

import pytest
import trustme

from host.settings import BusSettings, Loaded, Settings, SettingsError
from host.startup.broker import prepare_broker


def prepared(**values):
    return prepare_broker(Loaded(Settings(bus=BusSettings(**values))))


def refusal(**values):
    with pytest.raises(SettingsError) as caught:
        prepared(**values)
    return str(caught.value)


@pytest.fixture
def files(tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    issued = authority.issue_cert("client.example")
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
    return tmp_path


def test_an_embedded_bus_takes_nothing():
    assert prepared() is None


def test_without_its_package_it_is_told_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "hiredis", None)
    for name in [name for name in sys.modules if name.startswith("host.bridge")]:
        monkeypatch.delitem(sys.modules, name)
    assert "pip install 'prefork[redis]'" in refusal(url="redis://h")


def test_a_password_comes_from_its_file_and_is_shown_nowhere(tmp_path):
    (tmp_path / "password").write_text("hunter2\nmore\n")
    broker = prepared(url="redis://h", password_file=str(tmp_path / "password"))
    assert broker.password == "hunter2"
    assert "hunter2" not in repr(broker)
    assert broker.prefix == "prefork:{default}:"


def test_a_file_that_cannot_be_used_is_told(tmp_path):
    missing = refusal(url="redis://h", password_file=str(tmp_path / "none"))
    assert "bus.password_file" in missing
    assert "No such file" in missing
    os.mkfifo(tmp_path / "fifo")
    assert "no regular file" in refusal(url="redis://h", password_file=str(tmp_path / "fifo"))
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    assert "it is no text" in refusal(url="redis://h", password_file=str(tmp_path / "bytes"))
    (tmp_path / "empty").write_text("\nhunter2\n")
    assert "line is empty" in refusal(url="redis://h", password_file=str(tmp_path / "empty"))


def test_tls_has_the_authorities_and_the_certificate_of_the_settings(files):
    client = str(files / "client.pem")
    broker = prepared(url="rediss://h", ca=str(files / "ca.pem"), certificate=client, key=client)
    assert isinstance(broker.context, ssl.SSLContext)
    assert len(broker.context.get_ca_certs()) == 1
    assert broker.context.check_hostname


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"ca": "none.pem"}, "bus.ca"),
        ({"ca": "rubbish.pem"}, "bus.ca"),
        ({"certificate": "ca.pem", "key": "none.pem"}, "bus.certificate"),
        ({"certificate": "ca.pem", "key": "client.pem"}, "bus.certificate"),
    ],
)
def test_files_of_tls_that_cannot_be_used_are_told(files, values, key):
    (files / "rubbish.pem").write_text("rubbish")
    assert key in refusal(url="rediss://h", **{k: str(files / v) for k, v in values.items()})
