"""What plugins may declare, what is refused and how, and what is counted where."""

import math
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host.ipc.series import OwnSeries
from host.metrics.declaring import RESERVED, DeclaredMetrics, telling_who
from host.ops.metrics import METRICS
from host.plugin.binding import Implementation


@pytest.fixture
def own():
    return OwnSeries()


@pytest.fixture
def metrics(own):
    return DeclaredMetrics(own).of("chat")


def test_names_are_those_of_the_plugin(own, metrics):
    metrics.counter("lines", "Lines.")
    metrics.gauge("open_rooms", "Rooms.")
    metrics.histogram("size_bytes", "Sizes.", start=64, count=3)
    assert [(each.name, each.kind, each.bounds) for each in own.families] == [
        ("prefork_chat_lines_total", "counter", ()),
        ("prefork_chat_open_rooms", "gauge", ()),
        ("prefork_chat_size_bytes", "histogram", (64.0, 128.0, 256.0)),
    ]


@pytest.mark.parametrize(
    ("plugin", "prefix"),
    [
        ("my-proto", "my_proto"),
        ("proto:Proto", "proto_proto"),
        ("a.b-", "a_b"),
        ("worker", "plugin_worker"),
        ("events-of-mine", "plugin_events_of_mine"),
        ("чат", "plugin_80a0bn"),
        ("日本", "plugin_wgv71a"),
        ("-", "plugin"),
    ],
)
def test_any_name_of_a_plugin_makes_a_prefix(own, plugin, prefix):
    DeclaredMetrics(own).of(plugin).counter("lines", "Lines.")
    assert own.families[0].name == f"prefork_{prefix}_lines_total"


def test_no_plugin_can_take_a_name_of_the_host():
    assert {each.name.split("_")[1] for each in METRICS} == RESERVED


def test_each_combination_of_values_is_counted(own, metrics):
    lines = metrics.counter("lines", "Lines.", {"kind": ("ok", "bad"), "side": ("in", "out")})
    lines.add(1, "ok", "out")
    lines.add(2.5, "bad", "in")
    assert list(own.words) == [0.0, 1.0, 2.5, 0.0]


def test_a_gauge_rises_and_falls(own, metrics):
    gauge = metrics.gauge("open", "Open.")
    gauge.set(4.5)
    gauge.add(-6)
    assert list(own.words) == [-1.5]


def test_a_value_at_a_bound_is_below_it(own, metrics):
    size = metrics.histogram("size_bytes", "Sizes.", start=1, count=2)
    for value in (0, 0.5, 1, 1.5, 2, 3):
        size.observe(value)
    assert list(own.words) == [3.0, 2.0, 1.0, 8.0]


@pytest.mark.parametrize("amount", [-1, -0.1, math.nan, math.inf, -math.inf])
def test_a_counter_cannot_fall(own, metrics, amount):
    with pytest.raises(ValueError, match="prefork_chat_lines_total cannot rise by"):
        metrics.counter("lines", "Lines.").add(amount)
    assert list(own.words) == [0.0]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1, -1e-9])
def test_a_histogram_counts_numbers_whose_sum_cannot_fall(own, metrics, value):
    with pytest.raises(ValueError, match="prefork_chat_size_bytes cannot count"):
        metrics.histogram("size_bytes", "Sizes.", start=1, count=1).observe(value)
    assert list(own.words) == [0.0] * 3


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((), "prefork_chat_lines_total was given 0 values of labels: kind"),
        (("ok", "ok"), "prefork_chat_lines_total was given 2 values of labels: kind"),
        (("okay",), "prefork_chat_lines_total has no kind='okay'"),
        ((1,), "prefork_chat_lines_total has no kind=1"),
    ],
)
def test_a_value_that_was_not_declared_is_named(own, metrics, values, said):
    with pytest.raises(ValueError, match=said):
        metrics.counter("lines", "Lines.", {"kind": ("ok", "bad")}).add(1, *values)
    assert list(own.words) == [0.0, 0.0]


def declares(metrics, kind="counter", name="lines", help="Lines.", labels=None, **others):
    getattr(metrics, kind)(name, help, labels or {}, **others)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": "Lines"}, "counter 'Lines': expected lower-case letters"),
        ({"name": "a__b"}, "counter 'a__b': expected lower-case letters"),
        ({"name": "_a"}, "expected lower-case letters"),
        ({"name": "9a"}, "expected lower-case letters"),
        ({"name": ""}, "expected lower-case letters"),
        ({"name": "a\n"}, "expected lower-case letters"),
        ({"name": "lines_total"}, "counter lines_total: leave out _total"),
        ({"name": "lines_count"}, "counter lines_count: _count is the end of series"),
        ({"help": " "}, "counter lines: help is ' ', expected a sentence in one line"),
        ({"help": "a\nb"}, "expected a sentence in one line"),
        ({"labels": {"slot": ("a",)}}, "counter lines: the host adds a label slot itself"),
        ({"labels": {"Kind": ("a",)}}, "counter lines: label 'Kind': expected lower-case"),
        ({"labels": {"kind": "ok"}}, "label kind has 'ok', expected a list of texts"),
        ({"labels": {"kind": (1, 2)}}, r"label kind has \(1, 2\), expected a list of texts"),
        ({"labels": {"kind": ("a", "\udcff")}}, "label kind has .* UTF-8 cannot express"),
        ({"labels": {"kind": ()}}, r"label kind has \(\), expected values, each once"),
        ({"labels": {"kind": ("a", "a")}}, "expected values, each once"),
        ({"labels": {"kind": [str(each) for each in range(513)]}}, "takes 513 words.*512"),
        ({"labels": dict.fromkeys("abcdefghi", (*"0123456789",))}, f"takes {10**9} words.*512"),
        ({"kind": "histogram", "start": 0, "count": 3}, "start is 0, expected a number above 0"),
        ({"kind": "histogram", "start": math.inf, "count": 3}, "start is inf"),
        ({"kind": "histogram", "start": 1e300, "count": 50}, "start 1e\\+300, doubled so often"),
        ({"kind": "histogram", "start": 1, "count": 0}, "count is 0, expected 1 or more bounds"),
    ],
)
def test_what_cannot_be_shown_is_refused_at_once(own, metrics, given, said):
    with pytest.raises(ValueError, match=said):
        declares(metrics, **given)
    assert own.families == []


def test_each_plugin_has_512_words(own):
    declared = DeclaredMetrics(own)
    values = [str(each) for each in range(256)]
    for plugin in ("chat", "line"):
        declared.of(plugin).counter("a", "A.", {"x": values})
        declared.of(plugin).counter("b", "B.", {"x": values})
        with pytest.raises(ValueError, match="takes 1 words, which makes 513 for this plugin"):
            declared.of(plugin).counter("c", "C.")


def test_a_name_is_declared_once(own):
    declared = DeclaredMetrics(own)
    declared.of("a-b").counter("c", "C.")
    for plugin, name in (("a-b", "c"), ("a", "b_c")):
        with pytest.raises(ValueError, match="prefork_a_b_c_total is declared already"):
            declared.of(plugin).counter(name, "C.")


@pytest.mark.parametrize("kinds", [("counter", "gauge"), ("gauge", "counter")])
def test_a_counter_and_a_gauge_cannot_be_one_family_of_openmetrics(metrics, kinds):
    first, second = kinds
    declares(metrics, first)
    with pytest.raises(ValueError, match=f"is declared already, as the {first} prefork_chat_lines"):
        declares(metrics, second)


@pytest.mark.parametrize("value", ["3", None])
def test_what_is_no_number_is_refused_where_it_is_given(metrics, value):
    gauge = metrics.gauge("open", "Open.")
    with pytest.raises(TypeError):
        gauge.set(value)


def test_nothing_is_declared_once_workers_have_started(own):
    declared = DeclaredMetrics(own)
    declared.is_closed = True
    with pytest.raises(RuntimeError, match="prefork_chat_c_total is declared too late"):
        declared.of("chat").counter("c", "C.")


class HostOf:
    def __init__(self, plugin=""):
        self.plugin = plugin

    def of(self, plugin):
        return HostOf(plugin)


def test_a_plugin_that_is_told_of_the_host_is_told_which_it_is():
    def told(host):
        return host.plugin

    def implementation(hook, *arguments):
        return Implementation("chat", hook, told, arguments, ("host",), hook)

    assert telling_who(implementation("on_host_start", "host"))(HostOf()) == "chat"
    assert telling_who(implementation("on_host_start")) is told
    assert telling_who(implementation("on_worker_start", "worker")) is told


def test_what_a_running_host_counts_keeps_its_kind_labels_and_bounds(own):
    DeclaredMetrics(own).of("chat").counter("lines", "Lines.", {"kind": ("ok",)})
    swapped = OwnSeries()
    declared = DeclaredMetrics(swapped, running=own.families).of("chat")
    declared.counter("lines", "Lines.", {"kind": ("ok", "bad")})
    for declare in (
        lambda of: of.counter("lines", "Lines."),
        lambda of: of.gauge("lines", "Lines.", {"kind": ("ok",)}),
    ):
        refusing = DeclaredMetrics(OwnSeries(), running=own.families).of("chat")
        with pytest.raises(ValueError, match=r"is counted already, as a counter with .* reload"):
            declare(refusing)


def test_values_of_labels_may_come_from_a_generator(own, metrics):
    metrics.counter("lines", "Lines.", {"kind": (each for each in ("ok", "bad"))}).add(1, "bad")
    assert own.families[0].series == (("ok",), ("bad",))


@pytest.mark.parametrize("values", [None, 7, "ok", [1]])
def test_values_of_labels_are_texts(metrics, values):
    with pytest.raises(ValueError, match="expected a list of texts"):
        metrics.counter("lines", "Lines.", {"kind": values})


def test_the_total_is_that_of_all_processes(own, metrics):
    lines = metrics.counter("lines", "Lines.", {"kind": ("ok", "bad")})
    rooms = metrics.gauge("open_rooms", "Rooms.")
    lines.add(2, "ok")
    assert lines.total("ok") == 2
    board = own.share()
    for row, amount in ((1, 5), (2, 0.5), (4096, 7)):
        own.use(row)
        lines.add(amount, "ok")
        rooms.set(amount)
    assert lines.total("ok") == 14.5
    assert lines.total("bad") == 0
    assert rooms.total() == 12.5
    with pytest.raises(ValueError, match="odd"):
        lines.total("odd")
    board.write_off(4096)
    assert rooms.total() == 5.5
    assert os.stat(board.fileno()).st_blocks * 512 <= 4 * 4096
    board.close()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 4096), unique=True, max_size=20), st.integers(1, 900))
def test_the_total_counts_each_row_once(rows, words):
    series = OwnSeries()
    metrics = DeclaredMetrics(series).of("chat")
    counter = metrics.counter("a", "A.", {"kind": [str(each) for each in range(min(words, 512))]})
    board = series.share()
    for row in rows:
        series.use(row)
        counter.add(row + 1, "0")
    assert counter.total("0") == sum(rows) + len(rows)
    board.close()
