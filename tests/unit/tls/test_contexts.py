"""Which certificate a client gets, whom it lets in, and how certificates are replaced."""

import ssl

import pytest
import trustme

from host.tls.contexts import ServerContext
from host.tls.pem import CertificateError, PemSet
from host.tls.tables import load_set
from support.certificates import RSA, Authority, meet, table


def context_of(settings, **more):
    return ServerContext("public", settings, *load_set(settings), **more)


@pytest.fixture
def three(authority):
    """Two for the same name, of different types, and one more."""
    return [
        authority.files("a", "a.example", "*.b.example"),
        authority.files("r", "a.example", key_type=RSA),
        authority.files("c", "c.example", "x.b.example"),
    ]


def tls12(client, cipher=None):
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    if cipher:
        client.set_ciphers(cipher)
    return client


class TestNames:
    @pytest.mark.parametrize(
        ("asked", "given"),
        [
            ("a.example", "a.example"),
            ("A.EXAMPLE", "a.example"),
            ("y.b.example", "a.example"),
            ("x.b.example", "c.example"),  # its own name comes before *.b.example
            ("c.example", "c.example"),
        ],
    )
    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    def test_each_name_gets_its_certificate(self, authority, three, asked, given, version):
        client = authority.client()
        client.maximum_version = client.minimum_version = version
        assert given in meet(context_of(table(*three)).front, client, asked).names

    def test_ec_and_rsa_are_there_side_by_side(self, authority, three):
        front = context_of(table(*three)).front
        old = tls12(authority.client(), "ECDHE-RSA-AES128-GCM-SHA256")
        assert meet(front, old, "a.example").names == ("a.example",)
        new = meet(front, tls12(authority.client()), "a.example")
        assert "-ECDSA-" in new.cipher
        assert "*.b.example" in new.names

    @pytest.mark.parametrize("asked", [None, "z.example", "z.y.b.example", "b.example"])
    def test_unknown_names_get_the_first_or_are_refused(self, authority, three, asked):
        client = authority.client()
        client.check_hostname = False
        assert "*.b.example" in meet(context_of(table(*three)).front, client, asked).names
        with pytest.raises(ssl.SSLError) as caught:
            meet(context_of(table(*three, unknown_name="refuse")).front, client, asked)
        assert caught.value.reason in (
            "UNRECOGNIZED_NAME",
            "TLSV1_UNRECOGNIZED_NAME",
            "CALLBACK_FAILED",
        )


class TestRules:
    def test_modern_is_tls_1_3_alone(self, authority, three):
        front = context_of(table(*three, profile="modern")).front
        assert meet(front, authority.client(), "a.example").version == "TLSv1.3"
        with pytest.raises(ssl.SSLError):
            meet(front, tls12(authority.client()), "a.example")

    def test_neither_old_ciphers_nor_renegotiation_nor_compression(self, authority, three):
        context = context_of(table(*three))
        with pytest.raises(ssl.SSLError):
            meet(context.front, tls12(authority.client(), "AES256-SHA"), "a.example")
        options = context.front.options
        assert options & ssl.OP_NO_RENEGOTIATION
        assert options & ssl.OP_NO_COMPRESSION

    def test_alpn_is_agreed_on_also_after_a_name(self, authority, three):
        front = context_of(table(*three), alpn=("chat/1", "line")).front
        for offered, agreed in ((["line", "chat/1"], "chat/1"), (["line"], "line")):
            client = authority.client()
            client.set_alpn_protocols(offered)
            assert meet(front, client, "c.example").alpn == agreed

    def test_keys_are_logged_only_if_that_is_asked_for(self, authority, three, tmp_path):
        meet(context_of(table(*three)).front, authority.client(), "a.example")
        log = tmp_path / "keys"
        meet(context_of(table(*three), keylog=str(log)).front, authority.client(), "a.example")
        assert "SERVER_TRAFFIC_SECRET" in log.read_text()


class TestClients:
    @pytest.fixture
    def strangers(self, tmp_path):
        folder = tmp_path / "others"
        folder.mkdir()
        return Authority(folder)

    @pytest.mark.parametrize("name", ["a.example", "c.example", None])
    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    def test_one_is_demanded_whatever_name_is_asked_for(
        self, authority, strangers, three, name, version
    ):
        front = context_of(table(*three, clients="required", client_ca=str(authority.file))).front
        mine, none, other = (
            authority.client(authority.leaf("me@example")),
            authority.client(),
            authority.client(strangers.leaf("me@example")),
        )
        for each in (mine, none, other):
            each.check_hostname = False
            each.maximum_version = each.minimum_version = version
        assert meet(front, mine, name).peer
        for each in (none, other):
            with pytest.raises(ssl.SSLError):
                meet(front, each, name)

    def test_one_may_be_had_but_not_of_strangers(self, authority, strangers, three):
        front = context_of(table(*three, clients="optional", client_ca=str(authority.file))).front
        assert meet(front, authority.client(authority.leaf("me@example")), "a.example").peer
        assert not meet(front, authority.client(), "a.example").peer
        with pytest.raises(ssl.SSLError):
            meet(front, authority.client(strangers.leaf("me@example")), "a.example")

    def test_other_authorities_count_from_a_rotation_on(self, authority, strangers, three):
        settings = table(*three, clients="required", client_ca=str(authority.file))
        context, mine = context_of(settings), authority.client(authority.leaf("me@example"))
        other = authority.client(strangers.leaf("me@example"))
        assert meet(context.front, mine, "a.example").peer
        authority.file.write_bytes(strangers.ca.cert_pem.bytes())
        context.install(*load_set(settings))
        assert meet(context.front, other, "a.example").peer
        with pytest.raises(ssl.SSLError):
            meet(context.front, mine, "a.example")

    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    @pytest.mark.parametrize("clients", ["required", "optional"])
    def test_other_authorities_end_tickets(self, authority, strangers, three, version, clients):
        settings = table(*three, clients=clients, client_ca=str(authority.file))
        context, mine = context_of(settings), authority.client(authority.leaf("me@example"))
        mine.maximum_version = version
        before = meet(context.front, mine, "a.example")
        context.install(*load_set(settings))
        assert meet(context.front, mine, "a.example", before.session).resumed
        authority.file.write_bytes(strangers.ca.cert_pem.bytes())
        context.install(*load_set(settings))
        with pytest.raises(ssl.SSLError):
            meet(context.front, mine, "a.example", before.session)


class TestRotation:
    def test_others_are_shown_from_then_on_and_tickets_go_on(self, authority):
        files = authority.files("a", "a.example")
        settings, client = table(files), authority.client()
        context = context_of(settings)
        before = meet(context.front, client, "a.example")
        assert not before.resumed
        files.write(authority.leaf("a.example", "new.example"))
        context.install(*load_set(settings))
        assert meet(context.front, client, "a.example", before.session).resumed
        assert "new.example" in meet(context.front, client, "a.example").names

    def test_what_cannot_be_used_changes_nothing(self, authority):
        files = authority.files("a", "a.example")
        settings = table(files)
        context, (pems, certificates) = context_of(settings), load_set(settings)
        other = authority.leaf("b.example").private_key_pem.bytes()
        wrong = PemSet((type(pems.certificates[0])(pems.certificates[0].chain, other),), b"")
        with pytest.raises(CertificateError):
            context.install(wrong, certificates)
        assert meet(context.front, authority.client(), "a.example").names == ("a.example",)

    def test_a_ca_without_certificates_is_told(self, authority, three, tmp_path):
        empty = tmp_path / "empty.pem"
        empty.write_text("nothing")
        with pytest.raises(CertificateError) as caught:
            context_of(table(*three, clients="optional", client_ca=str(empty)))
        assert (caught.value.key, caught.value.path) == ("client_ca", str(empty))


def test_the_kit_makes_certificates_of_both_types(authority):
    assert isinstance(authority.leaf("a"), trustme.LeafCert)
