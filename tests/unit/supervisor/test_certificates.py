"""New certificates are looked for, tried, and sent to the workers that need them."""

import os
import resource
from types import SimpleNamespace

import pytest

from host.supervisor.certificates import CertificateRotation, RotationParts
from host.telemetry.events import (
    CERTIFICATE_EXPIRES,
    CERTIFICATES_NOT_TAKEN,
    CERTIFICATES_REFUSED,
    CERTIFICATES_RENEWED,
)
from host.tls.tables import TlsContexts, load_set, unsealed
from support.certificates import Authority, chain_of, table
from support.fakes import FakeLoop, Told


class Scene:
    """A rotation, its loop, and workers that answer when they are told to.

    Attributes:
        asked: the pids, the name and what came with each question that nobody has answered.
    """

    def __init__(self, tables, before=()):
        self.loop, self.told = FakeLoop(), Told()
        old, new = object(), object()
        self.handles = _Workers(
            (pid, SimpleNamespace(record=SimpleNamespace(pid=pid), generation=generation))
            for pid, generation in ((1, old), (2, new), (3, new))
        )
        self.asked = []
        sets = {name: load_set(each) for name, each in tables.items()}
        self.tls = TlsContexts(tables, sets)
        parts = RotationParts(
            self.loop,
            self.told.telemetry,
            SimpleNamespace(current=new, serving=old),
            self.handles,
            SimpleNamespace(ask=self._ask),
            frozenset(before),
        )
        self.rotation = CertificateRotation(self.tls, parts)
        self.done = []

    def _ask(self, pids, question, args, done, *, descriptor):
        assert question == "take_certificates"
        self.asked.append((list(pids), args["name"], unsealed(descriptor), done))

    def answer(self, errors=(), late=()):
        pids, _, _, done = self.asked.pop(0)
        failed = dict(errors)
        done({pid: [{"error": failed.get(pid, "")}] for pid in pids if pid not in late}, list(late))

    def renew(self):
        self.rotation.renew_all("a command", lambda *how: self.done.append(how))
        self.loop.advance(self.loop.now)


class _Workers(dict):
    def __iter__(self):
        return iter(tuple(self.values()))


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def files(authority):
    return authority.files("a")


@pytest.fixture
def scene(files):
    made = Scene({"public": table(files, check_seconds=10)})
    made.rotation.begin()
    return made


def test_files_that_have_not_changed_are_left_alone(scene):
    for _ in range(3):
        scene.loop.advance(scene.loop.now + 10)
    scene.renew()
    assert scene.asked == []
    assert scene.done == [([], [])]


def test_what_has_changed_is_sent_to_the_workers_of_this_process(scene, files, authority):
    files.write(authority.leaf("new.example"))
    scene.loop.advance(scene.loop.now + 10)
    ((pids, name, found, _),) = scene.asked
    assert (pids, name) == ([2, 3], "public")
    assert found.certificates[0].names == ("new.example",)
    assert scene.told.of(CERTIFICATES_RENEWED) == []  # not before all have it
    scene.answer()
    (renewed,) = scene.told.of(CERTIFICATES_RENEWED)
    assert renewed["names"] == "new.example"
    scene.loop.advance(scene.loop.now + 30)
    assert scene.asked == []


def test_what_cannot_be_read_for_a_while_is_told_once_and_read_again(scene, files, authority):
    files.write(authority.leaf("new.example"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))  # nothing can be opened
    try:
        for _ in range(4):
            scene.loop.advance(scene.loop.now + 10)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    (refused,) = scene.told.of(CERTIFICATES_REFUSED)
    assert "Too many open files" in refused["cause"]
    scene.loop.advance(scene.loop.now + 10)
    ((_, _, found, _),) = scene.asked
    assert found.certificates[0].names == ("new.example",)


def test_a_descriptor_is_closed_when_all_have_answered(scene, files, authority):
    before = set(os.listdir("/proc/self/fd"))
    files.write(authority.leaf("new.example"))
    scene.loop.advance(scene.loop.now + 10)
    assert len(set(os.listdir("/proc/self/fd")) - before) == 1
    scene.answer()
    assert set(os.listdir("/proc/self/fd")) == before


def test_workers_of_the_process_before_get_them_if_they_know_the_table(files, authority):
    scene = Scene({"public": table(files)}, before=["public"])
    files.write(authority.leaf("new.example"))
    scene.renew()
    assert scene.asked[0][0] == [1, 2, 3]


def test_a_worker_that_does_not_answer_or_has_failed_is_asked_again(scene, files, authority):
    files.write(authority.leaf("new.example"))
    scene.renew()
    scene.answer(errors={2: "they did not arrive"}, late=[3])
    (failed,) = scene.told.of(CERTIFICATES_NOT_TAKEN)
    assert (failed["pid"], failed["cause"]) == (2, "they did not arrive")
    assert scene.done == []
    del scene.handles[3]  # it has ended meanwhile
    scene.loop.advance(scene.loop.now + 1)
    assert scene.asked[0][0] == [2]
    scene.answer()
    assert scene.done == [(["public"], [])]


def test_newer_certificates_take_the_place_of_those_under_way(scene, files, authority):
    files.write(authority.leaf("one.example"))
    scene.renew()
    files.write(authority.leaf("two.example"))
    scene.renew()
    scene.answer(late=[3])
    scene.answer()
    scene.loop.advance(scene.loop.now + 1)
    assert scene.asked == []
    assert [each["names"] for each in scene.told.of(CERTIFICATES_RENEWED)] == ["two.example"]
    assert len(scene.done) == 2


def test_a_key_that_does_not_fit_is_told_after_two_looks_and_once(scene, files, authority):
    other = authority.leaf("new.example")
    files.certificate.write_bytes(chain_of(other))
    scene.loop.advance(scene.loop.now + 10)
    assert scene.told.of(CERTIFICATES_REFUSED) == []
    for _ in range(3):
        scene.loop.advance(scene.loop.now + 10)
    (refused,) = scene.told.of(CERTIFICATES_REFUSED)
    assert "does not fit" in refused["cause"]
    assert scene.tls.certificates("public")[0].names == ("a.example",)
    files.key.write_bytes(other.private_key_pem.bytes())
    scene.loop.advance(scene.loop.now + 10)
    assert len(scene.asked) == 1


def test_a_certificate_whose_key_comes_a_moment_later_is_no_mistake(scene, files, authority):
    other = authority.leaf("new.example")
    files.certificate.write_bytes(chain_of(other))
    scene.loop.advance(scene.loop.now + 10)
    files.key.write_bytes(other.private_key_pem.bytes())
    scene.loop.advance(scene.loop.now + 10)
    assert len(scene.asked) == 1
    assert scene.told.of(CERTIFICATES_REFUSED) == []


def test_a_command_has_what_is_wrong_and_what_was_renewed(authority):
    files = [authority.files("a"), authority.files("b")]
    scene = Scene({"one": table(files[0]), "two": table(files[1])})
    files[0].key.unlink()
    files[1].write(authority.leaf("new.example"))
    scene.renew()
    scene.answer()
    ((renewed, errors),) = scene.done
    assert renewed == ["two"]
    assert errors == [
        f'tls.one.certificates[0].key = "{files[0].key}": it cannot be read: '
        "No such file or directory"
    ]


def test_certificates_that_expire_are_told_once_a_day(authority):
    scene = Scene({"public": table(authority.files("a", days=20, age=70), authority.files("b"))})
    scene.rotation.begin()
    (told,) = scene.told.of(CERTIFICATE_EXPIRES)
    assert told["names"] == "a.example"
    assert "in 20 days" in told["validity"]
    scene.loop.advance(scene.loop.now + 2 * 86_400)
    assert len(scene.told.of(CERTIFICATE_EXPIRES)) == 3


def test_the_listing_has_what_certificates_say_and_nothing_of_keys(scene, files):
    (listed,) = scene.rotation.listing()
    assert (listed["tls"], listed["names"], listed["key_type"]) == ("public", ["a.example"], "EC")
    assert listed["certificate"] == str(files.certificate)
    assert listed["seconds_left"] == pytest.approx(90 * 86_400, abs=120)
    assert len(listed["fingerprint"]) == 64


def test_a_host_without_certificates_does_nothing():
    rotation = CertificateRotation(None, None)
    rotation.begin()
    assert rotation.listing() == []
