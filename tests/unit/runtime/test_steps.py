"""Steps that are taken at once."""

import pytest

from host.runtime.steps import finish


def counted(steps, taken):
    for number in range(steps):
        taken.append(number)
        yield
    return "result"


def test_all_steps_are_taken_and_the_result_is_returned():
    taken = []
    assert finish(counted(3, taken)) == "result"
    assert taken == [0, 1, 2]
    assert finish(counted(0, taken)) == "result"


def test_an_error_of_a_step_comes_out():
    def steps():
        yield
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        finish(steps())
