"""What generations have counted is summed up by slot and by listener, whatever becomes of them."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from host.interfaces import Listener
from host.ipc.scoreboard import ACCEPTED, BYTES_IN, TASKS_DONE, Scoreboard
from host.ipc.totals import Totals

HERE, THERE = Listener(0, "tcp://127.0.0.1:1", "echo"), Listener(1, "tcp://127.0.0.1:2", "line")


def board_of(*rows):
    """A scoreboard with a row for each slot and two listeners: accepted here, accepted there."""
    board = Scoreboard(2)
    for number, (slot, here, there) in enumerate(rows):
        row = board.use(number, slot)
        row.put(TASKS_DONE, here + there)
        row.add(0, ACCEPTED, here)
        row.add(1, ACCEPTED, there)
        row.add(1, BYTES_IN, 10 * there)
    return board


def accepted(totals):
    return {(one.address, one.slot): one.words[ACCEPTED] for one in totals.listeners}


def test_rows_of_a_slot_are_one():
    totals = Totals()
    board = board_of((0, 3, 4), (0, 1, 1), (7, 0, 2))
    totals.add(board, [HERE, THERE])
    board.close()
    assert accepted(totals) == {
        (HERE.address, 0): 4,
        (HERE.address, 7): 0,
        (THERE.address, 0): 5,
        (THERE.address, 7): 2,
    }
    assert {each.slot: each.words[TASKS_DONE] for each in totals.slots} == {0: 9, 7: 2}


def test_a_listener_keeps_its_counts_under_another_number():
    totals = Totals()
    board = board_of((0, 3, 4))
    totals.add(board, [HERE, THERE])
    totals.add(board, [replace(THERE, index=0), replace(HERE, index=1)])
    board.close()
    assert accepted(totals) == {(HERE.address, 0): 7, (THERE.address, 0): 7}


def test_a_copy_is_added_to_alone():
    totals = Totals()
    board = board_of((0, 3, 4))
    totals.add(board, [HERE, THERE])
    totals.copy().add(board, [HERE, THERE])
    board.close()
    assert accepted(totals) == {(HERE.address, 0): 3, (THERE.address, 0): 4}


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 3), st.integers(0, 99), st.integers(0, 99)), max_size=5),
        max_size=4,
    )
)
def test_whatever_was_counted_is_there_once(generations):
    totals = Totals()
    for rows in generations:
        board = board_of(*rows)
        totals.add(board, [HERE, THERE])
        board.close()
        totals = Totals(totals.slots, totals.listeners)  # as after an exec
    here = sum(row[1] for rows in generations for row in rows)
    there = sum(row[2] for rows in generations for row in rows)
    words = [(one.plugin, one.words) for one in totals.listeners]
    assert sum(each[ACCEPTED] for plugin, each in words if plugin == "echo") == here
    assert sum(each[ACCEPTED] for plugin, each in words if plugin == "line") == there
    assert sum(each[BYTES_IN] for _plugin, each in words) == 10 * there
    assert sum(each.words[TASKS_DONE] for each in totals.slots) == here + there
