"""What machines carry is what its formulas say, and the page has what was measured."""

import dataclasses
import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).parents[2]


def _find_bench():
    """Import the package `bench`, which is never installed, by its place."""
    if "bench" not in sys.modules:
        spec = importlib.util.spec_from_file_location("bench", ROOT / "bench" / "__init__.py")
        sys.modules["bench"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["bench"])


_find_bench()

from bench.capacity import tables  # noqa: E402 - it has to be found first
from bench.capacity.costs import (  # noqa: E402
    MEASURED,
    Bridge,
    Broker,
    CostError,
    Costs,
    compose,
    figure,
)
from bench.capacity.model import Machine, Use, carried, cpu_us, spread, wire  # noqa: E402

COSTS = Costs(
    message_us=10,
    tls_us=2,
    delivery_us=5,
    connection_us=60,
    tls_connection_us=400,
    idle_kib=1,
    tls_kib=20,
    kernel_kib=4,
    hub_us={1: 6.0, 4: 12.0},
    brokers={},
    bridge=Bridge(publish_us=3, hear_us=2),
)
MACHINE = Machine(cores=4, gib=16, gbit=1, share=0.5, worker_mib=32)
FAST = dataclasses.replace(MACHINE, gbit=100)
BROKER = Broker(message_us=20, delivery_us=2)


def of(machines=1, brokers=None, costs=COSTS, machine=MACHINE, **use):
    made = Use(**{"name": "", "summary": "", "every": 1, "size": 100, "lasts": 100} | use)
    return carried(made, machine, costs, machines, BROKER, brokers)


def test_workers_are_full_when_their_cpu_time_is():
    # Each second: a message of 10 µs, but for the first of a hundred, and a hundredth of 60 µs.
    one = of()
    assert one.limit == "CPU"
    assert one.connections == int(0.5 * 4e6 / (10 * 0.99 + 0.6))
    assert one.cores == pytest.approx(2, rel=1e-4)
    assert (one.brokers, one.bridged, one.supervisor_cores) == (0, 0, 0)


def test_what_the_plugin_takes_counts():
    assert of(plugin_us=90).connections == int(0.5 * 4e6 / (100 * 0.99 + 0.6))
    room = 0.5 * 16 * 2**20 - 4 * 32 * 1024
    assert of(every=1e6, lasts=1e6, plugin_kib=5).connections == room // 10


def test_memory_is_full_when_nothing_happens():
    one = of(every=1e6, lasts=1e6)
    assert one.limit == "memory"
    assert one.connections == (0.5 * 16 * 2**20 - 4 * 32 * 1024) // 5
    assert one.gib == pytest.approx(8)
    assert of(every=1e6, lasts=1e6, tls=True).connections == pytest.approx(
        one.connections * 5 / 24, abs=1
    )


def test_the_network_is_full_of_large_messages():
    one = of(size=144_800, every=1, lasts=1e6)
    assert one.limit == "network"
    assert one.connections == int(0.5e9 / 8 / (144_800 + 100 * 90))
    assert one.mbit == pytest.approx(500, rel=0.01)


def test_tls_costs_more():
    plain, tls = (Use("", "", 2, 64, 1000, tls=tls) for tls in (False, True))
    more = cpu_us(tls, COSTS) - cpu_us(plain, COSTS)
    assert more == pytest.approx(2 * (1 / 2 - 1 / 1000) + (400 - 60) / 1000)


@pytest.mark.parametrize(
    ("size", "tls", "bytes_"),
    [(0, False, 0), (1, False, 91), (1448, False, 1538), (1449, False, 1629), (1448, True, 1650)],
)
def test_bytes_on_the_wire(size, tls, bytes_):
    assert wire(size, tls) == bytes_


@given(room=st.integers(1, 1000), machines=st.integers(1, 200))
def test_a_room_is_at_no_more_machines_than_there_are_nor_than_it_has_clients(room, machines):
    at = spread(room, machines)
    assert 1 - 1e-9 <= at <= min(room, machines) + 1e-9
    assert spread(room, 1) == 1


def test_the_supervisor_is_one_core():
    one = of(every=0.01, lasts=1e6, room=1)
    assert one.limit == "supervisor"
    assert one.messages == pytest.approx(0.5e6 / 6, rel=1e-2)
    assert one.supervisor_cores == pytest.approx(0.5, rel=1e-2)


def test_between_what_was_measured_there_are_straight_lines():
    assert [COSTS.hub_of(workers) for workers in (0.5, 1, 2, 4, 9)] == [6, 6, 8, 12, 12]


def test_a_broker_carries_what_its_cpu_time_allows():
    # Ten machines, all of which have somebody of so large a room: 20 + 10 × 2 µs a message.
    cheap = dataclasses.replace(COSTS, message_us=0, delivery_us=0, hub_us={1: 0.0})
    one, two = (
        of(10, brokers, cheap, FAST, every=0.01, size=1, room=1000, lasts=1e6) for brokers in (1, 2)
    )
    assert one.limit == "broker"
    assert one.messages == pytest.approx(0.5e6 / 40, rel=0.1)
    assert one.brokers == 1
    assert (two.connections, two.brokers) == (pytest.approx(2 * one.connections, abs=10), 2)


def test_as_many_brokers_as_it_takes_are_not_what_is_full():
    one = of(machines=10, room=1000, every=10, lasts=1e6)
    assert one.limit != "broker"
    assert one.brokers * MACHINE.share >= one.broker_cores > (one.brokers - 1) * MACHINE.share


def test_the_bridge_is_one_core():
    """Each message passes it once where it is sent, and once at each machine that hears it."""
    slow = dataclasses.replace(COSTS, bridge=Bridge(publish_us=300, hear_us=200))
    one = of(machines=10, room=1000, every=10, lasts=1e6, costs=slow)
    assert one.limit == "bridge"
    assert one.connections == 10 * int(0.5e6 / ((300 + 200 * 10) / 10))
    assert one.bridge_cores == pytest.approx(0.5, rel=1e-2)
    alone = of(machines=1, room=1000, every=10, lasts=1e6, costs=slow)
    assert alone.bridge_cores == 0
    assert alone.connections == of(machines=1, room=1000, every=10, lasts=1e6).connections


PAGE = """
## (a) Echo

64 B × 1:

| message | per second | CPU µs each |
|---|---:|---:|
| prefork | 31,544 | 20.85 |

## (b) Other

64 B × 1:

| message | CPU µs each |
|---|---:|
| prefork | 1.5 |
"""


def test_a_figure_is_found_by_its_table_row_and_column():
    assert figure(PAGE, "64 B × 1", "prefork", "per second") == 31_544
    assert figure(PAGE, "(b) Other / 64 B × 1", "prefork", "CPU µs each") == 1.5
    for title, row, column in (
        ("64 B × 2", "prefork", "per second"),
        ("64 B × 1", "uvloop", "per second"),
        ("(b) Other / 64 B × 1", "prefork", "per second"),
        ("(c) / 64 B × 1", "prefork", "per second"),
    ):
        with pytest.raises(CostError, match=re.escape(title)):
            figure(PAGE, title, row, column)


def test_all_costs_are_on_the_page_and_in_the_file():
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    costs = compose(page, json.loads(MEASURED.read_text(encoding="utf-8")))
    for field in dataclasses.fields(costs):
        value = getattr(costs, field.name)
        if isinstance(value, float):
            assert value > 0, field.name
    assert costs.bridge.publish_us > costs.bridge.hear_us > 0
    assert costs.hub_us.keys() == {1, 2, 4, 8}
    assert costs.brokers.keys() == {(name, n) for name in ("PUBLISH", "script") for n in (1, 16)}


def test_a_page_that_has_no_bridge_is_none():
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    with pytest.raises(CostError, match="no CPU time of the bridge"):
        compose(page.replace("µs to publish", "ms to publish"), json.loads(MEASURED.read_text()))


def test_the_line_of_a_broker_goes_through_what_was_measured():
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    measured = json.loads(MEASURED.read_text(encoding="utf-8"))
    measured["broker_us"] = {"PUBLISH, 1, 1": 12.0, "PUBLISH, 10, 1": 7.0, "PUBLISH, 100, 1": 111.0}
    broker = compose(page, measured).brokers["PUBLISH", 1]
    assert [broker.cpu_us(count) for count in (0, 1, 100)] == [11, 12, 111]


def test_the_page_has_every_table_and_filling_it_again_changes_nothing():
    page = (ROOT / "docs" / "capacity.md").read_text(encoding="utf-8")
    named = re.findall(r"<!-- bench\.capacity: (\w+) -->", page)
    assert sorted(named) == sorted(tables.TABLES)
    assert tables.fill(page) == page
    emptied = re.sub(r"(<!-- bench\.capacity: \w+ -->\n\n)(?:\|.*\n)*", r"\1", page)
    assert tables.fill(emptied) == page
