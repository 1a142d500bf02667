"""What one supervisor hands over, the next one has: workers, generations, and the bus."""

import os
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.bus.frames import Frame, Kind, Parser, split_sender
from host.ipc.protocol import Report
from host.ipc.scoreboard import ACCEPTED_ALL, SENT
from host.runtime.loop import READ
from host.supervisor.workers.states import KillWorker, WorkerRecord, WorkerState
from host.telemetry.emitter import Telemetry
from host.telemetry.events import OPS_FAILED, WORKERS_SCALED
from support.generations import connect, is_closed
from support.reexecuting import After, Before, without_descriptors
from support.supervision import NO_PROCESS, site


@pytest.fixture
def before():
    with site() as made, closing(Before(made)) as before:
        made.start()
        yield before


@pytest.fixture
def take_over(before):
    """Hand over and take over; what took over is closed at the end."""
    made = []

    def take_over():
        made.append(After(before.hand_over(), before))
        return made[-1]

    yield take_over
    for each in made:
        each.close()


def the_same(one, other):
    """Tell whether two generations are one: what is written to either scoreboard is in both."""
    one.scoreboard.row(100).put(ACCEPTED_ALL, 4711)
    return other.scoreboard.row(100).get(ACCEPTED_ALL) == 4711


def test_workers_are_those_that_there_were(before, take_over):
    first, second = before.site.workers
    first.row.put(ACCEPTED_ALL, 7)
    first.held, first.plugins = True, [{"plugin": "census", "why": "\udcff"}]
    second.record.deadline, second.record.state = 130.2, WorkerState.DRAINING
    second.record.expected = True
    after = take_over()
    for old, new in zip(before.site.workers, after.workers, strict=True):
        assert new.record == old.record
        assert new.row.number == old.row.number
        assert (new.served, new.held, new.plugins) == (old.served, old.held, old.plugins)
        assert new.generation is after.generations.serving


def test_who_retires_does_so_as_long_as_its_successor_is_on_its_way(before, take_over):
    first, second = before.site.workers
    first.record.retiring = second.record.retiring = True
    before.site.workers.take_in(
        WorkerRecord(0, NO_PROCESS + 7, 100.0, WorkerState.STARTING, 160.0), first.generation
    )
    after = take_over()
    assert [each.record.retiring for each in after.workers] == [True, False, False]


def test_generations_are_those_that_there_were_and_the_one_that_is_to_come(before, take_over):
    before.site.generations.accepted[1] = 5
    after = take_over()
    generations = after.generations
    assert [each.number for each in generations.all] == [0, 1]
    assert generations.serving.number == 0
    assert generations.coming is after.coming
    assert generations.accepted == {1: 5}
    assert generations.next_number == 2
    serving = before.site.generations.serving
    assert generations.serving.listeners == serving.listeners
    assert the_same(serving, generations.serving)
    assert not generations.serving.is_empty


def test_a_row_in_use_is_not_given_to_another_worker(before, take_over):
    assert take_over().generations.serving.take_row(0).number == 2


def test_who_waits_is_seen_by_the_supervisor_that_takes_over(before, take_over):
    after = take_over()
    with connect(before.site.generations.serving.sockets[0]):
        assert after.generations.serving.waiting(0) == 1


def test_nobody_is_told_of_a_connection_before_the_stand_in_has_ended(before, take_over):
    after = take_over()
    serving = after.generations.serving
    assert serving.candidate(NO_PROCESS) is None
    with connect(serving.sockets[0]):
        after.generations.handing_out.runner.start()
        after.generations.run_passes()
        assert serving.scoreboard.total(0, SENT) == 0
        after.end_stand_in()
        after.generations.run_passes()
        assert serving.scoreboard.total(0, SENT) == 1


def test_the_end_of_the_stand_in_is_the_end_of_its_pipe(before, take_over):
    after = take_over()
    reader, writer = os.pipe()
    after.end_stand_in(pipe=writer)
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_events_that_the_stand_in_has_told_are_counted(before, take_over):
    told, counts = Telemetry(before.site.counts.count_event), before.site.counts
    told.emit(WORKERS_SCALED, workers=2, before=1, cause="SIGTTIN")
    after = take_over()
    told.emit(OPS_FAILED, error="counted before the stand-in has its file")
    counts.begin_writing_down(before.stand_in.written)
    told.emit(OPS_FAILED, error="counted there")
    Telemetry(after.counts.count_event).emit(OPS_FAILED, error="of the next one")
    after.end_stand_in()
    assert after.counts.events == {"workers_scaled": 1, "ops_failed": 3}


def test_a_stand_in_that_was_killed_before_it_wrote_anything_is_none(before, take_over):
    after = take_over()
    after.end_stand_in()
    assert after.counts.events == before.site.counts.events


def test_only_workers_that_serve_and_are_ready_may_be_chosen(before, take_over):
    first, second = before.site.workers
    first.held = True
    second.record.state = WorkerState.DRAINING
    after = take_over()
    after.end_stand_in()
    assert after.generations.serving.candidate(first.record.pid).held
    assert after.generations.serving.candidate(second.record.pid) is None


def test_schedulers_see_what_was_accepted_in_a_slot_before_the_exec(before, take_over):
    before.site.generations.accepted[0] = 5
    before.site.find(0).row.put(ACCEPTED_ALL, 7)
    after = take_over()
    after.end_stand_in()
    candidate = after.generations.serving.candidate(NO_PROCESS)
    assert candidate.accepted == 12
    after.workers.get(NO_PROCESS).row.put(ACCEPTED_ALL, 8)
    assert candidate.accepted == 13


def test_a_report_that_came_in_part_is_completed(before, take_over):
    first = before.site.find(0)
    line = Report("plugins", data={"plugins": [{"plugin": "census"}]}).line()
    ends = before.site.ends(first)
    ends.control.sendall(line[:10])
    before.site.hear(first)
    after = take_over()
    ends.control.sendall(line[10:])
    [report] = after.workers.get(first.record.pid).channel.receive()
    assert report.data == {"plugins": [{"plugin": "census"}]}


def test_what_a_worker_prints_is_read_by_the_supervisor_that_takes_over(before, take_over):
    first = before.site.find(0)
    after = take_over()
    os.write(before.site.ends(first).stacks, b"in f\n")
    handle = after.workers.get(first.record.pid)
    after.loop.handlers[handle.stack_reader.fileno()](READ)
    assert handle.stack_reader.text == "in f\n"


def test_messages_on_their_way_arrive(before, take_over):
    first, second = (before.site.ends(each) for each in before.site.workers)
    first.bus.sendall(Frame(Kind.SUBSCRIBE, 0, b"t").pack())
    channel, _ = before.site.router.state(NO_PROCESS)
    before.site.loop.handlers[channel](READ)
    second.bus.sendall(Frame(Kind.PUBLISH, 0, b"t", b"hello").pack())
    channel, _ = before.site.router.state(NO_PROCESS + 1)
    before.site.loop.handlers[channel](READ)
    before.site.router.pass_on()
    after = take_over()
    assert after.router.hub.state() == before.site.router.hub.state()
    after.router.pass_on()
    frames = list(Parser(first.bus.recv(1024)).frames())
    assert split_sender(frames[-1].payload)[1] == b"hello"


def test_a_worker_that_was_cut_off_from_the_bus_stays_so(before, take_over):
    before.site.router.remove(NO_PROCESS)
    after = take_over()
    assert after.router.state(NO_PROCESS) is None
    assert after.router.state(NO_PROCESS + 1) is not None


def test_a_worker_that_was_about_to_be_killed_is_killed(before, take_over):
    record = before.site.find(0).record
    record.state = WorkerState.ENDING
    new = take_over().workers.get(record.pid).record
    [(action, seconds)] = new.forced_end
    assert isinstance(action, KillWorker)
    assert (action.pid, seconds) == (record.pid, 0.0)


def test_a_generation_with_workers_alone_drains_on():
    with site(coming=True) as made, closing(Before(made)) as before:
        old = made.find(0, 0)
        made.start()
        after = After(before.hand_over(), before)
        with closing(after):
            assert [each.number for each in after.generations.all] == [0, 1, 2]
            [older] = after.generations.older
            assert older.sockets == ()
            assert older.handing_out is None
            handles = [each for each in after.workers if each.generation is older]
            assert old.record.pid in [each.record.pid for each in handles]
            for handle in handles:
                after.workers.let_go(handle)
                after.generations.worker_gone(0, handle.record.pid, 0, older)
            assert is_closed(older)


def test_a_generation_that_failed_to_come_drains():
    with site(coming=True) as made, closing(Before(made)) as before:
        made.lifecycle.start()
        handed = before.hand_over()
        with closing(After(handed, before)) as after:
            assert [each.number for each in after.generations.older] == [1]
            assert after.generations.serving.number == 0
            assert after.coming.number == 2


RECORDS = st.builds(
    WorkerRecord,
    slot=st.integers(0, 3),
    pid=st.integers(NO_PROCESS, NO_PROCESS + 1000),
    born=st.floats(0.0, 100.0),
    state=st.sampled_from(WorkerState),
    deadline=st.none() | st.floats(0.0, 200.0),
    was_ready=st.booleans(),
    expected=st.booleans(),
)


@given(st.lists(RECORDS, max_size=3, unique_by=lambda each: each.pid), st.booleans())
def test_what_is_taken_over_is_what_was_handed_over(records, held):
    """So the supervisor that takes over hands over the same in its turn."""
    with site() as made, closing(Before(made)) as before:
        for record in records:
            made.workers.take_in(record, made.generations.serving).held = held
        made.generations.accepted[2] = 3
        made.exits.restore(4, [{"slot": 1, "stacks": ["a"]}])
        handed = before.hand_over()
        with closing(After(handed, before)) as after:
            again = after.hand_over()
            assert again.generation == handed.generation + 1
            one, other = without_descriptors(handed), without_descriptors(again)
            for each in (one, other):
                del each["generation"], each["reloaded"]
            assert other == one
