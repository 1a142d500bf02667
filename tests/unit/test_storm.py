"""A row of the storm: its two forms, and what is left out when the time is up."""

import pytest

from storm import report
from storm.rows import Outcome, Trial


def trial(tmp_path, *, quick, minutes):
    return Trial(1, quick=quick, folder=tmp_path, minutes=minutes)


def test_a_row_has_two_plans(tmp_path):
    for quick, plan in ((True, [1, 2]), (False, [1, 2, 3])):
        one = trial(tmp_path, quick=quick, minutes=10)
        assert list(one.rounds([1, 2], [1, 2, 3])) == plan
        assert one.seconds(5.0, 300.0) == (5.0 if quick else 300.0)
        assert one.reduced == ""


def test_when_the_time_is_up_no_further_round_begins_and_the_row_says_so(tmp_path):
    one = trial(tmp_path, quick=False, minutes=0)
    assert list(one.rounds(range(3), range(2000))) == [0]
    assert one.reduced == "1 of 2,000"
    one = trial(tmp_path, quick=False, minutes=8)
    assert one.seconds(5.0, 3600.0) == 480.0
    assert one.reduced == "8 of 60 min"


def test_the_short_form_is_never_reduced(tmp_path):
    one = trial(tmp_path, quick=True, minutes=0)
    assert list(one.rounds(range(3), range(2000))) == [0, 1, 2]
    assert (one.seconds(5.0, 3600.0), one.reduced) == (5.0, "")


@pytest.mark.parametrize(
    ("quick", "reduced", "shown"),
    [(False, "", "yes"), (True, "", "yes (short form)"), (False, "2 of 9", "yes (2 of 9)")],
)
def test_the_table_says_which_form_it_was(quick, reduced, shown):
    outcome = Outcome(1, "fault", "must", "measured", "yes", (), 1.0, quick, reduced)
    assert report.table([outcome]).splitlines()[-1].endswith(f"| {shown} |")
