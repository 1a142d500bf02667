"""The simulation counts as its model says, runs the real plugins, and explains what is wrong."""

import json
import random
import re
import shlex
import sys
from pathlib import Path
from statistics import fmean

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from host import Listener, PluginError, settings
from host.cli.simulate import scheduler, simulate
from host.simulation.arrivals import PATTERNS, Arrival, Scenario, TraceError, read_trace, synthetic
from host.simulation.model import Clock, SimulatedWorker, _requests, gini, max_mean, run

LISTENER = Listener(0, "tcp://127.0.0.1:7000", "echo")


def in_turn():
    """A scheduler without memory but of how often it was asked."""
    asked = -1

    def choose(listener, workers):
        nonlocal asked
        asked += 1
        return workers[asked % len(workers)]

    return choose


class TestModel:
    def test_a_worker_serves_first_in_first_out(self):
        arrivals = [Arrival(at, 0, 1.0) for at in (0.0, 0.25, 0.5)]
        result = run(Scenario("three", arrivals, [1.0]), in_turn())
        assert (result.mean_wait, result.p99_wait) == (fmean([0, 0.75, 1.5]), 1.5)

    def test_a_slow_worker_takes_longer_for_the_same_work(self):
        arrivals = [Arrival(at, 0, 1.0) for at in (0.0, 0.25)]
        assert run(Scenario("two", arrivals, [0.25]), in_turn()).p99_wait == 3.75

    def test_a_connection_is_on_its_way_then_open_then_gone(self):
        clock = Clock()
        worker = SimulatedWorker(0, 1.0, clock)
        for end in (5.0, 1.0):
            worker.take()
            worker.serve(2.0, end)
        seen = []
        for now in (0.0, 1.0, 2.0, 3.9, 4.0, 5.0):
            clock.advance(now)
            seen.append((worker.outstanding, worker.active, worker.accepted))
        # The second one's time is over at 1, but its work only at 4.
        assert seen == [(1, 1, 1), (1, 1, 1), (0, 2, 2), (0, 2, 2), (0, 1, 2), (0, 0, 2)]

    def test_what_comes_during_a_turn_is_the_next_turn(self):
        clock = Clock()
        worker = SimulatedWorker(0, 1.0, clock)
        lags = []
        for now, work in ((1.0, 2.0), (1.5, 3.0), (2.0, 1.0), (3.5, 0), (7.0, 0), (9.0, 0)):
            clock.advance(now)
            if work:
                worker.serve(work, None)
            lags.append(worker.loop_lag_seconds)
        # Turns: 1 to 3, then 3 to 7 for both that came meanwhile; at rest the last one's length.
        assert lags == [0.0, 0.5, 1.0, 0.5, 4.0, 4.0]

    @given(
        st.lists(
            st.tuples(st.integers(0, 8), st.integers(0, 20), st.integers(0, 5), st.integers(1, 3)),
            min_size=1,
            max_size=25,
        ),
        st.integers(1, 3),
    )
    def test_schedulers_see_what_counting_one_by_one_gives(self, drawn, count):
        at, arrivals = 0, []
        for gap, seconds, work, requests in drawn:
            at += gap
            arrivals.append(Arrival(at, seconds, work, requests))
        seen, choose = [], in_turn()

        def watching(listener, workers):
            seen.append([(worker.outstanding, worker.active) for worker in workers])
            return choose(listener, workers)

        run(Scenario("drawn", arrivals, [1.0] * count), watching)
        assert seen == counted(arrivals, count)

    @given(
        st.lists(
            st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(1, 5)),
            min_size=1,
            max_size=20,
        )
    )
    def test_requests_come_as_if_all_had_been_sorted(self, drawn):
        at, arrivals = 0, []
        for gap, seconds, requests in drawn:
            at += gap
            arrivals.append(Arrival(at, seconds, 1, requests))
        every = [
            (arrival.at + number * (arrival.seconds / arrival.requests), index, number)
            for index, arrival in enumerate(arrivals)
            for number in range(arrival.requests)
        ]
        expected = [
            (when, index, number == 0, number == arrivals[index].requests - 1)
            for when, index, number in sorted(every)
            if when <= at
        ]
        assert list(_requests(arrivals)) == expected

    def test_the_time_within_which_99_of_100_were_begun(self):
        # One worker, each a second of work, all at once: they wait 0, 1, 2 … seconds.
        for count, expected in ((1, 0), (2, 1), (100, 98), (101, 99), (200, 197)):
            result = run(Scenario("crowd", [Arrival(0, 0, 1.0)] * count, [1.0]), in_turn())
            assert result.p99_wait == expected

    def test_random_choices_wait_as_long_as_queueing_theory_says(self):
        # Poisson arrivals that are split at random make queues M/M/1, and of these the mean wait
        # is load / (1 - load) times the mean work (Kleinrock, "Queueing Systems", 1975).
        scenario = synthetic("short", workers=20, connections=60_000, load=0.7, seed=3)
        work = fmean(arrival.work for arrival in scenario.arrivals)
        chosen = random.Random(3)
        result = run(scenario, lambda listener, workers: chosen.choice(workers))
        assert result.mean_wait == pytest.approx(work * 0.7 / 0.3, rel=0.1)

    def test_a_thousand_workers(self):
        scenario = synthetic("bursts", workers=1000, connections=20_000, load=0.7, seed=1)
        seen = []

        def choose(listener, workers):
            taken, chosen = len(seen), workers[len(seen) % 1000]
            # What has come is on its way, open or gone, whoever has it.
            if taken % 1000 == 0:
                assert sum(worker.taken for worker in workers) == taken
                assert sum(worker.accepted + worker.outstanding for worker in workers) == taken
                assert all(0 <= worker.active <= worker.accepted for worker in workers)
            seen.append(chosen)
            return chosen

        result = run(scenario, choose)
        assert result.taken == (20,) * 1000

    def test_measures_of_inequality(self):
        assert [max_mean([2, 2]), max_mean([4, 0]), max_mean([0, 0])] == [1, 2, 1]
        assert [gini([2, 2]), gini([0, 4]), gini([0, 0]), gini([1, 3])] == [0, 0.5, 0, 0.25]


def counted(arrivals, count):
    """What `run` shows to schedulers, worked out request by request from the model's words."""
    requests = sorted(
        (arrival.at + number * arrival.seconds / arrival.requests, index, number)
        for index, arrival in enumerate(arrivals)
        for number in range(arrival.requests)
    )
    free, spans, seen = [0.0] * count, {}, {}
    for at, index, number in requests:
        arrival, slot = arrivals[index], index % count
        if number == 0:
            seen[index] = [
                (
                    sum(s == slot_ and at < begin for s, begin, _ in spans.values()),
                    sum(s == slot_ and begin <= at < end for s, begin, end in spans.values()),
                )
                for slot_ in range(count)
            ]
        begin = max(at, free[slot])
        free[slot] = begin + arrival.work / arrival.requests
        began = spans[index][1] if number else begin
        last = number == arrival.requests - 1
        end = max(arrival.at + arrival.seconds, free[slot]) if last else float("inf")
        spans[index] = (slot, began, end)
    return [seen[index] for index in range(len(arrivals))]


@pytest.mark.parametrize("name", PATTERNS)
class TestPatterns:
    def test_ask_for_the_load_that_was_asked_for(self, name):
        scenario = synthetic(name, workers=4, connections=4000, load=0.5, seed=1)
        work = sum(arrival.work for arrival in scenario.arrivals)
        assert work / scenario.arrivals[-1].at == pytest.approx(0.5 * sum(scenario.speeds), rel=0.2)

    def test_come_in_order_and_the_same_for_a_seed(self, name):
        one, same, other = (synthetic(name, 4, 500, 0.7, seed) for seed in (1, 1, 2))
        times = [arrival.at for arrival in one.arrivals]
        assert times == sorted(times)
        assert one == same
        assert one != other


def simulated(*args):
    result = CliRunner().invoke(simulate, [*args, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def refused(*args):
    result = CliRunner().invoke(simulate, args, catch_exceptions=False)
    assert result.exit_code == 2
    return result.output.strip().splitlines()[-1]


class TestComparison:
    def test_the_same_seed_gives_the_same_figures(self):
        names = ("--scheduler", "least_connections", "--scheduler", "power_of_two_choices")
        args = (*names, "--connections", "200", "--seed", "7")
        first = simulated(*args)
        assert first == simulated(*args)
        assert first != simulated(*args[:-1], "8")

    def test_compares_all_that_are_installed_on_all_patterns(self):
        found = simulated("--connections", "50")
        assert {each["arrivals"] for each in found} == set(PATTERNS)
        assert {each["scheduler"] for each in found} >= {
            "least_connections",
            "least_loaded",
            "power_of_two_choices",
            "round_robin",
            "weighted",
        }

    def test_round_robin_hands_out_evenly_and_least_connections_keeps_it_even(self):
        robin, least = simulated(
            *("--pattern", "long", "--connections", "4000"),
            *("--scheduler", "round_robin", "--scheduler", "least_connections"),
        )
        assert robin["taken"] == [1000] * 4
        assert least["open_gini"] < 0.5 * robin["open_gini"]
        assert least["p99_wait_ms"] < robin["p99_wait_ms"]

    def test_weights_that_fit_the_speeds_relieve_a_slow_worker(self):
        even, fitting = (
            simulated("--scheduler", "weighted", "--pattern", "slow-worker", *options)[0]
            for options in ((), ("--set", "options.weighted.weights=[1,4,4,4]"))
        )
        assert fitting["p99_wait_ms"] < 0.1 * even["p99_wait_ms"]

    def test_runs_the_plugin_itself_wherever_it_comes_from(self, tmp_path):
        (tmp_path / "lowest.py").write_text(
            "from host import hookimpl\n@hookimpl\ndef choose_worker(workers): return workers[0]\n"
        )
        (found,) = simulated(
            *("--scheduler", str(tmp_path / "lowest.py"), "--pattern", "short"),
            *("--workers", "3", "--connections", "50"),
        )
        assert found["taken"] == [50, 0, 0]
        assert (found["taken_max_mean"], found["open_max_mean"]) == (3, 3)

    def test_a_scheduler_with_an_option_seed_is_given_the_simulations_unless_it_is_set(self):
        args = ("--scheduler", "power_of_two_choices", "--pattern", "short", "--connections", "99")
        same = simulated(*args, "--set", "options.power_of_two_choices.seed=1")
        assert simulated(*args) == same
        assert simulated(*args, "--set", "options.power_of_two_choices.seed=2") != same

    def test_prints_an_aligned_table(self):
        args = ["--scheduler", "round_robin", "--scheduler", "weighted", "--pattern", "short"]
        result = CliRunner().invoke(simulate, args, catch_exceptions=False)
        head, *rows = result.output.splitlines()
        assert head.startswith("short: 10000 connections in ")
        assert [row.split()[0] for row in rows] == ["SCHEDULER", "round_robin", "weighted"]
        assert len({len(row) for row in rows}) == 1


def test_the_page_shows_what_its_command_prints():
    page = (Path(__file__).parents[2] / "docs" / "schedulers.md").read_text()
    found = re.search(
        r"```sh\npython -m host simulate (--pattern .*?)```\n\n```text\n(.*?)```", page, re.S
    )
    args = shlex.split(found[1].replace("\\\n", ""))
    assert CliRunner().invoke(simulate, args, catch_exceptions=False).output == found[2]


class TestMistakes:
    @pytest.mark.parametrize(
        ("args", "message"),
        [
            ("--scheduler no:echo", "--scheduler no:echo: expected the scheduler to compare"),
            (
                "--scheduler weighted --set options.wieghted.weights=[1]",
                "--set options.wieghted.weights=[1]: expected options.SCHEDULER.KEY=VALUE, of a "
                'scheduler that is compared; did you mean "weighted"?',
            ),
            ("--trace t --load 0.5", "--load and --trace exclude each other"),
            ("--trace t --pattern long", "--pattern and --trace exclude each other"),
            ("--work-ms 1", "--work-ms belongs to --trace: patterns say what work there is"),
            ("--trace no/such/file", "--trace no/such/file: No such file or directory"),
        ],
    )
    def test_of_the_command_line(self, args, message):
        assert refused(*args.split()) == f"Error: {message}"

    def test_an_unknown_scheduler_is_answered_with_the_nearest(self):
        with pytest.raises(PluginError, match='did you mean "least_loaded"'):
            simulated("--scheduler", "leastloaded")

    def test_a_plugin_that_does_not_choose(self):
        with pytest.raises(PluginError, match=r"it does not choose workers\n.*round_robin"):
            simulated("--scheduler", "echo")

    def test_an_option_that_is_wrong(self):
        with pytest.raises(settings.SettingsError, match='did you mean "weights"'):
            simulated("--scheduler", "weighted", "--set", "options.weighted.wights=[1]")

    @pytest.mark.parametrize(
        ("body", "cause"),
        [
            ("1 / 0", "ZeroDivisionError"),
            ("object()", "choose_worker answered <object"),
            ("workers[0].slot", "choose_worker answered 0, which is none of the candidates"),
        ],
    )
    def test_a_scheduler_that_fails_ends_the_simulation(self, tmp_path, body, cause):
        path = tmp_path / "failing.py"
        path.write_text(
            f"from host import hookimpl\n@hookimpl\ndef choose_worker(workers): return {body}\n"
        )
        with pytest.raises(PluginError, match=cause) as caught:
            simulated("--scheduler", str(path))
        assert (caught.value.plugin, caught.value.hook) == ("failing", "choose_worker")


class TestTrace:
    def write(self, folder, *lines):
        path = folder / "trace.jsonl"
        path.write_text("\n".join(lines))
        return path

    def test_is_read_in_the_order_of_arrival(self, tmp_path):
        path = self.write(
            tmp_path,
            '{"at": 12.5, "listener": "unix:b", "slot": 1, "seconds": 2, "busy": 1, "reads": 4}',
            "",
            '{"at": 10, "seconds": 0.5, "listener": "unix:a", "more": true}',
            '{"at": 11, "seconds": 0, "listener": "unix:b", "busy": 0.0, "reads": 0}',
        )
        scenario = read_trace(path, 3, least_work=0.25)
        assert scenario.speeds == [1.0] * 3
        assert scenario.listeners == ("unix:a", "unix:b")
        assert scenario.arrivals == [
            Arrival(0, 0.5, 0.25, 1, listener=0),
            Arrival(1, 0, 0.25, 1, listener=1),
            Arrival(2.5, 2, 1.25, 4, listener=1),
        ]

    @pytest.mark.parametrize(
        ("line", "cause"),
        [
            ('{"at": 1, "sec', "no JSON: "),
            ("[]", "Input should be"),
            ('{"at": 1}', "seconds: Field required"),
            ('{"at": 1, "seconds": -1}', "seconds: Input should be greater than or equal to 0"),
            ('{"at": 1, "seconds": "2"}', "seconds: Input should be a valid number"),
            ('{"at": NaN, "seconds": 2}', "at: Input should be a finite number"),
        ],
    )
    def test_a_broken_line_is_named(self, tmp_path, line, cause):
        path = self.write(tmp_path, '{"at": 1, "seconds": 2}', "", line)
        with pytest.raises(TraceError) as caught:
            read_trace(path, 2, 0)
        assert str(caught.value).startswith(f"{path}:3: {cause}")
        assert refused("--trace", str(path)) == f"Error: --trace {caught.value}"

    def test_one_that_says_too_little(self, tmp_path):
        path = self.write(tmp_path, '{"at": 1, "seconds": 2}')
        assert refused("--trace", str(path)).endswith("expected two connections or more, found 1")

    def test_is_simulated_like_a_pattern(self, tmp_path):
        lines = (f'{{"at": {at}, "seconds": 9, "busy": 0.5}}' for at in range(8))
        path = self.write(tmp_path, *lines)
        (found,) = simulated("--trace", str(path), "--scheduler", "round_robin", "--workers", "2")
        assert found["arrivals"] == f"trace {path}"
        assert (found["taken"], found["p99_wait_ms"]) == ([4, 4], 0)


class TestPlot:
    def test_without_matplotlib_the_extra_is_named(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        message = refused("--plot", str(tmp_path / "x.png"))
        assert "--plot needs matplotlib" in message
        assert message.endswith("pip install 'prefork[plot]'")

    def test_draws_a_picture(self, tmp_path):
        pytest.importorskip("matplotlib.figure")
        args = ("--connections", "50", "--plot", str(tmp_path / "x.png"))
        simulated(*args)
        assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG\r\n")
        assert "No such file" in refused(*args[:-1], str(tmp_path / "none" / "x.png"))


def test_asking_a_scheduler_goes_on_to_the_next_plugin_when_it_passes():
    choose = scheduler("weighted", {"options.weighted.weights": ([0], "--set")}, seed=1)
    (worker,) = workers = (SimulatedWorker(0, 1.0, Clock()),)
    assert choose(LISTENER, workers) is worker
