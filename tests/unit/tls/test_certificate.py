"""What can be wrong with a certificate, and what it says if nothing is."""

import os
import ssl
import subprocess
import time
from pathlib import Path

import pytest

from host.tls.certificate import examine
from host.tls.pem import CertificateError, Pem, Place, places, read_set
from support.certificates import EC, RSA, Files, chain_of, pem_of, table

DAY = 86400


def look(pem, files):
    return examine(pem, Place(0, files.settings))


@pytest.fixture
def refused(authority):
    """Returns what is said of a certificate that cannot be used."""
    files = authority.files("a")

    def refused(pem):
        with pytest.raises(CertificateError) as caught:
            look(pem, files)
        return caught.value.key, caught.value.cause

    return refused


def test_a_certificate_says_what_it_is_for(authority):
    files = authority.files("a", "A.Example", "*.b.example", days=30, age=60)
    found = look(read_set(table(files)).certificates[0], files)
    assert found.names == ("a.example", "*.b.example")
    assert found.key_type == "EC"
    said = ["openssl", "x509", "-in", str(files.certificate), "-noout", "-fingerprint", "-sha256"]
    print_ = subprocess.check_output(said, text=True).partition("=")[2].replace(":", "").strip()
    assert found.fingerprint == print_.lower()
    assert found.not_after - found.not_before == pytest.approx(90 * DAY, abs=2)


def test_the_type_of_a_key_is_told(authority):
    files = authority.files("a", key_type=RSA)
    assert look(read_set(table(files)).certificates[0], files).key_type == "RSA"


@pytest.mark.parametrize(
    ("days", "age", "soon"), [(22, 60, False), (20, 70, True), (2.5, 3.5, False), (1.9, 4.1, True)]
)
def test_21_days_before_or_a_third_of_its_life_it_expires_soon(authority, days, age, soon):
    files = authority.files("a", days=days, age=age)
    found = look(read_set(table(files)).certificates[0], files)
    assert found.expires_soon(time.time()) is soon


def test_one_that_has_expired_is_looked_at_all_the_same(authority):
    files = authority.files("a", days=-1, age=90)
    found, now = look(read_set(table(files)).certificates[0], files), time.time()
    assert found.expires_soon(now)
    assert found.validity(now).startswith("has expired on ")


def test_one_that_is_early_says_so(authority):
    files = authority.files("a", days=90, age=-2)
    found = look(read_set(table(files)).certificates[0], files)
    assert found.validity(time.time()).startswith("is not valid before ")


@pytest.mark.parametrize("key_type", [EC, RSA])
def test_a_key_of_another_one_does_not_fit(authority, refused, key_type):
    one, other = pem_of(authority.leaf("a")), pem_of(authority.leaf("b", key_type=key_type))
    key, cause = refused(Pem(one.chain, other.key))
    assert key == "certificates[0].key"
    assert "does not fit" in cause


def test_a_chain_in_the_wrong_order_is_told(authority, refused):
    child = authority.ca.create_child_ca()
    leaf = child.issue_cert("a.example")
    first, second = (each.bytes() for each in leaf.cert_chain_pems)
    key, cause = refused(Pem(second + first, leaf.private_key_pem.bytes()))
    assert key == "certificates[0].certificate"
    assert "wrong order" in cause
    grandchild = child.create_child_ca()
    leaf = grandchild.issue_cert("a.example")
    first, second, third = (each.bytes() for each in leaf.cert_chain_pems)
    for chain in (first + third + second, first + third):
        assert (
            "not followed by that of its issuer"
            in refused(Pem(chain, leaf.private_key_pem.bytes()))[1]
        )
    assert (
        "is not of an authority"
        in refused(Pem(first + pem_of(authority.leaf("b")).chain, leaf.private_key_pem.bytes()))[1]
    )


def test_an_encrypted_key_is_never_asked_for(authority, refused, tmp_path):
    leaf = authority.leaf("a.example")
    (tmp_path / "plain.key").write_bytes(leaf.private_key_pem.bytes())
    encrypted = subprocess.check_output(
        ["openssl", "ec", "-aes128", "-passout", "pass:hunter2", "-in", tmp_path / "plain.key"],
        stderr=subprocess.DEVNULL,
    )
    chain = chain_of(leaf)
    assert "key_password_file" in refused(Pem(chain, encrypted))[1]
    key, cause = refused(Pem(chain, encrypted, b"hunter3"))
    assert key == "certificates[0].key_password_file"
    assert "hunter" not in cause
    files = authority.files("b")
    assert look(Pem(chain, encrypted, b"hunter2"), files).names == ("a.example",)
    assert "too long" in refused(Pem(chain, encrypted, b"x" * 2000))[1]


def test_what_is_no_key_or_no_certificate_is_told(authority, refused):
    pem = pem_of(authority.leaf("a"))
    assert "no private key in PEM" in refused(Pem(pem.chain, b"nothing"))[1]
    broken = pem.chain.replace(b"M", b"!", 40)
    assert refused(Pem(broken, pem.key))[0] == "certificates[0].certificate"


def test_a_certificate_that_is_for_no_server_is_refused(refused, tmp_path):
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    made += ["-nodes", "-subj", "/CN=a", "-keyout", tmp_path / "k", "-out", tmp_path / "c"]
    made += ["-addext", "extendedKeyUsage=clientAuth"]
    subprocess.run(made, check=True, capture_output=True)
    pem = Pem((tmp_path / "c").read_bytes(), (tmp_path / "k").read_bytes())
    assert "no client can use it" in refused(pem)[1]


def test_files_that_cannot_be_read_are_told(authority):
    files = authority.files("a")
    files.key.unlink()
    with pytest.raises(CertificateError) as caught:
        read_set(table(files))
    assert (caught.value.key, caught.value.path) == ("certificates[0].key", str(files.key))
    assert caught.value.cause == "it cannot be read: No such file or directory"
    assert [place.number for place in places(table(files, files))] == [0, 1]


def test_where_a_relative_path_begins_is_told():
    files = Files(Path("no.pem"), Path("no.key"))
    with pytest.raises(CertificateError, match="begins at the working directory of the host"):
        read_set(table(files))


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_regular_file_is_told_and_not_waited_for(authority, make):
    files = authority.files("a")
    files.key.unlink()
    make(files.key)
    with pytest.raises(CertificateError) as caught:
        read_set(table(files))
    assert caught.value.cause == "it cannot be read: it is no regular file"


def test_no_repr_has_a_key_in_it(authority):
    pem = pem_of(authority.leaf("a"))
    assert repr(pem) == "Pem()"


def test_the_flag_that_ssl_has_no_name_for_is_taken():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_flags |= 0x200000
    assert context.verify_flags & 0x200000
