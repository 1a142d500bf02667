"""What a connection promises holds over plain sockets and over TLS; the sockets are real."""

import ssl
import tempfile
from pathlib import Path

import pytest

from host.interfaces import CloseReason
from support.certificates import Authority
from support.pairs import Served

TRANSPORTS = {"plain": None, "TLS 1.2": ssl.TLSVersion.TLSv1_2, "TLS 1.3": ssl.TLSVersion.TLSv1_3}
MIB = 1 << 20
LONG = bytes(range(251)) * 1000
LITTLE = 8192


@pytest.fixture(scope="module")
def authority():
    with tempfile.TemporaryDirectory() as folder:
        yield Authority(Path(folder))


@pytest.fixture(params=TRANSPORTS)
def serve(request, authority):
    """Make the worker that serves connections, with its limits."""
    version, made = TRANSPORTS[request.param], []

    def make(**limits):
        made.append(Served(authority if version else None, version, **limits))
        return made[-1]

    yield make
    for each in made:
        each.close()


def echo(connection):
    connection.write(connection.read())


def keeps(got):
    """Return a handler that keeps what it reads, an empty piece for the end as well."""
    return lambda connection: got.append(connection.read())


def meet_in_a_pause(served):
    """Return a connection whose reading pauses, its peer, and the list of what is read."""
    got = []
    served.handler = keeps(got)
    connection, peer = served.meet()
    connection.pause_reading()
    return connection, peer, got


class TestReading:
    def test_what_is_sent_is_read_and_answered_however_it_is_cut(self, serve):
        served = serve()
        served.handler = echo
        _, peer = served.meet()
        for number in range(100):
            peer.send(bytes([number]))
        peer.send(LONG)
        peer.until(bytes(range(100)) + LONG)

    def test_no_read_gives_more_than_its_size_and_none_is_forgotten(self, serve):
        served, got = serve(read_size=1000), []
        served.handler = keeps(got)
        connection, peer = served.meet()
        peer.send(LONG)
        served.until(lambda: sum(map(len, got)) == len(LONG), "all is read")
        assert b"".join(got) == LONG
        assert max(map(len, got)) <= 1000
        assert connection.bytes_in == len(LONG)
        count = len(got)
        served.turns()
        assert len(got) == count, "nobody is called for nothing"

    def test_a_buffer_that_is_small_gets_all(self, serve):
        served, got = serve(), bytearray()
        buffer = bytearray(700)

        def handler(connection):
            got.extend(buffer[: connection.read_into(buffer)])

        served.handler = handler
        _, peer = served.meet()
        peer.send(LONG)
        served.until(lambda: len(got) == len(LONG), "all is read")
        assert got == LONG

    def test_nothing_is_read_in_a_pause_and_all_of_it_afterwards(self, serve):
        served = serve()
        connection, peer, got = meet_in_a_pause(served)
        peer.send(b"sent in the pause")
        served.until_arrived(connection)
        served.turns()
        assert got == []
        connection.resume_reading()
        served.until(lambda: got, "it is read")
        assert got == [b"sent in the pause"]

    def test_a_pause_holds_for_what_has_been_received_in_part(self, serve):
        served, got = serve(), []

        def handler(connection):
            buffer = bytearray(5)
            got.append(bytes(buffer[: connection.read_into(buffer)]))
            if len(got) == 1:
                connection.pause_reading()

        served.handler = handler
        connection, peer = served.meet()
        peer.send(b"firstother")
        served.until(lambda: got, "the first part is read")
        served.turns()
        assert got == [b"first"]
        connection.resume_reading()
        served.until(lambda: len(got) > 1, "the other part is read")
        assert got == [b"first", b"other"]

    def test_what_came_with_the_end_is_read_after_a_pause(self, serve):
        served = serve()
        connection, peer, got = meet_in_a_pause(served)
        peer.send(b"last")
        peer.finish()
        served.until_arrived(connection)
        served.turns()
        assert (got, served.reasons) == ([], [])
        connection.resume_reading()
        assert peer.until_end() == "end"
        assert b"".join(got) == b"last"
        assert served.reasons == [CloseReason.PEER_FINISHED]

    def test_a_call_in_the_next_turn_comes_before_more_is_read(self, serve):
        served, order = serve(read_size=4), []

        def handler(connection):
            order.append(connection.read())
            connection.call_next_turn(lambda _: order.append(b"called"))

        served.handler = handler
        _, peer = served.meet()
        peer.send(b"1234abcd")
        served.until(lambda: len(order) >= 4, "all is read")
        assert order == [b"1234", b"called", b"abcd", b"called"]


class TestTheEnd:
    def test_who_has_finished_sending_gets_the_answer_and_an_end(self, serve):
        served = serve()
        served.handler = lambda connection: connection.write(connection.read().upper())
        _, peer = served.meet()
        peer.send(b"question")
        peer.finish()
        assert peer.until_end() == "end"
        assert peer.received == b"QUESTION"
        assert served.reasons == [CloseReason.PEER_FINISHED]

    def test_who_has_finished_sending_gets_all_of_a_long_answer(self, serve):
        served = serve()
        served.handler = lambda connection: connection.write(
            bytes(2 * MIB * len(connection.read()))
        )
        _, peer = served.meet(room=LITTLE)
        peer.send(b"x")
        peer.finish()
        assert peer.until_end() == "end"
        assert peer.received == bytes(2 * MIB)
        assert served.reasons == [CloseReason.PEER_FINISHED]

    def test_a_half_open_connection_is_written_to_until_the_plugin_closes_it(self, serve):
        served = serve()
        connection, peer = served.meet()
        connection.allow_half_open = True
        peer.finish()
        served.until(lambda: connection.eof, "the end is read")
        served.turns()
        assert served.reasons == []
        connection.write(b"later")
        peer.until(b"later")
        connection.close()
        assert peer.until_end() == "end"
        assert served.reasons == [CloseReason.PLUGIN]

    def test_close_sends_all_first(self, serve):
        served = serve()
        connection, peer = served.meet(room=LITTLE)
        connection.write(LONG)
        connection.close()
        assert peer.until_end() == "end"
        assert peer.received == LONG
        assert served.reasons == [CloseReason.PLUGIN]

    @pytest.mark.parametrize("size", [1, 100_000])
    def test_who_has_sent_more_than_was_read_gets_the_last_words_and_no_reset(self, serve, size):
        served = serve()
        connection, peer = served.meet()
        connection.pause_reading()
        peer.send(bytes(size))
        served.until_arrived(connection)
        connection.write(b"goodbye")
        connection.close()
        assert peer.until_end() == "end"
        assert peer.received == b"goodbye"

    def test_who_has_sent_more_than_the_handler_has_read_gets_them_too(self, serve):
        served = serve()

        def handler(connection):
            connection.read_into(bytearray(10))
            connection.write(b"goodbye")
            connection.close()

        served.handler = handler
        connection, peer = served.meet()
        connection.pause_reading()
        peer.send(bytes(100_000))
        connection.resume_reading()
        assert peer.until_end() == "end"
        assert peer.received == b"goodbye"

    def test_an_abort_resets(self, serve):
        served = serve()
        connection, peer = served.meet()
        connection.write(b"lost")
        connection.abort()
        assert peer.until_end() == "reset"
        assert peer.received == b""
        assert served.reasons == [CloseReason.PLUGIN]
        assert served.losses.cuts == []

    def test_a_peer_that_resets_ends_the_connection(self, serve):
        served = serve()
        _, peer = served.meet()
        peer.reset()
        served.until(lambda: served.reasons, "the connection ends")
        assert served.reasons == [CloseReason.RESET]

    def test_a_peer_that_resets_in_a_pause_does_too(self, serve):
        served = serve()
        connection, peer = served.meet(room=LITTLE)
        connection.pause_reading()
        connection.write(bytes(MIB))
        peer.reset()
        served.until(lambda: served.reasons, "the connection ends")
        assert served.reasons == [CloseReason.RESET]
        assert served.context.connections.unsent.total == 0

    def test_what_on_drain_says_arrives(self, serve):
        served = serve()
        connection, peer = served.meet()
        served.on_drain = lambda each, _: (each.write(b"going down"), each.close())
        connection.drain(12.0)
        assert peer.until_end() == "end"
        assert peer.received == b"going down"
        assert served.reasons == [CloseReason.PLUGIN]

    def test_a_handler_that_fails_has_written_what_it_wrote(self, serve):
        served = serve()

        def handler(connection):
            connection.write(connection.read())
            raise ValueError

        served.handler = handler
        _, peer = served.meet()
        peer.send(b"so far")
        assert peer.until_end() == "end"
        assert peer.received == b"so far"
        assert served.reasons == [CloseReason.PLUGIN_FAILED]


class TestWriting:
    def test_a_flush_goes_before_the_handler_ends(self, serve):
        served = serve()
        connection, peer = served.meet()
        connection.write(b"now")
        connection.flush()
        while not peer.received:
            peer.take()
        assert peer.received == b"now"

    def test_what_another_handler_writes_arrives(self, serve):
        served = serve()
        _, first = served.meet()
        other, second = served.meet()
        served.handler = lambda connection: other.write(connection.read())
        first.send(b"for the other")
        second.until(b"for the other")

    def test_pieces_arrive_in_their_order(self, serve):
        served = serve()
        connection, peer = served.meet(room=LITTLE)
        pieces = [bytes([number % 251]) * (number * 37 % 5000) for number in range(300)]
        for piece in pieces:
            connection.write(piece)
        peer.until(b"".join(pieces))
        served.until(lambda: not connection.unsent, "all is sent")
        assert connection.bytes_out == sum(map(len, pieces))

    def test_a_file_goes_between_what_is_written_before_and_after(self, serve, tmp_path):
        served = serve()
        connection, peer = served.meet(room=LITTLE)
        (tmp_path / "file").write_bytes(LONG)
        with (tmp_path / "file").open("rb") as file:
            connection.write(b"before")
            connection.send_file(file, 100, 200_000)
            connection.write(b"after")
        peer.until(b"before" + LONG[100:200_100] + b"after")

    def test_who_does_not_read_is_not_read_from_until_it_does(self, serve):
        served, calls = serve(high_water=10_000, low_water=5000), []

        def handler(connection):
            connection.read()
            calls.append(connection.congested)
            if len(calls) == 1:
                connection.write(bytes(MIB))

        served.handler = handler
        connection, peer = served.meet(room=LITTLE)
        peer.send(b"first")
        served.until(lambda: connection.congested, "much waits")
        peer.send(b"second")
        served.until_arrived(connection)
        served.turns()
        assert calls == [False]
        peer.until(bytes(MIB))
        served.until(lambda: len(calls) == 2, "it is read from again")
        assert calls == [False, False]

    def test_a_call_when_writable_waits_for_the_low_water_mark(self, serve):
        served, waiting = serve(high_water=100_000, low_water=20_000), []
        connection, peer = served.meet(room=LITTLE)
        connection.write(bytes(MIB))
        connection.call_when_writable(
            lambda each: (waiting.append(each.unsent), each.write(b"more"))
        )
        served.turns()
        assert waiting == []
        peer.until(bytes(MIB) + b"more")
        assert waiting[0] <= 20_000

    def test_more_unsent_than_allowed_is_told_and_resets(self, serve):
        served = serve(high_water=10_000, max_unsent=100_000)
        connection, peer = served.meet(room=LITTLE)
        for _ in range(100):
            connection.write(bytes(10_000))
        served.until(lambda: served.reasons, "the connection ends")
        assert served.reasons == [CloseReason.UNSENT_LIMIT]
        [(_, reason, size)] = served.losses.cuts
        assert (reason, size > 100_000) == (CloseReason.UNSENT_LIMIT, True)
        assert peer.until_end() == "reset"
        assert served.context.connections.unsent.total == 0


class TestTimeouts:
    def test_who_says_nothing_is_closed_and_told_so(self, serve):
        served = serve(idle=10)
        served.handler = echo
        _, peer = served.meet()
        served.pass_time(9)
        peer.send(b"x")
        peer.until(b"x")
        served.pass_time(9)
        assert served.reasons == []
        served.pass_time(2)
        assert served.reasons == [CloseReason.IDLE]
        assert peer.until_end() == "end"

    def test_who_takes_nothing_is_closed_and_reset(self, serve):
        served = serve(write=10)
        connection, peer = served.meet(room=LITTLE)
        connection.write(bytes(4 * MIB))
        served.turns()
        served.pass_time(9)
        before = connection.unsent
        served.until(lambda: peer.take() or connection.unsent < before, "it takes some")
        served.turns()
        served.pass_time(9)
        assert served.reasons == []
        served.pass_time(2)
        assert served.reasons == [CloseReason.WRITE_TIMEOUT]
        assert peer.until_end() == "reset"
        assert len(peer.received) < 4 * MIB

    def test_a_time_that_the_plugin_gives_ends_it_with_what_was_written(self, serve):
        served = serve()
        connection, peer = served.meet()
        connection.expire(5)
        connection.write(b"hurry up")
        served.pass_time(6)
        assert served.reasons == [CloseReason.TIMEOUT]
        assert peer.until_end() == "end"
        assert peer.received == b"hurry up"
