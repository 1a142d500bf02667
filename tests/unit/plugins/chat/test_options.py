"""Past each limit users are told so; nothing that acts on a terminal gets through."""

import pytest

from host.plugins.chat.options import Options
from support.parley import Parley


def test_a_room_takes_as_many_as_it_may_however_they_come():
    parley = Parley(3, max_room_members=5)
    clients = [parley.client(number % 3) for number in range(12)]
    for client in clients:
        client.send("/join #a")
    parley.settle(0)
    inside = [client for client in clients if client.user.rooms]
    assert len(inside) == 5
    for client in clients:
        if client not in inside:
            assert client.lines[-1] == "!! #a is full: 5 are in it"
    inside[0].leave()
    parley.settle(0)
    outside = next(client for client in clients if client not in inside)
    outside.send("/join #a")
    parley.settle(0)
    assert outside.user.rooms == ["#a"]


def test_one_user_is_in_as_many_rooms_as_allowed():
    client = Parley(1, max_rooms_per_user=2).client(0, "/join #a", "/join #b", "/join #c")
    assert client.lines[-1].startswith("!! you are in 2 rooms, and more are not allowed")
    assert client.user.rooms == ["#a", "#b"]
    client.send("/join #A")
    assert client.lines[-1] == "-- you talk in #a now"


def test_who_sends_too_fast_is_told_so_once_a_second_and_is_heard_again_later():
    parley = Parley(1, messages_per_second=2, burst=3)
    client = parley.client(0, "/join #a", *map(str, range(10)))
    said = [line for line in client.take() if line[0] in "[!"]
    assert said == [
        "!! too fast: 2 lines a second; what comes faster is not sent",
        f"[#a] {client.user.nick}: 0",
        f"[#a] {client.user.nick}: 1",
    ]
    parley.settle(1.05)
    client.send("later", "and", "too fast again")
    parley.settle(0)
    assert [line.rpartition(" ")[2] for line in client.take() if line[0] == "["] == ["later", "and"]


def test_a_line_that_is_too_long_is_refused_and_the_next_one_taken():
    parley = Parley(1, max_line_bytes=64)
    client = parley.client(0, "/join #a")
    client.take()
    client.send("x" * 64, "y" * 65, "z")
    parley.settle(0)
    nick = client.user.nick
    assert sorted(client.lines) == [
        "!! a line has 64 bytes at most: that was not sent",
        f"[#a] {nick}: {'x' * 64}",
        f"[#a] {nick}: z",
    ]


def test_the_options_have_limits():
    with pytest.raises(ValueError, match="extra"):
        Options(histroy=3)
