"""What a process beside the workers does before its own work."""

import os
from types import SimpleNamespace

from host.startup import helpers
from host.telemetry.emitter import Telemetry
from host.telemetry.events import HELPER_ENDED, Level
from host.telemetry.logs import LogWriter, json_line


def test_lines_of_its_log_that_nobody_takes_are_counted(monkeypatch):
    reader, writer = os.pipe()
    log = LogWriter(writer, lambda record: json_line(record, "service"), Level.INFO, max_waiting=2)
    telemetry, counted = Telemetry(log), []

    def run(_assignment, _settings, _telemetry):
        for _ in range(40):  # a pipe has room for sixteen of them
            telemetry.emit(HELPER_ENDED, name="x" * 4096, pid=1, cause="", seconds=0.0)
        return 7

    monkeypatch.setattr(helpers.forks, "close_in_plugin_fork", lambda _: None)
    monkeypatch.setattr(helpers.importlib, "import_module", lambda _: SimpleNamespace(run=run))
    nothing = SimpleNamespace(
        forget=lambda: None, end=lambda: None, end_in_fork=lambda: None, close_kept=lambda: None
    )
    prepared = SimpleNamespace(
        broker=object(), settings=SimpleNamespace(process=SimpleNamespace(keep=[]))
    )
    host_log = SimpleNamespace(telemetry=telemetry, writer=log, capture=nothing)
    be_bridge = helpers.runs_bridge(prepared, nothing, host_log)
    assert be_bridge(SimpleNamespace(count_lines_dropped=counted.append)) == 7
    assert sum(counted) > 20
    os.close(reader)
    os.close(writer)
