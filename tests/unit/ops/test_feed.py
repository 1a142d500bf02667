"""Events are read once and reach all who listen; a slow listener loses the oldest, and knows it."""

import asyncio
import json
import socket

import pytest

from host.ops.feed import KEPT, Feed


def play(scene_of):
    async def main():
        reader, writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with reader, writer:
            feed = Feed(reader)
            feed.begin()
            async with asyncio.timeout(20):
                await scene_of(feed, writer.send)
            feed.end()

    asyncio.run(main())


def numbered(number):
    return json.dumps({"number": number}).encode()


async def heard(listener, count):
    """Wait for so many events."""
    found = []
    while len(found) < count:
        await listener.news.wait()
        events, dropped = listener.take()
        assert not dropped
        found += [json.loads(each)["number"] for each in events]
    return found


def test_all_who_listen_hear_of_each_event_in_order():
    async def scene_of(feed, send):
        with feed.listening() as one, feed.listening() as other:
            for number in range(5):
                send(numbered(number))
            assert await heard(one, 5) == await heard(other, 5) == [0, 1, 2, 3, 4]

    play(scene_of)


def test_who_comes_later_hears_of_the_last_ones():
    async def scene_of(feed, send):
        with feed.listening() as one:
            for number in range(KEPT + 10):
                send(numbered(number))
            await heard(one, KEPT + 10)
        with feed.listening() as later:
            assert await heard(later, KEPT) == list(range(10, KEPT + 10))

    play(scene_of)


def test_who_is_slow_loses_the_oldest_and_is_told_how_many():
    async def scene_of(feed, send):
        with feed.listening() as slow, feed.listening() as quick:
            for number in range(0, 500, 50):
                for each in range(number, number + 50):
                    send(numbered(each))
                await heard(quick, 50)
            events, dropped = slow.take()
            assert json.loads(events[0])["number"] == dropped == 300
            assert len(events) == 200

    play(scene_of)


def test_rubbish_is_left_out():
    async def scene_of(feed, send):
        with feed.listening() as one:
            for rubbish in (b"{", b"\xff", b'{"a":\n', b"\0" * 9000):
                send(rubbish)
            send(b'{"number":\n 7}')  # of two lines
            assert await heard(one, 1) == [7]

    play(scene_of)


def test_the_end_wakes_who_listens():
    async def scene_of(feed, _send):
        with feed.listening() as one:
            one.take()
            feed.end()
            await one.news.wait()
            feed.begin()

    play(scene_of)


def test_without_a_socket_nothing_comes():
    async def main():
        feed = Feed(None)
        feed.begin()
        with feed.listening() as one:
            assert one.take() == ([], 0)
        feed.end()

    asyncio.run(main())


@pytest.mark.parametrize("count", [0, 3])
def test_a_listener_that_goes_is_forgotten(count):
    async def scene_of(feed, send):
        with feed.listening() as other:
            with feed.listening() as one:
                pass
            for number in range(count):
                send(numbered(number))
            if count:
                await heard(other, count)
            assert one.take() == ([], 0)

    play(scene_of)
