"""What is said over a control channel arrives whole, in whatever pieces, amid whatever rubbish."""

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.ipc.protocol import (
    MAX_LINE_BYTES,
    MAX_LISTENERS,
    Ask,
    Drain,
    OrderParser,
    Report,
    ReportParser,
    ShardOrder,
    ask_order,
    drain_order,
    notification,
    shard_order,
)

ANSWERS = st.dictionaries(st.text(), st.text() | st.integers() | st.none(), max_size=3)
NOTIFICATIONS = st.tuples(st.integers(0, MAX_LISTENERS - 1), st.integers(1, 0xFFFF))
DRAINS = st.builds(Drain, st.floats(allow_nan=False))
ASKS = st.builds(Ask, st.integers(), st.text(), ANSWERS, st.floats(allow_nan=False))
SHARDS = st.builds(ShardOrder, st.integers(0, 2**31 - 1), st.booleans())
NOTICES = NOTIFICATIONS | DRAINS | ASKS | SHARDS


def down(notice):
    match notice:
        case Drain():
            return drain_order(notice.deadline)
        case Ask():
            return ask_order(notice)
        case ShardOrder():
            return shard_order(notice.shard, takes=notice.takes)
    return notification(*notice)


def pieces(data, cuts):
    """Cut `data` at these places."""
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


def fed(parser, data):
    return [each for piece in data for each in parser.feed(piece)]


def test_a_notification_takes_four_bytes():
    assert notification(2, 515) == b"\x02\x00\x03\x02"


@given(st.lists(NOTICES), st.lists(st.integers(0, 10_000)))
def test_orders_come_out_as_they_went_in(notices, cuts):
    data = b"".join(map(down, notices))
    assert fed(OrderParser(), pieces(data, cuts)) == notices


@given(st.lists(NOTICES, min_size=1))
def test_orders_come_out_byte_by_byte_as_soon_as_they_are_complete(notices):
    orders, taken = OrderParser(), []
    for notice in notices:
        for byte in down(notice):
            assert taken == notices[: len(taken)]
            taken += orders.feed(bytes([byte]))
        assert taken[-1] == notice
    assert taken == notices


DRAIN_ORDERS = st.binary(min_size=8, max_size=8).map(lambda data: b"\xff\xff\x01\x00" + data)


@given(st.lists(DRAIN_ORDERS | NOTIFICATIONS.map(down)), st.binary(max_size=3))
def test_orders_take_any_records_without_an_error(records, rest):
    whole, single, data = OrderParser(), OrderParser(), b"".join(records) + rest
    expected = [repr(each) for each in whole.feed(data)]
    assert len(expected) == len(records)
    assert [repr(each) for byte in data for each in single.feed(bytes([byte]))] == expected


def test_a_question_is_one_record_its_length_and_json():
    """Workers of the version before a reload have to understand it."""
    data = ask_order(Ask(7, "find", {"id": "é"}, 1234.5))
    assert struct.unpack_from("<HHI", data) == (0xFFFF, 2, len(data) - 8)
    assert json.loads(data[8:]) == {
        "number": 7,
        "question": "find",
        "args": {"id": "é"},
        "deadline": 1234.5,
    }


REPORTS = st.builds(Report, st.text(), st.text(), st.text(), ANSWERS)


@given(st.lists(REPORTS), st.lists(st.integers(0, 10_000)))
def test_reports_come_out_as_they_went_in(reports, cuts):
    data = b"".join(report.line() for report in reports)
    assert fed(ReportParser(), pieces(data, cuts)) == reports


RUBBISH = {
    "an object without fields": b"{}",
    "an object with too few": b'{"kind": "ready"}',
    "an object without data": b'{"kind": "ready", "cause": "", "traceback": ""}',
    "data that are none": b'{"kind": "ready", "cause": "", "traceback": "", "data": 7}',
    "data that are a text": b'{"kind": "ready", "cause": "", "traceback": "", "data": "text"}',
    "nothing": b"null",
    "a list": b"[1, 2]",
    "a text": b'"ready"',
    "no UTF-8": b"\xff\xfe",
    "no number": b"NaN",
    "a number without end": b"1" * 20_000,
    "lists in lists": b"[" * 20_000,
    "objects in objects": b'{"kind":' * 20_000,
}


@pytest.mark.parametrize("rubbish", RUBBISH)
def test_what_is_no_report_is_left_out(rubbish):
    data = Report("ready").line() + RUBBISH[rubbish] + b"\n" + Report("leaving").line()
    assert ReportParser().feed(data) == [Report("ready"), Report("leaving")]


@given(
    st.lists(st.tuples(REPORTS, st.binary().map(lambda data: data.replace(b"\n", b"")))),
    st.lists(st.integers(0, 10_000)),
)
def test_bytes_of_any_kind_between_reports_are_left_out(lines, cuts):
    data = b"".join(report.line() + rubbish + b"\n" for report, rubbish in lines)
    assert fed(ReportParser(), pieces(data, cuts)) == [report for report, _ in lines]


def test_a_line_without_an_end_takes_no_more_memory_than_a_line_may():
    reports = ReportParser()
    for _ in range(100):
        assert reports.feed(b"x" * 4096) == []
        assert len(reports.rest) <= MAX_LINE_BYTES
    assert reports.feed(b"\n" + Report("ready").line()) == [Report("ready")]


@pytest.mark.parametrize("size", [1_000, MAX_LINE_BYTES, 10 * MAX_LINE_BYTES])
def test_a_report_is_taken_however_much_a_worker_has_to_say(size):
    report = Report("failed", "hook on_worker_start raised " + "é" * size, "above\n" * size)
    line = report.line()
    [taken] = fed(ReportParser(), [line[at : at + 65_536] for at in range(0, len(line), 65_536)])
    assert taken.kind == "failed"
    assert taken.cause.startswith("hook on_worker_start raised é")
    assert taken.traceback.endswith("above\n")


def test_a_long_traceback_leaves_a_short_cause_whole():
    [taken] = ReportParser().feed(Report("failed", "no such table", "x" * MAX_LINE_BYTES).line())
    assert taken.cause == "no such table"


def test_a_report_whose_data_are_too_long_is_refused():
    fits = Report("answer", data={"items": "x" * (MAX_LINE_BYTES - 100)})
    assert ReportParser().feed(fits.line()) == [fits]
    with pytest.raises(ValueError, match="a report of"):
        Report("answer", data={"items": "x" * MAX_LINE_BYTES}).line()
