"""The recorder writes what `simulate` reads, and disturbs nothing when it cannot write."""

import json
import os
import resource
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from host import Listener, settings
from host.hookspecs import on_worker_start, on_worker_stop
from host.plugin.binding import HostHooks, ListenerHooks
from host.plugin.loading import load
from host.simulation.arrivals import TraceLine

LISTENER = Listener(0, "tcp://127.0.0.1:7000", "echo")


class Connection:
    def __init__(self, name, fails=False):
        self.id, self.listener, self._fails = name, LISTENER, fails

    def read(self):
        if self._fails:
            raise ValueError("as the handler would")
        return b""

    def write(self, data):
        pass


class Recorder:
    """A worker's hooks, with `echo` and the recorder bound as the host binds them."""

    def __init__(self, file, slot=3):
        self.failures = []
        flags = {
            "plugins": (["echo", "record_trace"], "--plugin"),
            "options.record_trace.file": (str(file), "--set"),
        }
        registry = load(settings.load(flags=flags, environ={}))
        self.hooks: ListenerHooks = registry.bind("echo", self._report)
        self._host: HostHooks = registry.host_hooks(self._report)
        self._slot = slot

    def _report(self, plugin, hook, error, args):
        self.failures.append((plugin, hook, str(error)))

    def start(self):
        return self._host.tell(on_worker_start, SimpleNamespace(slot=self._slot))

    def stop(self):
        return self._host.tell(on_worker_stop, SimpleNamespace(slot=self._slot))

    def serve(self, name, reads=1):
        connection = Connection(name)
        self.hooks.on_accept(connection)
        for _ in range(reads):
            self.hooks.on_readable(connection)
        self.hooks.on_close(connection, None)


def records(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_connection_makes_a_line_that_the_simulation_reads(tmp_path):
    path, before = tmp_path / "t.jsonl", time.time()
    recorder = Recorder(path)
    assert recorder.start()
    recorder.serve("a", reads=2)
    (record,) = records(path)
    assert list(record) == ["at", "listener", "slot", "seconds", "busy", "reads"]
    assert (record["listener"], record["slot"], record["reads"]) == (LISTENER.address, 3, 2)
    assert before - 1e-6 <= record["at"] <= time.time()
    assert 0 < record["busy"] <= record["seconds"] + 1e-6
    assert TraceLine.model_validate(record).seconds == record["seconds"]
    assert recorder.stop()
    assert recorder.failures == []


def test_workers_share_the_file_and_append_to_what_is_there(tmp_path):
    path = tmp_path / "t.jsonl"
    for _ in range(2):
        workers = [Recorder(path, slot) for slot in range(2)]
        assert all(worker.start() for worker in workers)
        for worker in workers:
            worker.serve("a")
        assert all(worker.stop() for worker in workers)
    assert [record["slot"] for record in records(path)] == [0, 1, 0, 1]


def test_what_a_handler_raises_passes_and_its_time_counts(tmp_path):
    recorder, connection = Recorder(tmp_path / "t.jsonl"), Connection("a", fails=True)
    recorder.start()
    recorder.hooks.on_accept(connection)
    with pytest.raises(ValueError, match="as the handler would") as caught:
        recorder.hooks.on_readable(connection)
    assert recorder.hooks.blame(caught.value) == "echo"
    recorder.hooks.on_close(connection, None)
    assert records(tmp_path / "t.jsonl")[0]["reads"] == 1
    recorder.stop()


def fifo(folder):
    os.mkfifo(folder / "fifo")
    return folder / "fifo"


@pytest.mark.parametrize(
    ("place", "cause"),
    [
        (lambda folder: folder, "Is a directory"),
        (lambda folder: folder / "none" / "t.jsonl", "No such file or directory"),
        (fifo, "No such device or address"),  # a pipe that nobody reads
    ],
)
def test_a_worker_that_cannot_open_the_file_does_not_start(tmp_path, place, cause):
    path = place(tmp_path)
    recorder = Recorder(path)
    assert not recorder.start()
    ((plugin, hook, message),) = recorder.failures
    assert (plugin, hook) == ("record_trace", "on_worker_start")
    assert message == (
        f"cannot open the trace file {path}: {cause}; "
        "another one is chosen with --set options.record_trace.file=FILE"
    )


def test_a_full_disk_is_told_once_and_counted():
    recorder = Recorder("/dev/full")
    recorder.start()
    for name in "abc":
        recorder.serve(name)
    assert recorder.failures == [
        (
            "record_trace",
            "on_close",
            "cannot write to the trace file /dev/full: No space left on device; connections are "
            "served as before, and those whose records fail are counted",
        )
    ]
    recorder.stop()
    assert recorder.failures[1:] == [
        ("record_trace", "on_worker_stop", "3 connections are missing in /dev/full")
    ]


@contextmanager
def file_size_limit(size):
    """Let files grow to `size` only; Python ignores the signal, so that write(2) falls short."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_line_that_was_cut_off_does_not_spoil_the_next_one(tmp_path):
    path = tmp_path / "t.jsonl"
    recorder = Recorder(path)
    recorder.start()
    recorder.serve("a")
    with file_size_limit(path.stat().st_size + 10):
        recorder.serve("b")
        recorder.serve("c")
    recorder.serve("d")
    recorder.serve("e")
    first, torn, *others = path.read_text().splitlines()
    assert len(torn) == 10
    assert [json.loads(line)["slot"] for line in (first, *others)] == [3, 3, 3]
    assert len(recorder.failures) == 1
    recorder.stop()
    assert recorder.failures[1][2].startswith("2 connections are missing")
