"""What ships for Prometheus and Grafana, with a real Prometheus that scrapes a real host.

`tox -e prometheus` runs this. It needs Debian's package `prometheus`, which has promtool, too.
"""

from __future__ import annotations

import json
import shutil
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from host.ops.metrics import METRICS
from host.testing import RunningHost
from prometheus.server import CONTRIB, SCRAPE_SECONDS, Prometheus, promtool
from support.hosting import eventually, freeze, reload, thaw
from support.scraping import get

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="it needs Debian's package prometheus"
)

PAYLOAD = b"x" * 1000
LOAD_SECONDS = 12
WINDOW_SECONDS = 8
ALIGNED_SECONDS = 0.005
"""Prometheus moves the time of a scrape by up to 2 ms, so that they are evenly apart."""
Serve = Callable[..., tuple[RunningHost, str]]
Watch = Callable[..., Prometheus]


@pytest.fixture
def watch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watch]:
    """Start a Prometheus that scrapes a host, with the arguments of `Prometheus`."""
    started: list[Prometheus] = []

    def start(target: str, token_file: Path | None = None) -> Prometheus:
        started.append(Prometheus(tmp_path_factory.mktemp("prometheus"), target, token_file))
        return started[-1]

    yield start
    for one in started:
        one.close()


def exchange(host: RunningHost) -> None:
    """Have one connection that sends the payload and reads it again."""
    with host.connect(host.addresses[0]) as client:
        client.sendall(PAYLOAD)
        missing = len(PAYLOAD)
        while missing:
            missing -= len(client.recv(missing))


def load(host: RunningHost, seconds: float) -> list[float]:
    """Have one connection after the other; return when each was done, since the epoch."""
    done: list[float] = []
    until = time.time() + seconds
    while time.time() < until:
        exchange(host)
        done.append(time.time())
    return done


def questions() -> list[tuple[str, str]]:
    """Return what the dashboard asks for: the title of the panel, and the expression."""
    panels = json.loads((CONTRIB / "grafana.json").read_text(encoding="utf-8"))["panels"]
    variables = {"$job": "prefork", "$instance": ".*", "$__rate_interval": f"{WINDOW_SECONDS}s"}
    found = []
    for panel in panels:
        for target in panel.get("targets", ()):
            expression = target["expr"]
            for name, value in variables.items():
                expression = expression.replace(name, value)
            found.append((panel["title"], expression))
    return found


def test_promtool_finds_nothing_in_what_is_scraped(serve):
    host, shown = serve("udp://127.0.0.1:0")
    with host.connect(host.addresses[0]) as client:
        client.sendall(PAYLOAD)
        assert client.recv(1)
        assert promtool("check", "metrics", text=get(shown, "/metrics").text) == (0, "")


def test_promtool_takes_the_files(tmp_path):
    assert promtool("check", "config", "prometheus.yml")[0] == 0
    collector = (CONTRIB / "otel-collector.yaml").read_text(encoding="utf-8")
    scrapes = collector.partition("    config:\n")[2].partition("\n\n")[0]
    (tmp_path / "collector.yml").write_text(textwrap.dedent(scrapes), encoding="utf-8")
    code, said = promtool("check", "config", str(tmp_path / "collector.yml"))
    assert (code, "SUCCESS" in said) == (0, True), said
    code, said = promtool("check", "rules", "rules.yml")
    assert (code, "SUCCESS" in said) == (0, True), said
    code, said = promtool("test", "rules", "rules_test.yml")
    assert code == 0, said


def test_each_alert_has_a_test():
    text = (CONTRIB / "prometheus/rules.yml").read_text(encoding="utf-8")
    tests = (CONTRIB / "prometheus/rules_test.yml").read_text(encoding="utf-8")
    alerts = [line.split()[-1] for line in text.splitlines() if "- alert:" in line]
    assert [name for name in alerts if f"alertname: {name}\n" not in tests] == []


def test_rates_are_those_of_the_load(serve, watch):
    host, shown = serve()
    prometheus = watch(shown)
    eventually(lambda: prometheus.value("up") == 1, "the host is scraped")
    done = load(host, LOAD_SECONDS)
    ended, window = done[-1], f"[{WINDOW_SECONDS}s]"
    times = sorted(scraped(prometheus, f"prefork_connections_accepted_total{window}", ended))
    # A rate is that between the first and the last scrape of the window.
    first, last = times[0], times[-1]
    assert last - first > WINDOW_SECONDS / 2
    had = sum(first < each <= last for each in done) / (last - first)
    for name, each in (
        ("connections_accepted", 1),
        ("connections_closed", 1),
        ("received_bytes", len(PAYLOAD)),
        ("sent_bytes", len(PAYLOAD)),
    ):
        rate = prometheus.value(f"sum(rate(prefork_{name}_total{window}))", ended)
        assert rate == pytest.approx(had * each, rel=0.05), name
        eventually(
            partial(is_exactly, prometheus, f"sum(prefork_{name}_total)", len(done) * each),
            f"{name} is what the load did",
        )


def test_each_scrape_has_what_the_load_had_done_by_then(serve, watch):
    host, shown = serve()
    prometheus = watch(shown)
    eventually(lambda: prometheus.value("up") == 1, "the host is scraped")
    done = load(host, LOAD_SECONDS)
    samples = scraped(prometheus, "prefork_connections_accepted_total[1m]", done[-1])
    assert len(samples) > WINDOW_SECONDS
    longest = prometheus.value("max_over_time(scrape_duration_seconds[1m])")
    assert longest is not None
    for when, value in samples.items():
        before = sum(each <= when - ALIGNED_SECONDS for each in done)
        after = sum(each <= when + longest + ALIGNED_SECONDS for each in done)
        assert before <= value <= after + 1  # the one that is under way
    values = [samples[when] for when in sorted(samples)]
    assert all(one <= other for one, other in pairwise(values))


def is_exactly(prometheus: Prometheus, expression: str, wanted: float) -> bool:
    """Tell whether an expression has this value now."""
    return prometheus.value(expression) == wanted


def scraped(prometheus: Prometheus, expression: str, at: float) -> dict[float, float]:
    """Return the sum over all series at each scrape, by when that was."""
    samples: dict[float, float] = {}
    for series in prometheus.query(expression, at):
        for when, value in series["values"]:
            samples[when] = samples.get(when, 0) + float(value)
    return samples


def test_all_that_the_dashboard_asks_for_is_answered(serve, watch):
    host, shown = serve("udp://127.0.0.1:0", **{"metrics.sample": 1})
    prometheus = watch(shown)
    eventually(lambda: prometheus.value("up") == 1, "the host is scraped")
    reload(host)

    def unanswered() -> list[tuple[str, str]]:
        exchange(host)
        return [each for each in questions() if not prometheus.query(each[1])]

    eventually(lambda: unanswered() == [], "each panel shows something")


def test_prometheus_evaluates_all_rules_and_none_fires_for_a_host_that_is_well(serve, watch):
    host, shown = serve()
    prometheus = watch(shown)
    eventually(
        lambda: all(rule["health"] == "ok" for rule in prometheus.rules().values()),
        "all rules are evaluated",
    )
    eventually(lambda: prometheus.value("up") == 1, "the host is scraped")
    exchange(host)
    total = "sum(slot:prefork_worker_connections:newest)"
    eventually(lambda: prometheus.value(total) == 0, "the recorded rule has both workers")
    assert {rule.get("state") for rule in prometheus.rules().values()} == {None, "inactive"}
    host.stop()
    eventually(
        lambda: prometheus.rules()["PreforkDown"]["state"] == "pending", "the end is noticed"
    )


def test_no_counter_begins_anew_at_deaths_and_reloads(serve, watch):
    host, shown = serve()
    prometheus = watch(shown)
    eventually(lambda: prometheus.value("up") == 1, "the host is scraped")
    for turn in range(6):
        load(host, SCRAPE_SECONDS)
        if turn % 2:
            reload(host)
        else:
            mark = host.mark()
            host.wait_for("worker_died", pid=host.kill_worker(turn // 2 % 2), since=mark)
    named = [each.name for each in METRICS if each.kind == "counter" and "pid" not in each.labels]
    scrapes = prometheus.value("count_over_time(up[1m])")
    assert scrapes is not None
    assert scrapes > 6
    for name in named:
        found = prometheus.value(f"sum(resets({name}[1m]))")
        assert not found, name
        assert found is not None or "datagram" in name, name


def test_the_first_worker_that_dies_is_an_increase(serve, watch):
    host, shown = serve()
    prometheus = watch(shown)
    increase = 'sum(increase(prefork_worker_restarts_total{cause="died"}[1m]))'
    eventually(lambda: prometheus.value(increase) == 0, "there is a series before anybody dies")
    host.kill_worker(0)
    eventually(lambda: (prometheus.value(increase) or 0) >= 1, "its death is an increase")


def test_workers_that_die_again_and_again_fire_an_alert(serve, watch):
    host, shown = serve()
    prometheus = watch(shown)
    eventually(lambda: prometheus.value("up") == 1, "the host is scraped")
    for _ in range(3):
        mark = host.mark()
        host.kill_worker(0)
        host.wait_for("worker_ready", slot=0, since=mark)
    eventually(
        lambda: prometheus.rules()["PreforkWorkersFail"].get("state") == "firing", "it fires"
    )
    [alert] = prometheus.rules()["PreforkWorkersFail"]["alerts"]
    assert alert["labels"]["cause"] == "died"


def test_workers_that_all_hang_are_an_alert_while_the_metrics_are_served(serve, watch):
    host, shown = serve(**{"lifecycle.hang_seconds": 60})
    prometheus = watch(shown)
    eventually(lambda: prometheus.value("up") == 1, "the host is scraped")
    for pid in host.workers.values():
        freeze(pid)
    with ExitStack() as clients:
        for _ in host.workers:
            clients.enter_context(host.connect())
        eventually(
            lambda: prometheus.rules()["PreforkNobodyAccepts"]["state"] == "pending",
            "nobody takes connections",
        )
        assert prometheus.value("up") == 1
        for pid in host.workers.values():
            thaw(pid)
        eventually(
            lambda: prometheus.rules()["PreforkNobodyAccepts"]["state"] == "inactive",
            "it is over",
        )


def test_a_host_with_a_token_is_scraped_with_it_alone(serve, watch, tmp_path):
    token = tmp_path / "token"
    token.write_text("a-token-of-some-length-for-this-test-only\n")
    token.chmod(0o600)
    _, shown = serve(**{"ops.token_file": str(token)})
    with_it, without = watch(shown, token), watch(shown)
    eventually(lambda: with_it.value("up") == 1, "it is scraped with the token")
    eventually(lambda: without.value("up") == 0, "it is refused without")
    assert "401" in without.target()["lastError"]
    assert with_it.value("prefork_generation") == 0
