"""What a plugin says of a connection's trace is in the lines about it, and nothing else can be."""

import json

import pytest

from host.plugin.failures import Failures
from host.telemetry.emitter import Telemetry
from host.telemetry.logs import json_line
from host.telemetry.tracing import check_traceparent, trace_fields
from host.testing import FakeConnection

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    "text", [GOOD, f"00-{TRACE}-{SPAN}-00", f"cc-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01-what"]
)
def test_what_the_recommendation_allows_is_taken(text):
    assert check_traceparent(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "secret",
        GOOD.upper(),
        GOOD + "\n",
        GOOD + "-more",
        GOOD[:-1],
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}g-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01-\n",
        "\N{ARABIC-INDIC DIGIT ZERO}" * 2 + GOOD[2:],
    ],
)
def test_all_else_is_refused_and_not_shown(text):
    connection = FakeConnection()
    with pytest.raises(ValueError, match="traceparent") as caught:
        connection.trace = text
    assert connection.trace is None
    assert not text or text not in str(caught.value)


def test_a_connection_has_no_trace_until_a_plugin_says_so():
    connection = FakeConnection()
    assert connection.trace is None
    assert trace_fields(connection) == trace_fields(None) == {"trace_id": None, "span_id": None}
    connection.trace = GOOD
    assert connection.trace == GOOD
    assert trace_fields(connection) == {"trace_id": TRACE, "span_id": SPAN}
    connection.trace = None
    assert connection.trace is None


def failure_of(connection):
    records = []
    Failures(Telemetry(records.append))("echo", "on_readable", KeyError("x"), (connection,))
    return json.loads(json_line(records[0], "service"))


def test_a_failure_of_its_hook_has_the_trace():
    connection = FakeConnection()
    assert "trace_id" not in failure_of(connection)
    connection.trace = GOOD
    line = failure_of(connection)
    assert (line["trace_id"], line["span_id"]) == (TRACE, SPAN)
