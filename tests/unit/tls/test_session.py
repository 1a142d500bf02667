"""Sessions over sockets: what comes is what was sent, however it is cut, and how sessions end."""

import select
import socket
import ssl
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from host.tls.contexts import ServerContext
from host.tls.session import Session, TlsFailedError, TruncatedError
from host.tls.tables import load_set
from support.certificates import Authority, table
from support.tls_records import Records, logging_secrets, secret_of

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
RECORD = 16_384


@pytest.fixture(scope="module")
def ends():
    """The contexts of a server and of a client."""
    with tempfile.TemporaryDirectory() as folder:
        authority = Authority(Path(folder))
        of_table = table(authority.files("a", "a.example"))
        yield ServerContext("public", of_table, *load_set(of_table)), authority.client


class Client:
    """A client in memory, which decides how its records are cut."""

    def __init__(self, context, sock):
        self.incoming, self.outgoing, self.sock = ssl.MemoryBIO(), ssl.MemoryBIO(), sock
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="a.example")

    def send(self, size=1 << 30):
        """Send so many bytes of the records that wait; return how many went."""
        records = self.outgoing.read(size)
        self.sock.sendall(records)
        return len(records)

    def receive(self, size=1 << 20):
        """Return what can be decrypted of so many bytes that have come."""
        with suppress(BlockingIOError):
            data = self.sock.recv(size)
            self.incoming.write(data) if data else self.incoming.write_eof()
        found = b""
        with suppress(ssl.SSLWantReadError):
            while data := self.tls.read(1 << 20):
                found += data
        return found


@contextmanager
def joined(ends, version=ssl.TLSVersion.TLSv1_3, *, room=0, context=None):
    """Yield a session, its descriptor, and a client that has met it."""
    server, make_client = ends
    context = context or make_client()
    context.minimum_version = context.maximum_version = version
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        if room:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
        session, client = Session(server.front), Client(context, theirs)
        done = False
        while not done:
            with suppress(ssl.SSLWantReadError):
                client.tls.do_handshake()
            client.send()
            with suppress(BlockingIOError):
                session.feed(ours.recv(1 << 20))
            done = session.step()
            session.flush(ours.fileno())
            with suppress(BlockingIOError):
                client.incoming.write(theirs.recv(1 << 20))
        with suppress(ssl.SSLWantReadError):
            client.tls.do_handshake()
        yield session, ours.fileno(), client


@contextmanager
def no_room():
    """Yield a socket that takes nothing."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                ours.send(bytes(65_536))
        yield ours.fileno()


def read_all(session, fd, room, into=False):
    """Read as a connection does: as long as bytes may be inside, or are to be read."""
    found = b""
    while True:
        try:
            if into:
                buffer = bytearray(room)
                found += buffer[: session.read_into(fd, [buffer])]
            else:
                found += session.read(fd, room)
        except BlockingIOError:
            if not session.more and not select.select([fd], [], [], 0)[0]:
                return found


@pytest.mark.parametrize("version", VERSIONS)
def test_what_was_agreed_on_is_known_after_an_error(ends, version):
    with joined(ends, version) as (session, fd, client):
        before = session.info()
        assert before.version == version.name.replace("_", ".")
        client.sock.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
        with pytest.raises(TlsFailedError):
            session.read(fd, 100)
        assert session.info() == before


@given(
    version=st.sampled_from(VERSIONS),
    records=st.lists(st.integers(1, 2 * RECORD), min_size=1, max_size=6),
    segments=st.lists(st.integers(1, 40_000), min_size=1, max_size=8),
    room=st.sampled_from([1, 7, 64, 448, RECORD - 1, RECORD, RECORD + 1, 65_536, 262_144]),
    into=st.booleans(),
)
@example(version=VERSIONS[0], records=[20_423], segments=[20_481], room=448, into=False)
@settings(deadline=None, max_examples=60)
def test_what_is_read_is_what_was_sent(ends, version, records, segments, room, into):
    with joined(ends, version) as (session, fd, client):
        room = max(room, sum(records) // 2000)  # a byte at a time is slow for many of them
        sent = found = b""
        for number, size in enumerate(records):
            data = bytes([number]) * size
            client.tls.write(data)
            sent += data
        turn = 0
        while client.send(segments[turn % len(segments)]):
            found += read_all(session, fd, room, into)
            turn += 1
        assert found == sent


@given(
    version=st.sampled_from(VERSIONS),
    pieces=st.lists(st.integers(1, 200_000), min_size=1, max_size=6),
    takes=st.lists(st.integers(0, 100_000), min_size=1, max_size=5),
    answers=st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_what_is_written_arrives_once_whatever_the_kernel_takes(
    ends, version, pieces, takes, answers
):
    with joined(ends, version, room=4096) as (session, fd, client):
        data = b"".join(bytes([65 + n]) * size for n, size in enumerate(pieces))
        waiting = [bytes([65 + n]) * size for n, size in enumerate(pieces)]
        found, turn = b"", 0
        while len(found) < len(data):
            with suppress(BlockingIOError):
                sent = session.write_pieces(fd, waiting) if waiting else 0
                while sent:
                    taken = min(sent, len(waiting[0]))
                    sent -= taken
                    waiting[0] = waiting[0][taken:]
                    if not waiting[0]:
                        waiting.pop(0)
            if answers:  # a read in between may send what is left
                client.tls.write(b"x")
                client.send()
                assert read_all(session, fd, 10) == b"x"
            found += client.receive(takes[turn % len(takes)] or 1)
            turn += 1
            if turn > 40:
                takes = [1 << 20]
        assert found == data
        assert not waiting


def test_a_small_write_that_the_kernel_does_not_take_is_given_again_as_it_was(ends):
    with joined(ends, room=4096) as (session, fd, client):
        sent = 0
        with suppress(BlockingIOError):
            while True:
                sent += session.write(fd, b"a" * 100)
        with pytest.raises(BlockingIOError):
            session.write(fd, b"a" * 100)
        found = client.receive(1 << 20)
        assert session.write(fd, b"a" * 100 + b"b") in (100, 101)
        found += client.receive(1 << 20)
        assert found.rstrip(b"b") == b"a" * (sent + 100)


def test_no_more_is_sent_at_once_than_others_can_wait_for(ends):
    with joined(ends, room=1 << 20) as (session, fd, client):
        sent = session.write(fd, bytes(4 << 20))
        assert sent <= 262_144
        assert client.receive(1 << 22)


def test_a_file_is_sent_in_pieces(ends, tmp_path):
    path, text = tmp_path / "file", bytes(range(256)) * 500
    path.write_bytes(text)
    with path.open("rb") as file, joined(ends, room=4096) as (session, fd, client):
        offset, found = 0, b""
        while len(found) < len(text):
            with suppress(BlockingIOError):
                offset += session.send_file(fd, file.fileno(), offset, len(text) - offset)
            found += client.receive()
        assert found == text
        assert session.send_file(fd, file.fileno(), len(text), 10) == 0


class TestEnds:
    @pytest.mark.parametrize("version", VERSIONS)
    def test_who_says_that_it_has_finished_can_still_be_written_to(self, ends, version):
        with joined(ends, version) as (session, fd, client):
            client.tls.write(b"last")
            with suppress(ssl.SSLWantReadError):
                client.tls.unwrap()
            client.send()
            assert session.read(fd, 100) == b"last"
            assert session.read(fd, 100) == b""
            assert session.write(fd, b"answer") == 6
            assert client.sock.recv(1 << 16)

    @pytest.mark.parametrize("version", VERSIONS)
    def test_an_end_without_a_word_is_no_end(self, ends, version):
        with joined(ends, version) as (session, fd, client):
            client.tls.write(b"cut")
            client.send()
            client.sock.shutdown(socket.SHUT_WR)
            assert session.read(fd, 100) == b"cut"
            for _ in range(2):
                with pytest.raises(TruncatedError):
                    session.read(fd, 100)

    def test_an_end_within_a_record_is_none_either(self, ends):
        with joined(ends) as (session, fd, client):
            client.tls.write(b"cut")
            client.send(10)
            client.sock.shutdown(socket.SHUT_WR)
            with pytest.raises(BlockingIOError):
                session.read(fd, 100)
            with pytest.raises(TruncatedError):
                session.read(fd, 100)

    @pytest.mark.parametrize("version", VERSIONS)
    def test_what_is_not_tls_ends_the_session_with_an_alert(self, ends, version):
        with joined(ends, version) as (session, fd, client):
            client.receive()  # the tickets
            client.sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
            for _ in range(2):
                with pytest.raises(TlsFailedError):
                    session.read(fd, 100)
            assert client.sock.recv(100)[0] in (0x15, 0x17)  # an alert; that of 1.3 looks like data

    def test_a_record_that_was_changed_on_its_way_ends_it(self, ends):
        with joined(ends) as (session, fd, client):
            client.tls.write(b"pay 1")
            records = bytearray(client.outgoing.read())
            records[-1] ^= 1
            client.sock.sendall(records)
            with pytest.raises(TlsFailedError):
                session.read(fd, 100)

    @pytest.mark.parametrize("version", VERSIONS)
    def test_the_peer_is_told_of_the_end(self, ends, version):
        with joined(ends, version) as (session, fd, client):
            session.write(fd, b"bye")
            session.finish(fd)
            client.incoming.write(client.sock.recv(1 << 16))
            assert client.tls.read(100) == b"bye"
            assert client.tls.read(100) == b""  # close_notify, since its input has not ended

    def test_an_end_that_finds_no_room_is_told_when_there_is_some(self, ends):
        with joined(ends) as (session, fd, client), no_room() as full:
            session.write(fd, b"bye")
            assert not session.finish(full)
            assert session.finish(full)  # it is said once
            assert not session.flush(full)
            assert session.flush(fd)
            client.incoming.write(client.sock.recv(1 << 16))
            assert client.tls.read(100) == b"bye"
            assert client.tls.read(100) == b""

    def test_who_is_reset_is_told_nothing(self, ends):
        with joined(ends) as (session, fd, client):
            client.receive()
            session.silent = True
            session.finish(fd)
            with pytest.raises(BlockingIOError):
                client.sock.recv(1)

    def test_nothing_follows_a_part_of_a_record(self, ends):
        with joined(ends, room=4096) as (session, fd, client):
            with suppress(BlockingIOError):
                session.write(fd, bytes(1 << 20))
            session.finish(fd)
            while not session.flush(fd):
                client.receive()
            while client.receive():
                pass
            with pytest.raises(ssl.SSLWantReadError):  # what is whole now, and nothing after it
                client.tls.read(1)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("room", [1, 5, 10, 1000, RECORD + 100])
def test_who_has_spoken_is_still_to_be_read(ends, version, room):
    with joined(ends, version) as (session, fd, client):
        assert session.has_spoken(fd) is None
        client.tls.write(b"x" * RECORD + b"0123456789")
        client.send()
        assert session.has_spoken(fd) is True
        assert read_all(session, fd, room) == b"x" * RECORD + b"0123456789"
        assert session.has_spoken(fd) is None
        client.tls.write(b"more")
        client.send()
        assert read_all(session, fd, room) == b"more"


@pytest.mark.parametrize("told", [False, True])
def test_who_has_ended_without_a_word_has_not_spoken(ends, told):
    with joined(ends) as (session, fd, client):
        if told:
            with suppress(ssl.SSLWantReadError):
                client.tls.unwrap()
            client.send()
        client.sock.close()
        assert session.has_spoken(fd) is False


def test_what_is_not_tls_is_found_by_the_next_read_too(ends):
    with joined(ends) as (session, fd, client):
        client.sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert session.has_spoken(fd) is True
        with pytest.raises(TlsFailedError):
            session.read(fd, 100)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_was_agreed_on(ends, version):
    with joined(ends, version) as (session, _, client):
        info = session.info()
        assert (info.version, info.server_name) == (client.tls.version(), "a.example")
        assert info.cipher == client.tls.cipher()[0]
        assert (info.alpn, info.resumed, info.peer_certificate) == (None, False, None)


class TestRecordsWithoutData:
    @pytest.fixture
    def met(self, ends, tmp_path):
        """A session, its descriptor, a socket that leads to it, and what makes records for it."""
        context = ends[1]()
        log = logging_secrets(context, tmp_path)
        with joined(ends, context=context) as (session, fd, client):
            client.receive()  # the tickets
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            yield session, fd, client.sock, Records(secret_of(log))

    @pytest.mark.parametrize("requested", [False, True])
    def test_new_keys_are_taken_and_answered(self, met, requested):
        session, fd, sock, records = met
        for number in range(200):
            sock.sendall(records.key_update(requested=requested) + records.data(b"%d" % number))
            assert session.read(fd, 100) == b"%d" % number
            assert not session.more
        assert bool(select.select([sock], [], [], 0)[0]) is requested

    @pytest.mark.parametrize("segment", [1, 20, 27, 1000, 20_480])
    @pytest.mark.parametrize("padding", [0, 300])
    def test_32_in_a_row_are_taken_and_95_are_not(self, met, segment, padding):
        session, fd, sock, records = met

        def send(count, data):
            parts = [records.key_update(padding=padding) for _ in range(count)]
            stream, found = b"".join((*parts, records.data(data))), b""
            for start in range(0, len(stream), segment):
                sock.sendall(stream[start : start + segment])
                found += read_all(session, fd, 65_536)
            return found

        for size in (1, 300, 16_384):
            assert send(32, bytes(size)) == bytes(size)
        with pytest.raises(TlsFailedError, match="without data"):
            send(95, b"x")
        assert not session.more
        with pytest.raises(TlsFailedError, match="without data"):
            session.read(fd, 65_536)

    @given(
        parts=st.lists(
            st.tuples(st.integers(0, 32), st.integers(1, 2000) | st.just(RECORD)), max_size=60
        ),
        segments=st.lists(st.integers(1, 30_000), min_size=1, max_size=8),
        room=st.sampled_from([1, 448, 65_536]),
    )
    @example(parts=[(0, 1), (32, 1)], segments=[23 + 32 * 27], room=448)
    @example(parts=[(5, 1), (30, 1)], segments=[5 * 27 + 23 + 30 * 27], room=448)
    @settings(deadline=None, max_examples=40)
    def test_what_is_read_is_what_was_sent_between_them(self, ends, parts, segments, room):
        room = max(room, sum(size for _, size in parts) // 2000)
        context = ends[1]()
        with tempfile.TemporaryDirectory() as folder:
            log = logging_secrets(context, Path(folder))
            with joined(ends, context=context) as (session, fd, client):
                records, stream, sent = Records(secret_of(log)), b"", b""
                for number, (updates, size) in enumerate(parts):
                    data = bytes([number]) * size
                    stream += b"".join(records.key_update() for _ in range(updates))
                    stream += records.data(data)
                    sent += data
                found, turn = b"", 0
                while stream:
                    segment = segments[turn % len(segments)]
                    client.sock.sendall(stream[:segment])
                    stream = stream[segment:]
                    found += read_all(session, fd, room)
                    turn += 1
                assert found == sent

    def test_few_are_computed_at_once(self, met):
        """Each of them is answered, so what has been sent tells how many that were."""
        session, fd, sock, records = met
        stream = b""
        for _ in range(20):
            stream += b"".join(records.key_update(requested=True) for _ in range(30))
            stream += records.data(b"x")
        sock.sendall(stream)
        found, answers = b"", []
        while len(found) < 20:
            with suppress(BlockingIOError):
                found += session.read(fd, 100)
            with suppress(BlockingIOError):
                answers.append(len(sock.recv(1 << 16)) // 27)
        assert max(answers) <= 32
        assert sum(answers) >= 599  # the last one waits for the next read or write

    def test_those_that_come_with_the_end_of_the_handshake_count(self, ends, tmp_path):
        context, session = ends[1](), Session(ends[0].front)
        log = logging_secrets(context, tmp_path)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            client = Client(context, theirs)
            with suppress(ssl.SSLWantReadError):
                client.tls.do_handshake()
            session.feed(client.outgoing.read())
            assert not session.step()
            session.flush(ours.fileno())
            client.incoming.write(theirs.recv(1 << 20))
            client.tls.do_handshake()
            records = Records(secret_of(log))
            session.feed(client.outgoing.read())
            session.feed(b"".join(records.key_update() for _ in range(100)))
            assert session.step()
            with pytest.raises(BlockingIOError):
                session.read(ours.fileno(), 100)
            assert session.more
            with pytest.raises(TlsFailedError, match="without data"):
                session.read(ours.fileno(), 100)

    def test_empty_data_without_end_is_refused(self, met):
        session, fd, sock, records = met
        sock.sendall(b"".join(records.data(b"") for _ in range(100)))
        with pytest.raises(TlsFailedError):
            read_all(session, fd, 100)

    def test_the_longest_record_may_come_byte_by_byte(self, met):
        session, fd, sock, records = met
        for _ in range(2):
            record = b"".join(records.key_update() for _ in range(32)) + records.data(b"x", 16_383)
            for number in range(len(record)):
                sock.sendall(record[number : number + 1])
                with suppress(BlockingIOError):
                    data = session.read(fd, 100)
            assert data == b"x"
