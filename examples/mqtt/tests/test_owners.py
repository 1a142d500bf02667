"""Who owns the name of a client, if another host has got it meanwhile."""

import asyncio
from types import SimpleNamespace

import pytest
from prefork_mqtt.owners import Owners

from host import BUS_TAKEN, Message


class FreeBus:
    """A bus where each claim is granted, and what is said is heard at once."""

    def __init__(self):
        self.hearers = {}

    def subscribe(self, topic, callback):
        self.hearers[topic] = callback

    def publish(self, topic, payload):
        self.hearers[topic](Message(topic, payload, "other", retained=False))

    def claim(self, _key, done):
        done(True)

    def release(self, _key):
        pass


async def rest():
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.parametrize("asks", ["take", "if_free"])
def test_a_name_that_was_taken_is_had_again_when_its_last_connection_has_left(asks):
    """Else the state of two connections of one client would be mixed."""

    async def run():
        bus, given_up = FreeBus(), []
        owners = Owners(SimpleNamespace(bus=bus), given_up.append)
        assert await owners.take("me", 1)
        bus.publish(BUS_TAKEN, b"mqtt.client.me")
        assert given_up == ["me"]
        if asks == "if_free":
            async with owners.if_free("me") as is_owner:
                assert not is_owner
        again = asyncio.create_task(owners.take("me", 100))
        await rest()
        assert not again.done()
        owners.release("me")
        assert await again

    asyncio.run(run())
