"""What one process image hands to the next comes over whole, and leaves nothing behind."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.bus.hub import HubState
from host.bus.remote_state import RemoteState
from host.errors import HostError
from host.ipc.series import Family
from host.ipc.series_totals import FamilyCounts, SeriesCounts
from host.ipc.totals import ListenerCounts, SlotCounts
from host.net.socket_files import SocketFile
from host.runtime.rehearsal import KEPT, REHEARSAL
from host.settings import Listen, Settings, SettingsError
from host.settings.models import Log
from host.supervisor.reload import handover
from host.supervisor.reload.handover import Handover, is_rehearsal, receive

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SECONDS = st.floats(allow_nan=False, allow_infinity=False)
COUNTS = st.integers(0, 2**63)
BYTES = st.binary(max_size=40)
FDS = st.integers(0, 2**20)
VALUES = st.none() | st.booleans() | COUNTS | SECONDS | NAMES | st.lists(NAMES, max_size=3)
TABLES = st.lists(st.dictionaries(NAMES, VALUES, max_size=3), max_size=2)


def listed(strategy):
    return st.lists(strategy, max_size=3)


SOCKETS = st.builds(
    handover.Socket,
    fd=FDS,
    others=listed(FDS),
    configured=NAMES,
    max_rate=st.floats(0, 1e6),
    max_connections=COUNTS,
    address=NAMES,
    file=st.none() | st.builds(SocketFile, NAMES, COUNTS, COUNTS, COUNTS),
    source=st.sampled_from(["opened", "passed", "stored"]),
)
BUSES = st.builds(handover.Bus, fd=FDS, rest=BYTES, queued=BYTES, dropped=COUNTS)
WORKERS = st.builds(
    handover.Worker,
    slot=COUNTS,
    pid=COUNTS,
    generation=COUNTS,
    row=COUNTS,
    born=SECONDS,
    state=NAMES,
    deadline=st.none() | SECONDS,
    was_ready=st.booleans(),
    expected=st.booleans(),
    retiring=st.booleans(),
    served_before=COUNTS,
    control=FDS,
    rest=BYTES,
    stacks=FDS,
    bus=st.none() | BUSES,
    held=st.booleans(),
    clients=st.none() | COUNTS,
    plugins=NAMES,
)
NO_TOPICS = HubState([], [], [], 0, [], [])
TOPICS = st.builds(
    HubState,
    hearers=listed(st.tuples(BYTES, listed(COUNTS))),
    prefix_hearers=listed(st.tuples(BYTES, listed(COUNTS))),
    owners=listed(st.tuples(BYTES, COUNTS)),
    fence=COUNTS,
    rings=listed(st.tuples(BYTES, listed(st.tuples(BYTES, BYTES)))),
    tables=listed(st.tuples(BYTES, listed(st.tuples(BYTES, BYTES)))),
)
REMOTE = st.builds(
    RemoteState,
    node=BYTES,
    members=listed(COUNTS),
    hearers=listed(st.tuples(BYTES, listed(COUNTS))),
    prefix_hearers=listed(st.tuples(BYTES, listed(COUNTS))),
    outbox=st.tuples(COUNTS, COUNTS, listed(st.tuples(COUNTS, BYTES, COUNTS, st.none() | COUNTS))),
    owned=listed(st.tuples(BYTES, COUNTS, COUNTS)),
    claims=listed(st.tuples(COUNTS, BYTES, SECONDS, st.booleans(), st.booleans())),
    confirming=listed(st.tuples(COUNTS, COUNTS, BYTES, COUNTS, COUNTS)),
    asking=listed(st.tuples(COUNTS, COUNTS)),
    position=st.none() | st.tuples(COUNTS, BYTES),
    known_since=COUNTS,
    alive_since=COUNTS,
    trusted_until=SECONDS,
)
FAMILIES = st.builds(
    Family,
    NAMES,
    st.sampled_from(["counter", "gauge", "histogram"]),
    NAMES,
    st.tuples(NAMES),
    st.tuples(SECONDS, SECONDS),
    st.tuples(st.tuples(NAMES)),
)
SERIES = st.builds(SeriesCounts, st.none() | COUNTS, st.tuples(NAMES), listed(SECONDS))
HANDOVERS = st.builds(
    Handover,
    generation=COUNTS,
    started=SECONDS,
    started_at=SECONDS,
    reloaded=SECONDS,
    restarts=COUNTS,
    accepted=st.dictionaries(COUNTS, COUNTS, max_size=3),
    ended=st.builds(
        handover.Ended,
        slots=listed(st.builds(SlotCounts, COUNTS, listed(COUNTS))),
        listeners=listed(st.builds(ListenerCounts, NAMES, NAMES, COUNTS, listed(COUNTS))),
        series=listed(st.builds(FamilyCounts, FAMILIES, listed(SERIES))),
    ),
    events=st.dictionaries(NAMES, COUNTS, max_size=3),
    restarts_by_cause=listed(st.tuples(COUNTS, COUNTS, COUNTS)),
    sockets=listed(SOCKETS),
    scores=listed(
        st.builds(
            handover.Scores,
            generation=COUNTS,
            fd=FDS,
            listeners=listed(st.tuples(NAMES, NAMES)),
            series=st.none() | st.builds(handover.Series, fd=FDS, families=listed(FAMILIES)),
        )
    ),
    serving=st.builds(handover.Serving, generation=COUNTS, wake=FDS, sockets=listed(COUNTS)),
    workers=listed(WORKERS),
    shards=listed(st.builds(handover.Shard, fd=FDS, pid=COUNTS, releasing=st.booleans())),
    topics=st.none() | TOPICS,
    remote=st.none() | REMOTE,
    bridge=st.none() | COUNTS,
    stand_in=st.none() | st.builds(handover.StandIn, pid=COUNTS, pipe=FDS, written=FDS),
    service=st.none()
    | st.builds(
        handover.Service,
        address=NAMES,
        watchdog_seconds=st.none() | SECONDS,
        stored=st.dictionaries(NAMES, COUNTS, max_size=3),
        unsent=listed(NAMES),
    ),
    clients=st.none() | FDS,
    control=st.none() | st.tuples(NAMES, FDS),
    log=st.tuples(listed(BYTES), COUNTS),
    log_descriptor=FDS,
    log_file=st.none() | FDS,
    lineage=st.none() | FDS,
    hangs=TABLES,
    settings=NAMES,
    max_connections=COUNTS,
    applied=NAMES,
)


@contextmanager
def descriptors(count=16):
    """Open so many descriptors."""
    opened = [os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC) for _ in range(count)]
    try:
        yield opened
    finally:
        for descriptor in opened:
            os.close(descriptor)


def made(fds, **other):
    """A handover with each of these descriptors somewhere in it."""
    (
        socket,
        shard,
        scores,
        wake,
        control,
        stacks,
        bus,
        pipe,
        counts,
        control_socket,
        log,
        file,
        mark,
        web,
        series,
        written,
    ) = fds
    worker = handover.Worker(
        slot=1,
        pid=4711,
        generation=2,
        row=3,
        born=1.5,
        state="ready",
        deadline=None,
        was_ready=True,
        expected=False,
        retiring=False,
        served_before=70,
        control=control,
        rest=b'{"kind"',
        stacks=stacks,
        bus=handover.Bus(fd=bus, rest=b"\xff\x00", queued=b"", dropped=2),
        held=True,
        clients=2,
        plugins='[{"plugin": "census"}]',
    )
    fields = {
        "generation": 3,
        "started": 0.25,
        "started_at": 1_700_000_000.5,
        "reloaded": 9.0,
        "restarts": 4,
        "accepted": {0: 7},
        "ended": {
            "slots": [],
            "listeners": [("tcp://127.0.0.1:1", "echo", 0, [1, 2])],
            "series": [],
        },
        "events": {"worker_died": 3},
        "restarts_by_cause": [(0, 1, 2)],
        "sockets": [
            handover.Socket(
                fd=socket,
                others=[shard],
                configured="tcp://[::1]:0",
                max_rate=2.5,
                max_connections=7,
                address="tcp://[::1]:7",
                file=None,
                source="opened",
            )
        ],
        "passed": [("web", web)],
        "scores": [
            handover.Scores(
                generation=2,
                fd=scores,
                listeners=[("tcp://[::1]:7", "echo")],
                series=handover.Series(fd=series, families=[]),
            )
        ],
        "serving": handover.Serving(generation=2, wake=wake, sockets=[0]),
        "workers": [worker, worker.model_copy(update={"bus": None})],
        "topics": NO_TOPICS._replace(hearers=[(b"t", [4711])]),
        "stand_in": handover.StandIn(pid=5, pipe=pipe, written=written),
        "service": handover.Service(
            address="@notify", watchdog_seconds=3.0, stored={"a": 7}, unsent=["READY=1"]
        ),
        "clients": counts,
        "control": ("prefork", control_socket),
        "log": ([b"line\n"], 3),
        "log_descriptor": log,
        "log_file": file,
        "lineage": mark,
        "hangs": [{"slot": 1, "stacks": ["a", "b"]}],
        "settings": handover.settings_as_text(Settings()),
        "max_connections": 100,
        "applied": "[]",
    }
    return Handover(**(fields | other))


@contextmanager
def passed(data, monkeypatch):
    """Be the process that was handed this; yield the memfd."""
    memfd = os.memfd_create("handover", os.MFD_CLOEXEC)
    os.write(memfd, data)
    monkeypatch.setenv(handover.VARIABLE, str(memfd))
    yield memfd
    assert handover.VARIABLE not in os.environ
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(memfd)


def test_settings_come_over_as_they_are():
    odd = {"echo": {"name": "\udcff é", "since": date(2026, 1, 2), "sizes": [1.5, True]}}
    settings = Settings(
        workers=3,
        plugins=("echo", "no:round_robin"),
        listen=(Listen(address="unix:/x", mode=0o660), Listen(address="tcp://[::1]:0")),
        log=Log(format="json", level="debug"),
        options=odd,
    )
    text = handover.settings_as_text(settings)
    fds = range(16)
    handed = Handover.model_validate_json(made(fds, settings=text).model_dump_json())
    odd["echo"]["since"] = "2026-01-02"  # nothing else is lost, and no plugin is loaded with it
    assert handed.settings_before == settings.model_copy(update={"options": odd})


@given(HANDOVERS)
def test_every_field_comes_over(handed):
    assert Handover.model_validate_json(handed.model_dump_json()) == handed


def test_it_comes_over_through_the_environment_and_a_descriptor(monkeypatch):
    with descriptors() as fds:
        handed = made(fds).model_copy(update={"kept": fds[0]})
        with handed.inheritable(os.environ) as environment:
            memfd = int(environment[handover.VARIABLE])
            added = {handover.VARIABLE: str(memfd), KEPT: str(handed.kept)}
            assert {**os.environ, **added} == environment
            monkeypatch.setenv(handover.VARIABLE, str(os.dup(memfd)))
            monkeypatch.setenv(KEPT, environment[KEPT])
            assert receive() == handed
            assert not added.keys() & os.environ.keys()
            assert [os.get_inheritable(fd) for fd in fds] == [False] * len(fds)
    assert receive() is None


def test_where_nothing_is_kept_no_variable_says_so():
    with descriptors() as fds, made(fds).inheritable(os.environ) as found:
        assert KEPT not in found


def test_it_comes_over_an_exec(tmp_path):
    program = """
import os
from host.supervisor.reload.handover import receive
handed = receive()
for descriptor in handed.descriptors():
    assert not os.get_inheritable(descriptor)
print(handed.model_dump_json())
"""
    with descriptors() as fds:
        handed = made(fds)
        with handed.inheritable(os.environ) as environment:
            command = [sys.executable, "-c", program]
            said = subprocess.run(
                command, env=environment, close_fds=False, capture_output=True, check=True
            )
    assert Handover.model_validate_json(said.stdout) == handed


@pytest.mark.parametrize("fails", [False, True])
def test_descriptors_are_passed_on_inside_and_not_after(fails):
    with descriptors() as fds:
        handed = made(fds)
        assert sorted(set(handed.descriptors())) == fds

        def attempt():
            with handed.inheritable(os.environ) as environment:
                memfd = int(environment[handover.VARIABLE])
                assert all(os.get_inheritable(fd) for fd in [*fds, memfd])
                inside.append(memfd)
                if fails:
                    raise OSError("no such program")

        inside = []
        if fails:
            with pytest.raises(OSError, match="no such program"):
                attempt()
        else:
            attempt()
        assert not any(os.get_inheritable(fd) for fd in fds)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(inside[0])
        assert handover.VARIABLE not in os.environ


def test_what_there_is_not_has_no_descriptor():
    absent = ("stand_in", "clients", "control", "log_file", "lineage")
    handed = made(
        range(10, 26), **dict.fromkeys(absent), sockets=[], passed=[], scores=[], workers=[]
    )
    assert list(handed.descriptors()) == [13, 20]


def test_who_was_started_anew_was_handed_nothing(monkeypatch):
    monkeypatch.delenv(handover.VARIABLE, raising=False)
    assert receive() is None


def changed(fds=range(10, 26), **fields):
    """A handover of which the first fields of all are changed."""
    return json.dumps({**json.loads(made(fds).model_dump_json()), **fields}).encode()


REFUSED = {
    "nothing": b"",
    "no JSON": b"rubbish",
    "no UTF-8": b"\xff\xfe",
    "no object": b"null",
    "an object without fields": b"{}",
    "a field more": changed(more=1),
    "a field of another kind": changed(generation="three"),
    "a worker without most fields": changed(workers=[{"slot": 1}]),
    "bytes that are no base64": changed(topics=NO_TOPICS._replace(hearers=[["*", []]])),
}


@pytest.mark.parametrize("rubbish", REFUSED)
def test_what_cannot_be_understood_is_refused(rubbish, monkeypatch):
    with (
        passed(REFUSED[rubbish], monkeypatch),
        pytest.raises(HostError, match=r"is no handover .*unset it"),
    ):
        receive()


def test_another_format_is_refused(monkeypatch):
    with descriptors() as fds:
        data = changed(fds, format=handover.FORMAT + 1)
        with (
            passed(data, monkeypatch),
            pytest.raises(HostError, match=r"the format .*: restart the host"),
        ):
            receive()


@pytest.mark.parametrize("number", ["", "none", "-1", "1000000"])
def test_a_variable_that_names_no_descriptor_is_refused(number, monkeypatch):
    monkeypatch.setenv(handover.VARIABLE, number)
    with pytest.raises(SettingsError, match=r"_PREFORK_HANDOVER .* only a host that reloads"):
        receive()
    assert handover.VARIABLE not in os.environ


def test_the_process_that_tries_a_reload_knows_for_whom(monkeypatch):
    monkeypatch.delenv(REHEARSAL, raising=False)
    assert not is_rehearsal()
    monkeypatch.setenv(REHEARSAL, str(os.getppid()))
    assert is_rehearsal()
    assert REHEARSAL not in os.environ


@pytest.mark.parametrize("pid", ["", "yes", "-1", "0"])
def test_a_variable_that_does_not_name_the_parent_is_refused(pid, monkeypatch):
    monkeypatch.setenv(REHEARSAL, pid)
    with pytest.raises(SettingsError, match=r"_PREFORK_REHEARSAL .* only a host that reloads"):
        is_rehearsal()
    assert REHEARSAL not in os.environ
