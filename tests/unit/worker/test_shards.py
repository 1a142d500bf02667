"""The shards of a worker: taken, released, and read to the end when it goes."""

import errno
import socket
from contextlib import contextmanager

import pytest

from host.ipc.protocol import ShardOrder
from host.worker import shards
from host.worker.shards import OwnedShards, Shard
from support.fakes import FakeLoop


class Reader:
    """Reads one datagram at each event, as long as there are any."""

    def __init__(self):
        self.waiting = self.read = self.written = 0

    def on_event(self, _mask):
        if not self.waiting:
            return False
        self.waiting -= 1
        self.read += 1
        return True

    def write_counts(self):
        self.written += 1


class Scene:
    """A worker with three shards; `said` are the shards that it has told to be released."""

    def __init__(self, socks):
        self.loop, self.said = FakeLoop(), []
        self.readers = {sock.fileno(): Reader() for sock in socks}
        self.numbers = list(self.readers)
        inherited = {sock.fileno(): Shard(sock, self.readers[sock.fileno()]) for sock in socks}
        self.owned = OwnedShards(inherited, self.loop, self._report)

    def _report(self, report):
        assert report.kind == "released"
        self.said += report.data["shards"]

    def take(self, *numbers):
        for number in numbers:
            self.owned.obey(ShardOrder(number, takes=True))

    def release(self, *numbers):
        for number in numbers:
            self.owned.obey(ShardOrder(number, takes=False))


@contextmanager
def scene():
    socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3)]
    made = Scene(socks)
    try:
        yield made
    finally:
        for sock in socks:
            sock.close()


def test_what_is_taken_is_watched_until_it_is_released():
    with scene() as made:
        first, second, _ = made.numbers
        made.take(first, second, second)
        assert set(made.loop.watched) == {first, second}
        made.release(first)
        assert set(made.loop.watched) == {second}
        assert made.said == [first]


def test_what_is_not_owned_is_not_released_and_what_is_not_there_not_taken():
    with scene() as made:
        made.release(made.numbers[0])
        made.take(9999)
        assert (made.said, made.loop.watched) == ([], {})


def test_who_goes_reads_what_waits_and_closes_all():
    with scene() as made:
        first, second, third = made.numbers
        made.take(first, second)
        made.readers[first].waiting, made.readers[third].waiting = 40, 5
        made.owned.finish()
        assert (made.readers[first].read, made.readers[third].read) == (40, 0)
        assert made.readers[first].written == 1
        assert made.said == [first, second]
        assert made.loop.watched == {}
        for number in made.numbers:
            with pytest.raises(OSError, match="Bad file descriptor"):
                socket.socket(fileno=number)
        made.owned.finish()
        made.take(first)
        assert made.said == [first, second]


def test_who_goes_on_sending_is_not_waited_for():
    with scene() as made:
        made.take(*made.numbers)
        for reader in made.readers.values():
            reader.waiting = 10**12
        made.owned.finish()
        assert made.said == made.numbers


def test_a_shard_that_cannot_be_watched_is_tried_again():
    with scene() as made:
        number, add = made.numbers[0], made.loop.add

        def refuse(*_):
            raise OSError(errno.ENOSPC, "")

        made.loop.add = refuse
        made.take(number)
        made.loop.add = add
        assert made.loop.watched == {}
        made.loop.advance(made.loop.now + shards._AGAIN_SECONDS)
        assert set(made.loop.watched) == {number}
        made.release(number)
        assert made.said == [number]


def test_a_shard_that_was_released_before_it_could_be_watched_is_left_alone():
    with scene() as made:
        number, add = made.numbers[0], made.loop.add

        def refuse(*_):
            raise OSError(errno.ENOMEM, "")

        made.loop.add = refuse
        made.take(number)
        made.release(number)
        made.loop.add = add
        made.loop.advance(made.loop.now + 1)
        assert made.loop.watched == {}
