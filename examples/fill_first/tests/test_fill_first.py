import contextlib
from dataclasses import dataclass

import pytest
from prefork_fill_first import FillFirst, Options


@dataclass
class View:
    """What the scheduler looks at of a worker."""

    slot: int
    active: int
    outstanding: int = 0


def choose(limit, *workers):
    chosen = FillFirst(Options(connections=limit)).choose_worker(workers)
    return None if chosen is None else chosen.slot


@pytest.mark.parametrize(
    ("active", "slot"),
    [((0, 0, 0), 0), ((9, 0, 0), 0), ((10, 0, 0), 1), ((10, 9, 5), 1), ((10, 12, 5), 2)],
)
def test_the_lowest_slot_with_room(active, slot):
    assert choose(10, *(View(*pair) for pair in enumerate(active))) == slot


def test_what_is_on_its_way_counts():
    assert choose(10, View(0, 8, outstanding=2), View(1, 0)) == 1


def test_others_decide_when_all_are_full():
    assert choose(1, View(0, 1), View(1, 1)) is None


def test_a_real_host_fills_one_worker_after_the_other(host_server):
    host = host_server(
        *("line", "fill_first"),
        workers=3,
        options={"fill_first": {"connections": 4}},
        settings={"dispatch.missed_claim_ms": 20_000},  # however late a worker is
    )
    with contextlib.ExitStack() as open_ones:
        slots = []
        for _ in range(12):
            client = open_ones.enter_context(host.connect())
            client.sendall(b"WORKER\n")
            slots.append(int(client.recv(100).split()[1]))
    assert slots == [0] * 4 + [1] * 4 + [2] * 4
    assert host.stop() == 0


def test_what_finds_no_room_is_counted(harness):
    started = harness("line", "fill_first", options={"fill_first": {"connections": 1}})
    plugin = started.plugin("fill_first")
    assert plugin.choose_worker([View(0, 0)]) is not None
    assert plugin.choose_worker([View(0, 1)]) is None
    assert started.metrics()["prefork_fill_first_overflows_total"] == 1
