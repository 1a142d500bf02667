"""The benchmark's arithmetic: pairs, ratios, verdicts, and what it reads from servers and /proc."""

import importlib.util
import os
import sys
import time
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "bench"


def _find_bench():
    """Import the package `bench`, which is never installed, by its place."""
    if "bench" not in sys.modules:
        spec = importlib.util.spec_from_file_location("bench", FOLDER / "__init__.py")
        sys.modules["bench"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["bench"])


_find_bench()

from bench import __main__ as command  # noqa: E402 - it has to be found first
from bench import clients, contenders, page, proc, tables, tools  # noqa: E402
from bench.results import Comparison, Goal, Ratio, Report, judge, several  # noqa: E402
from bench.workloads import GOALS, MODULES, WORKLOADS  # noqa: E402


def comparison(*pairs, measure="cpu_us"):
    one = Comparison("a", "small", "message", "prefork")
    one.pairs["peer"] = [({measure: mine}, {measure: theirs}) for mine, theirs in pairs]
    return one


def goal(limit, sense="≤", against="peer", measure="cpu_us"):
    return Goal("a", "small", measure, sense, limit, against, "CPU per message")


def test_a_ratio_is_taken_pair_by_pair():
    # The machine got slower in the second pair: that changes both, and not their ratio.
    ratio = comparison((1.0, 2.0), (10.0, 20.0), (3.0, 4.0)).ratio("peer", "cpu_us")
    assert ratio == Ratio(median=0.5, min=0.5, max=0.75, pairs=3)


def test_pairs_without_a_value_do_not_count():
    one = comparison((1.0, 0.0), (1.0, 2.0))
    one.pairs["peer"].append(({"rate": 1.0}, {"cpu_us": 1.0}))
    assert one.ratio("peer", "cpu_us") == Ratio(0.5, 0.5, 0.5, 1)
    assert one.ratio("nobody", "cpu_us") is None
    assert one.ratio("peer", "p99_us") is None


def test_a_value_is_the_median_and_errors_add_up():
    one = comparison((1.0, 2.0), (5.0, 4.0), (3.0, 9.0))
    for mine, theirs in one.pairs["peer"]:
        mine["errors"], theirs["errors"] = 1.0, 0.0
    assert one.value("prefork", "cpu_us") == 3.0
    assert one.value("peer", "cpu_us") == 4.0
    assert one.value("prefork", "errors") == 3.0
    assert one.value("peer", "p99_us") is None


def test_clients_that_are_left_waiting_add_up_and_are_shown_if_there_are_any():
    one = comparison((2.0, 1.0), (2.0, 1.0), measure="rate")
    assert "left waiting" not in tables.cases(one).headings
    for mine, theirs in one.pairs["peer"]:
        mine["errors_unanswered"], theirs["errors_unanswered"] = 0.0, 49.0
    table = tables.cases(one)
    column = table.headings.index("left waiting")
    assert [row[column] for row in table.rows] == ["0", "98"]


@pytest.mark.parametrize(
    ("aim", "word"),
    [
        (goal(0.5), "reached"),
        (goal(0.49), "missed"),
        (goal(0.5, "≥"), "reached"),
        (goal(0.51, "≥"), "missed"),
        (goal(1.0, against="nobody"), "not measured"),
        (goal(2.0, against=None), "reached"),
        (goal(1.9, against=None), "missed"),
    ],
)
def test_a_goal_is_judged_by_the_median(aim, word):
    (verdict,) = judge([aim], [comparison((1.0, 2.0), (2.0, 4.0), (9.0, 9.0))])
    assert verdict.word == word


def test_a_goal_of_another_case_is_not_measured():
    (verdict,) = judge([Goal("a", "large", "cpu_us", "≤", 1.0, "peer", "")], [comparison((1, 1))])
    assert verdict.reached is None


def test_a_report_survives_being_saved_and_the_later_run_of_a_case_counts(tmp_path):
    early = Report("2026-01-01", {"CPU": "x"}, {"uvloop": "1"}, {"seconds": 1.0, "pairs": 1.0})
    early.comparisons = [comparison((1.0, 1.0)), Comparison("b", "other", "message", "prefork")]
    late = Report("2026-01-02", {"CPU": "x"}, {}, {"seconds": 1.0, "pairs": 1.0})
    late.comparisons = [comparison((1.0, 4.0))]
    early.save(tmp_path / "early")
    late.save(tmp_path / "late")
    assert Report.load([tmp_path / "early"]) == early
    both = Report.load([tmp_path / "early", tmp_path / "late"])
    assert both.date == "2026-01-02"
    assert [one.case for one in both.comparisons] == ["small", "other"]
    assert both.comparisons[0].ratio("peer", "cpu_us") == Ratio(0.25, 0.25, 0.25, 1)


def test_what_a_load_program_answers_becomes_measures():
    answer = {"operations": 1000, "bytes": 64_000, "seconds": 0.5, "errors": {"reset": 2}}
    answer |= {"p50_us": 1.0, "p99_us": 2.0, "p999_us": 3.0}
    reading = clients.reading(answer, server_seconds=0.1, load_seconds=0.25)
    assert reading["rate"] == 2000
    assert reading["cpu_us"] == pytest.approx(100)
    assert reading["bytes_each"] == 64
    assert reading["load_cores"] == 0.5
    assert reading["errors"] == reading["errors_reset"] == 2


def test_nothing_done_has_no_cost_each():
    answer = {"operations": 0, "bytes": 0, "seconds": 0.5, "errors": {}}
    answer |= {"p50_us": 0.0, "p99_us": 0.0, "p999_us": 0.0}
    assert "cpu_us" not in clients.reading(answer, 0.1, 0.1)


class _ServerOfTests:
    """Uses a hundredth of a second each time that it is asked."""

    used = 0.0

    def cpu_seconds(self):
        self.used += 0.01
        return self.used


def test_what_clients_in_python_exchange_is_counted_and_its_latencies_sorted():
    latencies = iter([[0.003, 0.001]])
    found = clients.measured(_ServerOfTests(), 0.0, lambda: next(latencies))
    assert found["operations"] == 2
    assert found["cpu_us"] == pytest.approx(5000)
    assert (found["p50_us"], found["p99_us"]) == pytest.approx((3000, 3000))


@pytest.mark.parametrize(
    ("written", "port"), [("", None), ("port 12", None), ("hello\nport 123\n", 123)]
)
def test_a_peer_tells_its_port_in_a_whole_line(written, port):
    assert contenders.port_of_peer(written) == port


def test_the_host_serves_when_its_log_says_so():
    listening = '{"event": "listening", "address": "tcp://127.0.0.1:4711"}\n'
    ready = '{"event": "host_ready"}\n'
    assert contenders.port_of_host(listening) is None
    assert contenders.port_of_host(listening + ready[:5]) is None
    assert contenders.port_of_host("a warning\n" + listening + ready) == 4711


def test_cpu_time_is_that_of_the_whole_tree():
    before = proc.cpu_seconds(os.getpid())
    began = time.process_time()
    while time.process_time() - began < 0.02:
        pass
    assert proc.cpu_seconds(os.getpid()) - before >= 0.02
    assert proc.tree(os.getpid())[0] == os.getpid()
    assert proc.pss_kib(os.getpid()) > 0
    assert proc.sleeps(os.getpid())[os.getpid()] > 0


def test_goals_belong_to_workloads_that_there_are():
    assert len(WORKLOADS) == len(MODULES)
    for each in GOALS:
        assert each.workload in WORKLOADS


def test_tables_show_the_same_as_text_and_as_markdown():
    report = Report("2026-01-01", {}, {}, {})
    report.comparisons = [comparison((1.0, 2.0))]
    ((title, found),) = tables.by_workload(report)
    assert title.startswith("(a)")
    (table,) = tables.of_workload(found)
    assert table.headings == ["message", "CPU µs each", "ours/theirs, CPU µs each"]
    assert "0.50 (0.50 to 0.50)" in tables.plain(table)
    assert tables.markdown(table).splitlines() == [
        "| message | CPU µs each | ours/theirs, CPU µs each |",
        "|---|---:|---:|",
        "| prefork | 1.00 | - |",
        "| peer | 2.00 | 0.50 (0.50 to 0.50) |",
    ]


def test_a_series_is_one_table():
    cases = [Comparison("scale", f"{n}", "message", "prefork", series="x", x=n) for n in (1, 10)]
    for one in cases:
        one.solo = [{"cpu_us": 3.0}]
    (table,) = tables.of_workload(cases)
    assert [row[0] for row in table.rows] == ["1", "10"]


def test_what_the_page_says_fits_the_screen(tmp_path):
    report = Report("2026-01-01", {"CPU": "x"}, {"uvloop": "1"}, {"seconds": 1.0, "pairs": 7.0})
    report.comparisons = [comparison((1.0, 2.0))]
    report.comparisons[0].notes = ["peer: " + "it has not started " * 20]
    page.write(
        report, tmp_path / "performance.md", lambda _, folder: {"goals": folder / "goals.png"}
    )
    text = (tmp_path / "performance.md").read_text()
    assert "](performance/goals.png)" in text
    assert [line for line in text.splitlines() if len(line) > 110 and line[0] != "|"] == []


@pytest.mark.parametrize(("count", "words"), [(1, "1 process"), (2000, "2,000 processes")])
def test_plurals(count, words):
    assert several(count, "process") == words


def test_names_on_the_command_line_are_checked(capsys):
    parsed = command.parser().parse_args(["--workloads", "a,G", "--peers", "uvloop,c"])
    assert (parsed.workloads, parsed.peers) == (["a", "g"], ["uvloop", "c"])
    with pytest.raises(SystemExit):
        command.parser().parse_args(["--workloads", "z"])
    assert "no such workload: z; there are a, b" in capsys.readouterr().err


def test_a_missing_compiler_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(tools.ToolError, match="gcc is missing"):
        tools.compiled(tmp_path)


def test_what_another_program_has_measured_stays_on_the_page(tmp_path):
    path = tmp_path / "performance.md"
    begin, end = page.HOSTS
    report = Report("2026-01-01", {}, {}, {"seconds": 1.0})
    page.write(report, path, lambda *_: {})
    assert f"{begin}{end}" in path.read_text()
    path.write_text(path.read_text().replace(begin, f"{begin}\n| a table |\n\n"))
    before = path.read_text()
    page.write(report, path, lambda *_: {})
    assert path.read_text() == before
    assert "| a table |" in before
