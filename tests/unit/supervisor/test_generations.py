"""Which generation serves, when another takes over, and when one is closed."""

import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.errors import LimitsError
from host.interfaces import Listener
from host.ipc.scoreboard import ACCEPTED, ACTIVE, CLAIMED, MAX_ROWS, SENT
from host.net.listeners import ListeningSocket
from host.net.quiesce import LOCAL_QUIET_SECONDS, PATIENCE_SECONDS
from host.supervisor.generation import Generation
from host.supervisor.generations import Generations
from host.telemetry.events import (
    BACKLOG_CAPPED,
    BACKLOG_UNKNOWN,
    GENERATION_FAILED,
    GENERATION_READY,
    NOT_LISTENING,
)
from support.fakes import worker_id
from support.generations import Scene, connect, is_closed, listening, same_descriptors


@pytest.fixture
def scene():
    with same_descriptors():
        made = Scene()
        yield made
        if made.generations is not None:
            made.generations.close()


@pytest.fixture
def generation():
    with same_descriptors():
        made = Generation(0, ())
        yield made
        made.close()


def test_a_row_stays_with_its_slot(generation):
    rows = [generation.take_row(slot) for slot in (0, 1, 1, 2)]
    assert [row.number for row in rows] == [0, 1, 2, 3]
    assert [row.slot for row in rows] == [0, 1, 1, 2]
    generation.give_back(rows[2])
    generation.give_back(rows[1])
    assert [generation.take_row(slot).number for slot in (2, 1, 1, 1)] == [4, 1, 2, 5]


def test_a_row_of_another_slot_is_taken_when_there_are_no_new_ones():
    generation = Generation(0, (), rows_in_use=range(1, MAX_ROWS))
    generation.give_back(generation.take_row(7))
    assert (generation.take_row(8).number, generation.scoreboard.row(0).slot) == (0, 8)
    generation.close()


def test_a_row_is_balanced_before_another_worker_has_it(generation):
    row = generation.take_row(0)
    row.put(ACTIVE, 3)
    generation.give_back(row)
    assert generation.take_row(0).get(ACTIVE) == 0


def test_a_generation_is_empty_when_each_of_its_rows_is_free(generation):
    assert generation.is_empty
    first, second = generation.take_row(0), generation.take_row(0)
    generation.give_back(first)
    assert not generation.is_empty
    generation.give_back(second)
    assert generation.is_empty


def test_rows_that_were_in_use_before_an_exec_are_not_given_to_others():
    generation = Generation(3, (), rows_in_use=[1, 4])
    assert not generation.is_empty
    assert [generation.take_row(0).number for _ in range(4)] == [0, 2, 3, 5]
    generation.close()


def test_more_workers_than_there_are_rows_are_refused():
    generation = Generation(0, (), rows_in_use=range(MAX_ROWS))
    with pytest.raises(LimitsError, match=f"{MAX_ROWS} workers of one generation are alive"):
        generation.take_row(0)
    generation.close()


@given(st.lists(st.integers(0, 9)), st.sets(st.integers(0, 5)))
def test_no_two_workers_have_one_row(steps, used):
    """A step is the place, among the rows in use, of one to give back, or takes a row."""
    generation = Generation(0, (), rows_in_use=used)
    taken = [generation.scoreboard.row(number) for number in used]
    for step in steps:
        if step < len(taken):
            generation.give_back(taken.pop(step))
        else:
            free = set(range(20)) - {row.number for row in taken}
            taken.append(generation.take_row(0))
            assert taken[-1].number == min(free)
        assert generation.is_empty is not bool(taken)
    generation.close()


def test_a_generation_that_hands_out_nothing_knows_no_candidates(generation):
    generation.add_candidate(generation.take_row(0), worker_id(0), 0)
    generation.remove_candidate(1000)
    assert generation.candidate(1000) is None
    assert generation.waiting(0) is None


def test_candidates_are_those_that_were_added_and_not_removed(scene):
    serving = scene.serve()
    serving.add_candidate(serving.take_row(0), worker_id(0), 7)
    serving.add_candidate(serving.take_row(1), worker_id(1), 0)
    assert (serving.candidate(1000).slot, serving.candidate(1000).accepted) == (0, 7)
    serving.remove_candidate(1000)
    assert serving.candidate(1000) is None
    assert serving.candidate(1001).slot == 1


def test_who_waits_on_a_listener_is_counted_and_handed_out(scene):
    serving = scene.serve()
    with connect(serving.sockets[0]):
        assert serving.waiting(0) == 1
        row = serving.take_row(0)
        serving.add_candidate(row, worker_id(0), 0)
        scene.generations.run_passes()
        assert [pid for pid, _ in scene.sent] == [1000]
        assert row.count(0, SENT) == 1


def test_a_listener_whose_queue_is_not_known_is_told_of(scene):
    view = Listener(0, "tcp://127.0.0.1:7000", "echo")
    bound = ListeningSocket(socket.socket(), view, 5, None, view.address)  # it does not listen
    serving = scene.generation(0, [bound])
    assert scene.told.of(BACKLOG_UNKNOWN) == [
        {"address": view.address, "cause": "it reports a limit of 0"}
    ]
    assert serving.handing_out.runner.blind
    serving.close()


def test_a_backlog_that_the_kernel_has_cut_is_told_of(scene):
    [listener] = listening()
    listener.wanted = 2**31
    scene.generation(0, [listener]).close()
    [told] = scene.told.of(BACKLOG_CAPPED)
    assert (told["address"], told["wanted"]) == (listener.view.address, 2**31)
    assert told["actual"] < 2**31


def test_without_a_reload_one_generation_is_all_there_is(scene):
    serving = scene.serve()
    generations = scene.generations
    assert generations.all == generations.with_listeners == [serving]
    assert generations.current is serving
    assert generations.handing_out is serving.handing_out
    assert generations.next_number == 1
    assert generations.outcome is None


def test_the_next_number_is_beyond_those_of_all_that_there_are(scene):
    serving = scene.generation(4, listening())
    older = [scene.generation(2, ()), scene.generation(9, ())]
    scene.generations = Generations(scene.loop, scene.told.telemetry, serving, older=older)
    assert scene.generations.next_number == 10
    assert [each.number for each in scene.generations.all] == [2, 9, 4]


def test_with_the_same_listeners_a_generation_takes_over_at_once(scene):
    serving, coming = scene.reload(workers=1)
    assert scene.generations.current is coming
    scene.switch()
    assert scene.switched == 1
    assert scene.numbers == ([0], 1, None)
    assert scene.generations.current is coming
    assert serving.handing_out is None
    assert serving.sockets == ()
    assert coming.sockets[0].fileno() in scene.loop.watched
    assert scene.generations.outcome == (1, "ready", "", 100.0)
    assert scene.told.of(GENERATION_READY) == [{"generation": 1, "seconds": 1.0}]
    assert scene.told.of(NOT_LISTENING) == []


def test_who_waits_at_a_switch_waits_for_the_workers_of_the_new_generation(scene):
    serving, coming = scene.reload(workers=1)
    with connect(serving.sockets[0]):
        coming.add_candidate(coming.take_row(0), worker_id(0, 2000, 1), 0)
        scene.switch()
        scene.generations.run_passes()
        assert [pid for pid, _ in scene.sent] == [2000]


@pytest.mark.parametrize("places", [0, 7])
def test_older_workers_tell_of_what_ends_where_a_listener_has_so_many_places(scene, places):
    serving, coming = scene.reload(workers=1)
    coming.sockets[0].max_connections = places
    scene.switch()
    assert serving.scoreboard.starved == bool(places)


def test_listeners_that_go_are_closed_when_nobody_has_come_for_a_while(scene):
    serving, _ = scene.reload(lost=1, workers=1)
    stays, goes = serving.sockets
    scene.switch()
    assert scene.told.of(NOT_LISTENING) == [{"address": goes.view.address}]
    assert scene.numbers == ([], 0, 1)
    assert scene.generations.outcome.state == "starting"
    scene.loop.advance(100.0 + LOCAL_QUIET_SECONDS + 0.01)
    assert scene.numbers == ([0], 1, None)
    assert scene.switched == 1
    assert goes.fileno() == -1
    assert stays.fileno() >= 0


def test_who_waits_on_a_listener_that_goes_is_handed_out_first(scene):
    serving, _ = scene.reload(lost=1)
    serving.add_candidate(serving.take_row(0), worker_id(0), 0)
    with connect(serving.sockets[1]):
        scene.switch()
        scene.loop.advance(101.0)
        assert [pid for pid, _ in scene.sent] == [1000]
        assert scene.switched == 0
        scene.loop.advance(100.0 + PATIENCE_SECONDS + 0.01)  # its worker has not accepted
        assert scene.switched == 1


def test_workers_lift_what_they_inherit_from_a_listener_that_goes(scene):
    serving, coming = scene.reload(lost=1)
    scene.switch()
    assert serving.scoreboard.gate_shut
    assert not coming.scoreboard.gate_shut


def test_a_queue_that_stays_is_not_waited_for(scene):
    serving, _ = scene.reload(lost=1)
    with connect(serving.sockets[0]):
        scene.switch()
        scene.loop.advance(100.0 + LOCAL_QUIET_SECONDS + 0.01)
        assert scene.switched == 1


def test_a_generation_without_workers_is_closed_as_soon_as_it_serves_no_more(scene):
    serving, _ = scene.reload()
    scene.switch()
    assert scene.numbers == ([], 1, None)
    assert is_closed(serving)


def test_a_host_that_stops_during_a_switch_stays_with_its_generation(scene):
    serving, coming = scene.reload(lost=1, workers=1)
    scene.switch()
    closed = scene.generations.stop_listening()
    assert closed == [*serving.sockets, *coming.sockets]
    scene.loop.advance(100.0 + PATIENCE_SECONDS + 0.01)
    assert scene.numbers == ([], 0, 1)
    assert scene.switched == 0
    assert scene.told.of(GENERATION_READY) == []


def test_workers_of_both_generations_learn_that_the_host_stops_listening(scene):
    serving, coming = scene.reload()
    scene.generations.stop_listening()
    assert scene.generations.stopping
    assert serving.scoreboard.gate_shut
    assert coming.scoreboard.gate_shut


def test_an_older_generation_is_closed_with_its_last_worker(scene):
    serving, _ = scene.reload()
    rows = [serving.take_row(0), serving.take_row(0)]
    scene.switch()
    for row, left in zip(rows, ([0], []), strict=True):
        assert not is_closed(serving)
        serving.give_back(row)
        scene.generations.worker_gone(3, 1000 + row.number, 5, serving)
        assert scene.numbers == (left, 1, None)
    assert is_closed(serving)
    assert scene.generations.accepted == {3: 10}


def test_a_generation_that_serves_is_not_closed_with_its_last_worker(scene):
    serving = scene.serve()
    serving.give_back(serving.take_row(0))
    scene.generations.worker_gone(0, 1000, 0, serving)
    assert not is_closed(serving)


def test_choices_are_forgotten_with_the_worker_they_were_for(scene):
    serving = scene.serve()
    row = serving.take_row(0)
    serving.add_candidate(row, worker_id(0), 0)
    with connect(serving.sockets[0]):
        scene.generations.run_passes()
    assert serving.choices.find(1000, 0, 1).scheduler == "first"
    serving.give_back(row)
    scene.generations.worker_gone(0, 1000, 0, serving)
    assert serving.choices.find(1000, 0, 1) is None


def test_a_failure_is_told_once_and_remembered_with_its_last_reason(scene):
    scene.reload()
    scene.generations.note_failure("no such module\nline 1\nline 2")
    scene.loop.now = 103.0
    scene.generations.note_failure("killed")
    assert scene.told.of(GENERATION_FAILED) == [
        {"generation": 1, "reason": "no such module", "details": "line 1\nline 2"}
    ]
    assert scene.generations.outcome == (1, "failed", "killed", 103.0)
    assert scene.generations.outcome.failed


def test_a_generation_that_failed_and_then_starts_can_take_over(scene):
    scene.reload()
    scene.generations.note_failure("killed")
    scene.switch()
    assert scene.generations.outcome == (1, "ready", "", 100.0)
    assert not scene.generations.outcome.failed


def test_a_reload_that_did_not_happen_has_the_number_of_the_next_generation(scene):
    scene.serve()
    scene.generations.note_refusal("no such file")
    assert scene.generations.outcome == (1, "failed", "no such file", 100.0)
    assert scene.told == []


def test_a_worker_closes_all_but_its_own_generation(scene):
    serving, coming = scene.reload(lost=1, workers=1)
    stays, goes = serving.sockets
    scene.generations.close_all_but_current()
    assert is_closed(serving)
    assert not is_closed(coming)
    assert goes.fileno() == -1
    assert coming.sockets[0].fileno() == stays.fileno() >= 0
    assert not os.get_inheritable(coming.handing_out.runner.wake)  # it is open
    scene.generations = None
    coming.close()


def test_a_process_that_a_plugin_has_forked_closes_the_sockets_alone(scene):
    serving, coming = scene.reload(lost=1)
    scene.generations.close_sockets_in_fork()
    assert [each.fileno() for each in (*serving.sockets, *coming.sockets)] == [-1, -1, -1]
    assert not is_closed(serving)


def test_whatever_is_open_is_closed_at_the_end():
    with same_descriptors():
        scene = Scene()
        serving, coming = scene.reload(lost=2, workers=1)
        scene.generations.older.append(scene.generation(7, ()))
        scene.generations.close()
        assert is_closed(serving)
        assert is_closed(coming)


def test_what_a_generation_has_counted_stays_known_when_it_has_ended(scene):
    before, _ = scene.reload(workers=2)
    for number, accepted in enumerate((5, 2)):
        for counter in (CLAIMED, ACCEPTED):
            before.scoreboard.row(number).add(0, counter, accepted)
    scene.switch()
    for row in before.scoreboard.rows:
        before.give_back(row)
        scene.generations.worker_gone(row.slot, 1000 + row.slot, 0, before)
    ended = {each.slot: each.words[ACCEPTED] for each in scene.generations.ended.listeners}
    assert ended == {0: 5, 1: 2}
