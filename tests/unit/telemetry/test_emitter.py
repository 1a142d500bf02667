"""An event is heard by all subscribers, and has exactly the fields of the table."""

import pytest

from host.telemetry import events
from host.telemetry.emitter import Telemetry
from support.fakes import Told


def test_every_subscriber_hears_an_event():
    first, second = [], []
    telemetry = Telemetry(first.append, second.append)
    telemetry.emit(events.WORKER_CAUGHT_UP, slot=1, pid=7)
    [record] = first
    assert second == [record]
    assert (record.event, record.fields) == (events.WORKER_CAUGHT_UP, {"slot": 1, "pid": 7})


@pytest.mark.parametrize("fields", [{"slot": 1}, {"slot": 1, "pid": 7, "odd": 0}])
def test_an_event_with_other_fields_than_in_the_table_is_refused(fields):
    told = Told()
    with pytest.raises(AssertionError, match="worker_caught_up"):
        told.telemetry.emit(events.WORKER_CAUGHT_UP, **fields)
    assert told == []
