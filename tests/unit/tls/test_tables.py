"""All tables of a host, and what is sent to workers of them."""

import os
from contextlib import nullcontext

import pytest

from host.runtime.accounts import account
from host.runtime.privileges import acting_as
from host.settings import Listen, Loaded, Settings, SettingsError
from host.tls.pem import seal, unseal
from host.tls.tables import load_set, load_tables, unsealed
from support.certificates import meet, table


def loaded(**tables):
    listen = (
        Listen(address="tcp://127.0.0.1:0", tls="one", alpn={"x": "echo"}),
        Listen(address="unix:@a", tls="one"),
        Listen(address="unix:@b"),
    )
    return Loaded(Settings(tls=tables, listen=listen))


def test_each_listener_has_the_context_of_its_table_and_alpn(authority):
    tls = load_tables(given := loaded(one=table(authority.files("a"))))
    with_alpn, without, plain = given.settings.listen
    assert tls.of(with_alpn) is not tls.of(without)
    assert tls.of(without) is tls.named("one")
    assert tls.of(plain) is None
    client = authority.client()
    client.set_alpn_protocols(["x"])
    assert meet(tls.of(with_alpn).front, client, "a.example").alpn == "x"


def test_all_that_is_wrong_is_told_at_once(authority):
    one, two = authority.files("a"), authority.files("b")
    one.key.unlink()
    two.key.write_text("none")
    with pytest.raises(SettingsError) as caught:
        load_tables(loaded(one=table(one), two=table(two)))
    assert [each.key for each in caught.value.problems] == [
        "tls.one.certificates[0].key",
        "tls.two.certificates[0].key",
    ]


def test_so_is_all_that_is_wrong_in_one_table(authority):
    good, gone, other = (authority.files(stem) for stem in "abc")
    gone.certificate.unlink()
    other.key.write_bytes(good.key.read_bytes())
    wrong = table(good, gone, other, clients="required", client_ca=str(good.key))
    with pytest.raises(SettingsError) as caught:
        load_tables(loaded(one=wrong))
    assert [each.key for each in caught.value.problems] == [
        "tls.one.certificates[1].certificate",
        "tls.one.certificates[2].key",
        "tls.one.client_ca",
    ]


def test_authorities_that_cannot_be_used_are_told_with_their_tables(authority):
    files = authority.files("a")
    wrong = table(files, clients="required", client_ca=str(files.key))
    with pytest.raises(SettingsError) as caught:
        load_tables(loaded(one=wrong, two=wrong))
    assert [each.key for each in caught.value.problems] == [
        "tls.one.client_ca",
        "tls.two.client_ca",
    ]


def test_what_is_sealed_comes_out_as_it_was_and_cannot_be_changed(authority):
    found = load_set(
        table(
            authority.files("a"),
            authority.files("b"),
            clients="optional",
            client_ca=str(authority.file),
        )
    )
    descriptor = found.sealed()
    try:
        assert unsealed(descriptor) == found
        with pytest.raises(PermissionError):
            os.pwrite(descriptor, b"x", 0)
        assert not os.get_inheritable(descriptor)
    finally:
        os.close(descriptor)


def test_new_certificates_are_installed_in_all_contexts_of_their_table(authority):
    files, other = authority.files("a"), authority.files("b")
    given = loaded(one=table(files), two=table(other))
    tls = load_tables(given)
    files.write(authority.leaf("a.example", "new.example"))
    descriptor = load_set(given.settings.tls["one"]).sealed()
    tls.install_sealed("one", descriptor)
    os.close(descriptor)
    for listen in given.settings.listen[:2]:
        assert "new.example" in meet(tls.of(listen).front, authority.client(), "a.example").names
    assert tls.certificates("two")[0].names == ("b.example",)


def test_what_is_sealed_can_be_opened_anew_by_nobody_but_root():
    """As another process of that user would, in the /proc of one that has it."""
    descriptor = seal([b"a key"])
    nobody = account("nobody")
    with nullcontext() if os.geteuid() else acting_as(nobody), pytest.raises(PermissionError):
        os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY)
    assert unseal(descriptor) == [b"a key"]
    os.close(descriptor)


def test_what_nobody_has_sealed_is_not_taken():
    descriptor = os.memfd_create("x", os.MFD_ALLOW_SEALING)
    os.write(descriptor, b"\1\0\0\0x")
    with pytest.raises(ValueError, match="not sealed"):
        unseal(descriptor)
    os.close(descriptor)
    descriptor = seal([b"", b"ab"])
    assert unseal(descriptor) == [b"", b"ab"]
    os.close(descriptor)
