"""The tables [tls.NAME], and the keys of listeners that name them."""

import pytest

from host.settings import CertificateFiles, SettingsError

TLS = """
plugins = ["echo"]
[[listen]]
address = "tcp://127.0.0.1:0"
{listen}
[tls.public]
{public}
"""
SOME = '[{ certificate = "fullchain.pem", key = "privkey.pem" }]'
FILES = 'certificates = [{ certificate = "a.pem", key = "a.key" }]'


@pytest.fixture
def of(load, tmp_path):
    def load_text(listen='tls = "public"', public=FILES, more="", **others):
        file = tmp_path / "host.toml"
        file.write_text(TLS.format(listen=listen, public=public) + more)
        return load(file=file, **others)

    return load_text


def test_a_table_has_defaults_that_are_safe(of):
    loaded = of()
    (name, table), *others = loaded.settings.tls.items()
    assert (name, others) == ("public", [])
    assert table.certificates == (CertificateFiles(certificate="a.pem", key="a.key"),)
    assert (table.profile, table.clients, table.unknown_name) == ("intermediate", "none", "first")
    assert (table.handshakes, table.check_seconds) == ("thread", 60.0)
    assert loaded.settings.listen[0].tls == "public"


def test_flags_and_variables_reach_into_a_table(of):
    loaded = of(
        flags={"tls.public.profile": ("modern", "--set tls.public.profile=modern")},
        environ={
            "PREFORK_TLS__PUBLIC__CHECK_SECONDS": "5",
            "PREFORK_TLS__PUBLIC__CERTIFICATES": '[{"certificate": "b.pem", "key": "b.key"}]',
        },
    )
    table = loaded.settings.tls["public"]
    assert (table.profile, table.check_seconds) == ("modern", 5.0)
    assert table.certificates[0].certificate == "b.pem"
    assert loaded.origin("tls.public.check_seconds").kind == "environment"


MISTAKES = [
    ('tls = "pubic"', FILES, "there is no table [tls.pubic]; there is: [tls.public]"),
    ('alpn = { "x" = "echo" }', FILES, "alpn is a part of TLS and says nothing without tls"),
    ('tls = "public"\nalpn = { "" = "echo" }', FILES, "is no protocol of ALPN"),
    ("", "certificates = []", "tls.public.certificates"),
    ("", FILES + '\nclients = "required"', 'clients = "required" needs client_ca'),
    ("", FILES + '\nclient_ca = "ca.pem"', "client_ca says nothing without clients"),
    ("", FILES + '\nprofile = "old"', 'expected "intermediate" or "modern"'),
    ("", FILES + "\nprofil = 1", 'did you mean "profile"?'),
    ("tls = true", FILES, 'listen[0].tls = true  expected string such as "public"'),
    ("", "", f"tls.public.certificates  missing, expected value such as {SOME}"),
    ("", 'certificates = "a.pem"', f"expected list such as {SOME}"),
    ("", 'certificates = [{ certificate = "a.pem" }]', "tls.public.certificates[0].key"),
]


@pytest.mark.parametrize(("listen", "public", "expected"), MISTAKES, ids=lambda each: each[:30])
def test_each_mistake_is_told_with_its_place(of, listen, public, expected):
    with pytest.raises(SettingsError) as caught:
        of(listen, public)
    assert expected in str(caught.value)
    assert len(str(caught.value).splitlines()) == 2, caught.value


def test_all_listeners_without_their_table_are_told_at_once(of):
    more = '[[listen]]\naddress = "tcp://127.0.0.1:7001"\ntls = "other"\n'
    with pytest.raises(SettingsError) as caught:
        of('tls = "pubic"', more=more)
    assert "listen[0].tls" in str(caught.value)
    assert "listen[1].tls" in str(caught.value)


def test_where_a_key_is_may_be_shown(of):
    with pytest.raises(SettingsError) as caught:
        of(public='certificates = [{ certificate = "a.pem", key = 5 }]')
    assert "tls.public.certificates[0].key = 5  expected string" in str(caught.value)
