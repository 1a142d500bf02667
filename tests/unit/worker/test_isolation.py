"""What plugins have given to timers, threads, pools and the bus fails without harm to others."""

import functools

import pytest

from host.ipc.scoreboard import Scoreboard
from host.worker.view import isolation


class Mute(Exception):
    """An error, and a value, that cannot be shown."""

    def __str__(self):
        raise RuntimeError

    __repr__ = __str__


def fail(value, *_more):
    raise value


class Failing:
    def __call__(self):
        raise KeyError


@pytest.fixture
def report():
    board = Scoreboard(1)
    told = []
    isolated = isolation(board.row(0), lambda *failure: told.append(failure))
    yield lambda function: (isolated(function), told[-1][:2])[1]
    board.close()


def test_a_failure_is_told_with_the_name_of_what_was_called(report):
    assert report(functools.partial(fail, Mute())) == (__name__, "call of fail")
    assert report(functools.partial(functools.partial(fail), Mute())) == (__name__, "call of fail")
    assert report(functools.partial(functools.partial(fail, Mute()), 1))[1] == "call of fail"
    assert report(lambda: fail(SystemExit()))[1].startswith("call of test_a_failure_is_told")
    assert report(Failing()) == (__name__, "call of Failing")
