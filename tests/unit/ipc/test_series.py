"""What is counted in one row is read in that row, over deaths, forks and changes of the layout."""

import os
from contextlib import closing

import pytest

from host.ipc.scoreboard import Scoreboard
from host.ipc.series import SUPERVISOR, Family, OwnSeries, SeriesBoard
from host.ipc.series_totals import SeriesTotals

LINES = Family("prefork_x_lines_total", "counter", "Lines.", ("kind",), (), (("ok",), ("bad",)))
SIZE = Family("prefork_x_size_bytes", "histogram", "Sizes.", (), (1.0, 2.0))
OPEN = Family("prefork_x_open", "gauge", "Open.", ())
FAMILIES = (LINES, SIZE, OPEN)


@pytest.fixture
def own():
    own = OwnSeries()
    for family in FAMILIES:
        own.add(family)
    yield own
    own.close()


@pytest.fixture
def scoreboard():
    scoreboard = Scoreboard(1)
    yield scoreboard
    scoreboard.close()


def words(board, row):
    return {(family.name, *values): found for family, values, found in board.read(row)}


def test_families_lie_one_after_the_other(own):
    assert own.places(LINES.name) == {("ok",): 0, ("bad",): 1}
    assert own.places(SIZE.name) == {(): 2}
    assert own.places(OPEN.name) == {(): 6}
    assert own.places("prefork_y") == {}


def test_what_was_counted_before_the_memory_is_shared_goes_on_in_it(own):
    own.words[1] += 3
    board = own.share()
    own.words[own.base + 1] += 1
    assert words(board, SUPERVISOR)[LINES.name, "bad"] == [4.0]
    assert words(board, 1)[LINES.name, "bad"] == [0.0]


def test_each_row_has_words_of_its_own(own):
    board = own.share()
    own.use(2)
    own.words[own.base + 2 + 1] += 1
    own.words[own.base + 5] += 1.5
    assert words(board, 2)[SIZE.name,] == [0.0, 1.0, 0.0, 1.5]
    assert not any(any(found) for row in (0, 1, 3) for found in words(board, row).values())


def test_a_forked_process_counts_for_itself(own):
    board = own.share()
    own.words[own.base] = 5
    own.leave()
    own.words[own.base] += 1
    assert words(board, SUPERVISOR)[LINES.name, "ok"] == [5.0]


def test_nothing_to_count_takes_no_memory():
    assert OwnSeries().share() is None


def test_another_process_maps_the_same_words(own):
    board = own.share()
    other = SeriesBoard(FAMILIES, os.dup(board.fileno()))
    own.words[own.base] += 7
    assert words(other, SUPERVISOR)[LINES.name, "ok"] == [7.0]
    other.close()


def test_a_row_that_is_written_off_keeps_its_counts(own):
    board = own.share()
    own.use(1)
    for place in range(7):
        own.words[own.base + place] = 1
    board.write_off(1)
    assert words(board, 1) == {
        (LINES.name, "ok"): [1.0],
        (LINES.name, "bad"): [1.0],
        (SIZE.name,): [1.0] * 4,
        (OPEN.name,): [0.0],
    }


def sums(totals):
    return {
        (family.name, slot, *values): found
        for family, counts in totals
        for slot, values, found in counts
    }


def test_rows_of_one_slot_are_summed_and_gauges_are_not(own, scoreboard):
    board = own.share()
    for number, slot in enumerate([0, 1, 0]):
        scoreboard.use(number, slot)
        own.use(number + 1)
        own.words[own.base] = 10.0**number
        own.words[own.base + 6] = 1
    totals = SeriesTotals()
    totals.add(board, scoreboard)
    found = sums(totals)
    assert {slot: found[LINES.name, slot, "ok"] for slot in (None, 0, 1)} == {
        None: [0.0],
        0: [101.0],
        1: [10.0],
    }
    assert not any(key[0] == OPEN.name for key in found)


def test_series_are_known_by_their_labels_wherever_they_are(own, scoreboard):
    board = own.share()
    own.words[own.base] = 3
    totals = SeriesTotals()
    totals.add(board, scoreboard)
    later = OwnSeries()
    later.add(SIZE)
    later.add(LINES._replace(series=(("odd",), ("bad",), ("ok",)), help="Other words."))
    later.words[later.places(LINES.name)["ok",]] = 4
    totals = SeriesTotals(totals)
    totals.add(later.share(), scoreboard)
    later.close()
    assert sums(totals)[LINES.name, None, "ok"] == [7.0]
    assert sums(totals)[LINES.name, None, "odd"] == [0.0]


@pytest.mark.parametrize("changed", [{"labels": ("sort",)}, {"labels": (), "series": ((),)}])
def test_a_metric_of_another_shape_begins_anew(own, scoreboard, changed):
    board = own.share()
    own.words[own.base] = 3
    totals = SeriesTotals()
    totals.add(board, scoreboard)
    other = OwnSeries()
    other.add(LINES._replace(**changed))
    totals.add(other.share(), scoreboard)
    other.close()
    found = [words for key, words in sums(totals).items() if key[0] == LINES.name]
    assert found == [[0.0]] * (1 if "series" in changed else 2)


def test_what_nobody_declares_any_more_is_forgotten(own, scoreboard):
    totals = SeriesTotals()
    totals.add(own.share(), scoreboard)
    totals.keep([SIZE])
    assert {key[0] for key in sums(totals)} == {SIZE.name}


def test_who_only_reads_it_sees_what_others_write_and_cannot_write():
    with closing(SeriesBoard(FAMILIES)) as board:
        with closing(SeriesBoard(FAMILIES, os.dup(board.fileno()))) as writer:
            board.only_read()
            writer.cells[writer.base(1)] = 2.5
        assert board.cells[board.base(1)] == 2.5
        with pytest.raises(TypeError):
            board.cells[0] = 1.0
