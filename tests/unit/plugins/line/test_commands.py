"""The commands that come with the line protocol, and what is said of others."""

import re

import pytest


@pytest.fixture
def ask(connect):
    connection = connect()

    def ask(data):
        connection.feed(data)
        return connection.take()

    return ask


def test_time(ask):
    assert re.fullmatch(rb"\+\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\r\n", ask(b"TIME\r\n"))


def test_worker(connect):
    connection = connect()
    connection.feed(b"WORKER\r\n")
    assert connection.take() == b"+slot 0 pid %d\r\n" % connection.worker.pid


def test_stats_count_requests_of_both_kinds(harness):
    started = harness("line")
    connection, _other = started.connect(), started.connect()
    connection.feed(b"PING\r\n*1\r\n$4\r\nPING\r\nSTATS\r\n")
    assert connection.take().endswith(b"+uptime_seconds 0 connections 2 lines 3\r\n")


@pytest.mark.parametrize(
    ("typed", "reply"),
    [
        ("ECOH x", 'unknown command "ECOH"; did you mean ECHO?'),
        ("stat", 'unknown command "stat"; did you mean STATS?'),
        ("xyzzy plugh", 'unknown command "xyzzy"; try HELP'),
        ("   ", "empty line; try HELP"),
        ("x" * 100, f'unknown command "{"x" * 40}"; try HELP'),
        ("\x1b[31mred", 'unknown command "red"; try HELP'),
        ("a\rb", 'unknown command "a"; try HELP'),
        ("\x00\x07\x7f", 'unknown command "   "; try HELP'),
        ("\u202eevil\u2066", 'unknown command " evil "; try HELP'),
        ("\x9b31m", 'unknown command ""; try HELP'),
    ],
)
def test_unknown_commands(ask, typed, reply):
    assert ask(typed.encode() + b"\r\n") == f"-ERR {reply}\r\n".encode()
