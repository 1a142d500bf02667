"""What a worker does for a connection is read from its row, whatever that has in it."""

from host.ipc.doing import NOTHING, Doing, doing_of, noting
from host.ipc.scoreboard import DOING_WORDS, WORD, Scoreboard
from host.text import printable

LONGEST = DOING_WORDS * WORD - WORD - 1


def test_what_was_noted_last_is_read_and_is_of_one_row_alone():
    board = Scoreboard(2)
    one, other = board.use(0, 0), board.use(1, 1)
    assert doing_of(one) == NOTHING
    noting(one)(7, b"GET /page")
    noting(one)(8, b"GET /")
    noting(other)(1, b"x" * 1000)
    assert doing_of(one) == Doing(8, "GET /")
    assert doing_of(other) == Doing(1, "x" * LONGEST)
    assert one.words()[:8] == other.words()[:8] == [0] * 8
    assert one.listener_words(1) == [0] * len(one.listener_words(1))
    one.write_off()
    assert doing_of(one).serial == 0
    assert doing_of(other).serial == 1
    board.close()


def test_a_worker_that_writes_rubbish_does_no_harm():
    board = Scoreboard(1)
    row = board.use(0, 0)
    place = row.doing_place // WORD
    for word in range(DOING_WORDS):
        board.cells[place + word] = 0xFF1B0A9B00FFFF1B
    said = doing_of(row)
    assert said.serial == 0xFF1B0A9B00FFFF1B
    assert said.text == printable(said.text)  # nothing that a terminal acts on
    board.close()
