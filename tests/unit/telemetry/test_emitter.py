"""An event is heard by all who listen, and has exactly the fields of the table."""

import pytest

from host.telemetry import events
from host.telemetry.emitter import Telemetry
from support.fakes import Told


def test_everyone_who_listens_hears_an_event():
    first, second = [], []
    telemetry = Telemetry(first.append)
    telemetry.listen(second.append)
    telemetry.emit(events.WORKER_RESUMED, slot=1, pid=7)
    [record] = first
    assert second == [record]
    assert (record.event, record.fields) == (events.WORKER_RESUMED, {"slot": 1, "pid": 7})


@pytest.mark.parametrize("fields", [{"slot": 1}, {"slot": 1, "pid": 7, "odd": 0}])
def test_an_event_with_other_fields_than_in_the_table_is_refused(fields):
    told = Told()
    with pytest.raises(AssertionError, match="worker_resumed"):
        told.telemetry.emit(events.WORKER_RESUMED, **fields)
    assert told == []
