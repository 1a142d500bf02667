"""Counts are exact without collisions, never too low with them, and of living workers only."""

import os
import random
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host.errors import LimitsError
from host.ipc import client_counts
from host.ipc.client_counts import TABLE, ClientCounts

SECOND = 10**9
PLACES = [(number, TABLE + number) for number in range(4)]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 3), st.sampled_from(PLACES)),
        st.tuples(st.just("remove"), st.integers(0, 3), st.integers(0, 1000)),
        st.tuples(st.just("kill"), st.integers(0, 3), st.none()),
    ),
    max_size=60,
)


@pytest.fixture
def counts():
    made = ClientCounts()
    yield made
    made.close()


@given(STEPS, st.integers(1, 5))
@settings(deadline=None)
def test_as_many_come_in_as_may_whoever_leaves_or_dies(steps, limit):
    shared = ClientCounts()
    numbers = [shared.take_row() for _ in range(4)]
    rows = [shared.row(number) for number in numbers]
    held = [[] for _ in rows]
    for what, worker, which in steps:
        if what == "add":
            had = sum(each.count(which) for each in held)
            assert rows[worker].add(which, limit) == (had < limit)
            if had < limit:
                held[worker].append(which)
        elif what == "remove" and held[worker]:
            rows[worker].remove(held[worker].pop(which % len(held[worker])))
        elif what == "kill":
            shared.give_back(numbers[worker])
            numbers[worker] = shared.take_row()
            rows[worker], held[worker] = shared.row(numbers[worker]), []
        assert shared.total() == sum(map(len, held))
    shared.close()


def test_with_collisions_a_count_is_never_too_low(counts):
    chance, row = random.Random(1), counts.row(counts.take_row())
    clients = [(chance.randrange(8), TABLE + chance.randrange(8)) for _ in range(40)]
    come_in = Counter()
    for _ in range(2000):
        client = chance.randrange(40)
        come_in[client] += row.add(clients[client], 5)
    assert 0 < max(come_in.values()) <= 5


def test_a_collision_in_one_table_alone_does_no_harm(counts):
    row = counts.row(counts.take_row())
    assert all(row.add((7, TABLE + other), 1) for other in range(100))
    assert not row.add((7, TABLE + 5), 1)


def test_who_is_not_let_in_is_not_counted(counts):
    rows = [counts.row(counts.take_row()) for _ in range(2)]
    assert rows[0].add(PLACES[0], 1)
    assert not any(row.add(PLACES[0], 1) for row in rows * 10)
    assert counts.total() == 1
    rows[0].remove(PLACES[0])
    assert rows[1].add(PLACES[0], 1)


def test_a_row_is_seen_by_those_that_were_there_before(counts):
    first = counts.row(counts.take_row())
    assert first.add(PLACES[0], 2)
    second = counts.row(counts.take_row())
    assert second.add(PLACES[0], 2)
    assert not first.add(PLACES[0], 2)


def test_who_looks_while_rows_come_and_go_misses_no_connection(counts):
    numbers = [counts.take_row() for _ in range(5)]
    counts.give_back(numbers[0])
    place = PLACES[0]
    assert counts.row(numbers[1]).add(place, 1)
    looks = []

    def look(frame, event, _argument):
        if event == "line":
            looks.append(counts.row(numbers[2]).add(place, 1))
        return look

    def begin(frame, _event, _argument):
        return look if frame.f_code in codes else None

    codes = {each.__code__ for each in vars(ClientCounts).values() if hasattr(each, "__code__")}
    before = sys.gettrace()
    sys.settrace(begin)
    try:
        counts.take_row()
        counts.give_back(numbers[3])
    finally:
        sys.settrace(before)
    assert len(looks) > 10
    assert not any(looks)


def test_counts_go_through_an_exec(counts):
    before = [counts.take_row() for _ in range(3)]
    assert counts.row(before[2]).add(PLACES[0], 1)
    counts.give_back(before[1])
    again = ClientCounts(os.dup(counts.fileno()), [before[0], before[2]])
    assert again.take_row() == before[1]
    row = again.row(before[1])
    assert not row.add(PLACES[0], 1)
    assert row.secret == counts.row(before[0]).secret
    again.give_back(before[2])
    assert row.add(PLACES[0], 1)
    again.close()


def test_a_row_whose_worker_did_not_live_through_an_exec_counts_no_more(counts):
    one, other = counts.take_row(), counts.take_row()
    assert counts.row(other).add(PLACES[0], 1)
    again = ClientCounts(os.dup(counts.fileno()), [one])
    assert again.row(one).add(PLACES[0], 1)
    assert again.take_row() == other
    again.close()


def test_each_host_has_a_secret_of_its_own(counts):
    other = ClientCounts()
    assert other.row(0).secret != counts.row(0).secret
    other.close()


def test_a_cell_that_is_full_lets_nobody_in(counts):
    row = counts.row(counts.take_row())
    for other in range(65_535):
        assert row.add((0, TABLE + other), 1)
    assert not row.add((0, TABLE + 65_535), 10)


def test_there_are_only_so_many_rows(counts, monkeypatch):
    for _ in range(client_counts.MAX_ROWS):
        counts.take_row()
    with pytest.raises(LimitsError, match="2048 workers"):
        counts.take_row()
    counts.give_back(5)
    assert counts.take_row() == 5


def test_closing_gives_back_the_descriptor():
    before = sorted(os.listdir("/proc/self/fd"))
    ClientCounts().close()
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_no_more_arrive_in_any_window_than_may(counts):
    rows = [counts.row(counts.take_row()) for _ in range(2)]
    now, come_in, chance = 17 * SECOND, [], random.Random(2)
    for _ in range(3000):
        now += chance.randrange(SECOND // 25)
        if rows[chance.randrange(2)].arrive(PLACES[0], 10, now, SECOND):
            come_in.append(now)
    # The last window counts as if they had come evenly: at the worst twice as many are in one.
    most = max(sum(at <= each < at + SECOND for each in come_in) for at in come_in)
    assert 10 <= most <= 20
    seconds = (come_in[-1] - come_in[0]) / SECOND
    assert 0.7 * 10 * seconds <= len(come_in) <= 10 * seconds + 10


def test_after_two_quiet_windows_as_many_may_come_as_at_first(counts):
    row = counts.row(counts.take_row())
    for now in (5 * SECOND, 7 * SECOND, 100 * SECOND):
        assert [row.arrive(PLACES[0], 3, now, SECOND) for _ in range(5)] == [True] * 3 + [False] * 2


def test_part_of_the_last_window_counts(counts):
    row = counts.row(counts.take_row())
    assert all(row.arrive(PLACES[0], 4, 5 * SECOND, SECOND) for _ in range(4))
    assert not row.arrive(PLACES[0], 4, 6 * SECOND, SECOND)
    half = 6 * SECOND + SECOND // 2
    assert [row.arrive(PLACES[0], 4, half, SECOND) for _ in range(3)] == [True, True, False]


def test_arrivals_of_a_dead_worker_count_no_more(counts):
    dying, other = counts.take_row(), counts.row(counts.take_row())
    assert counts.row(dying).arrive(PLACES[0], 1, SECOND, SECOND)
    assert not other.arrive(PLACES[0], 1, SECOND, SECOND)
    counts.give_back(dying)
    assert other.arrive(PLACES[0], 1, SECOND, SECOND)
