"""The picture of `simulate`: all values can be read, and no text is on another."""

from itertools import combinations

import pytest

from host.cli.plot import LOG, Bar, Panel, draw

PANELS = (Panel("unequal", 1.0, ".3f"), Panel("wait, ms", 0.0, ",.1f", may_be_log=True))
SHORT, ODD = ("short", (1.098, 16.06), (1.287, 16.61)), ("odd", (1.122, 76.15), (3.873, 10191.46))
PATH = "./" + 40 * "x" + "/my_scheduler.py"


@pytest.fixture
def picture():
    """Return a function that draws patterns, each with the values of some schedulers."""
    figure = pytest.importorskip("matplotlib.figure").Figure

    def made(*patterns):
        bars = [
            Bar(name, f"scheduler_{number}", value)
            for name, *values in patterns
            for number, value in enumerate(values)
        ]
        drawn = draw(bars, PANELS, figure)
        drawn.draw_without_rendering()
        return drawn

    return made


def texts(drawn):
    """Return all texts of a picture, with where they are, in pixels."""
    found = [(each.get_text(), each.get_window_extent()) for each in drawn.texts]
    for axes in drawn.axes:
        labels = [*axes.texts, *axes.get_yticklabels(), axes.title, axes._left_title]
        labels.append(axes._right_title)
        found += [(each.get_text(), each.get_window_extent()) for each in labels]
    return [(text, box) for text, box in found if text.strip()]


@pytest.mark.parametrize(
    "patterns",
    [
        (SHORT, ODD),
        (SHORT,),
        (("one", (1.0, 0.0)),),
        (("many", *[(1.0 + each, 3.0**each) for each in range(12)]), SHORT),
        (("equal", (1.0, 0.0), (1.0, 0.0)), ODD),
        (("zero and far", (1.0, 0.0), (1.5, 0.01), (9.0, 1e7)), ODD),
        ((PATH, (1.2, 4.5)), SHORT),
    ],
    ids=lambda patterns: patterns[0][0][:12],
)
def test_each_value_is_written_inside_of_the_picture_and_on_no_other_text(picture, patterns):
    drawn = picture(*patterns)
    found = texts(drawn)
    written = [text.strip() for text, _ in found]
    for _, *values in patterns:
        for unequal, wait in values:
            assert f"{unequal:.3f}" in written
            assert f"{wait:,.1f}" in written
    whole = drawn.bbox
    for text, box in found:
        assert whole.x0 <= box.x0, text
        assert box.x1 <= whole.x1, text
        assert whole.y0 <= box.y0, text
        assert box.y1 <= whole.y1, text
    for (one, box), (other, other_box) in combinations(found, 2):
        assert not box.overlaps(other_box), (one, other)


def test_a_pattern_that_is_unlike_the_others_flattens_none_of_them(picture):
    drawn = picture(SHORT, ODD)
    for axes in drawn.axes:
        widths = sorted(bar.get_window_extent().width for bar in axes.patches)
        assert widths[0] > 8
        assert widths[-1] > 150


def test_a_scale_that_is_logarithmic_says_so(picture):
    for axes, scale in zip(picture(SHORT, ODD).axes, ["linear"] * 3 + ["log"], strict=True):
        assert axes.get_xscale() == scale
        assert (axes.get_title(loc="right") == LOG) == (scale == "log")


def test_of_a_long_name_the_end_is_shown(picture):
    said = [text for text, _ in texts(picture((PATH, (1.2, 4.5))))]
    assert "…xxxxxxxxx/my_scheduler.py" in said
