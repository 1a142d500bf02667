"""A worker finds the connections that are meant, and the first of them."""

from types import SimpleNamespace

import pytest

from host.control.selection import ORDERS
from host.worker.answers import _describe
from host.worker.selected import _VALUES, selected

ADDRESSES = ("tcp://127.0.0.1:70", "tcp://127.0.0.1:7000", "unix:/run/x.sock")
NOW = 100.0


def connection(number, **more):
    """A connection as a list looks at it; each is younger, busier and further off than the last."""
    return SimpleNamespace(
        **{
            "number": number,
            "id": f"1-{number}",
            "born": float(number),
            "last_active": 50.0 + number,
            "bytes_in": 10 * number,
            "bytes_out": 20 * number,
            "unsent": 30 * number,
            "doing": "",
            "peer": f"10.0.0.{number}:80",
            "uid": None,
            "tls": None,
            "listener": SimpleNamespace(address=ADDRESSES[number % 3]),
            "worker": SimpleNamespace(slot=3),
        }
        | more
    )


@pytest.fixture
def twelve():
    return [connection(number) for number in range(12)]


def numbers(connections, now=NOW, limit=100, **args):
    found = list(selected(connections, {"limit": limit, **args}, now))
    return [each.number for each in found if each is not None]


def test_there_is_a_value_for_each_order_and_it_is_what_is_described(twelve):
    assert _VALUES.keys() == ORDERS.keys()
    described = _describe(twelve[3], NOW)
    for name, order in ORDERS.items():
        assert _VALUES[name](twelve[3], NOW) == described[order.field]


@pytest.mark.parametrize(
    ("sort", "first"),
    [
        ("age", [0, 1, 2]),
        ("idle", [0, 1, 2]),
        ("in", [11, 10, 9]),
        ("out", [11, 10, 9]),
        ("unsent", [11, 10, 9]),
        ("peer", [0, 1, 2]),
        ("listener", [0, 3, 6]),
    ],
)
def test_the_first_in_an_order_come_first(twelve, sort, first):
    assert numbers(twelve, limit=3, sort=sort, reverse=False) == first
    every = numbers(twelve, sort=sort, reverse=True)
    assert sorted(every) == list(range(12))
    if sort != "listener":
        assert every[::-1][:3] == first


@pytest.mark.parametrize(
    ("args", "meant"),
    [
        ({"listener": ADDRESSES[0], "whole": True}, [0, 3, 6, 9]),
        ({"listener": ADDRESSES[0], "whole": False}, [0, 1, 3, 4, 6, 7, 9, 10]),
        ({"listener": "unix", "whole": False}, [2, 5, 8, 11]),
        ({"peer": "10.0.0.8/30"}, [8, 9, 10, 11]),
        ({"peer": "10.0.0.8/30", "listener": "unix", "whole": False}, [8, 11]),
    ],
)
def test_others_than_those_that_are_meant_are_left_out(twelve, args, meant):
    assert numbers(twelve, **args) == meant
    assert numbers(twelve, limit=2, **args) == meant[:2]
    assert numbers(twelve, limit=2, sort="in", reverse=False, **args) == meant[::-1][:2]


@pytest.mark.parametrize("args", [{"peer": "unix"}, {"sort": "age", "reverse": False}])
def test_each_look_is_a_step_so_that_it_can_be_left_for_a_moment(twelve, args):
    assert list(selected(twelve, {"limit": 5, **args}, NOW))[:12] == [None] * 12


def test_no_more_are_looked_at_than_it_takes(twelve):
    looks = list(selected(twelve, {"limit": 2, "peer": "10."}, NOW))
    assert [each.number for each in looks] == [0, 1]
