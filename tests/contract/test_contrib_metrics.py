"""What ships for Prometheus, Grafana and OpenTelemetry asks for metrics that a host has."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from host.ipc.host_counts import Restart
from host.ops.metrics import METRICS, SHOWN_FROM_ZERO
from support.pages import table

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = ROOT / "contrib/grafana.json"
RULES = ROOT / "contrib/prometheus/rules.yml"
COLLECTOR = ROOT / "contrib/otel-collector.yaml"
ADDED_BY_PROMETHEUS = {"job", "instance"}
LABELS = {metric.name: {*metric.labels, *ADDED_BY_PROMETHEUS} for metric in METRICS} | {
    f"{metric.name}{part}": {*metric.labels, *ADDED_BY_PROMETHEUS, *more}
    for metric in METRICS
    if metric.kind == "histogram"
    for part, more in (("_bucket", {"le"}), ("_sum", set()), ("_count", set()))
}
RELOADS = {"host_reloading", "generation_ready"}
"""The dashboard shows how often these are told, and the first reload is to be among them."""
COUNTERS = {metric.name for metric in METRICS if metric.kind == "counter"}


def panels() -> Iterator[dict[str, Any]]:
    """Yield the panels of the dashboard that show something."""
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        if panel["type"] != "row":
            yield panel


def dashboard_questions() -> str:
    """Return what the dashboard asks Prometheus for, its variables among it."""
    found = [target["expr"] for panel in panels() for target in panel["targets"]]
    variables = json.loads(DASHBOARD.read_text(encoding="utf-8"))["templating"]["list"]
    found += [each["definition"] for each in variables if each["type"] == "query"]
    return "\n".join(found)


def page_questions() -> str:
    """Return what the page on monitoring asks for."""
    return "\n".join(row[1] for row in table(ROOT / "docs/monitoring.md", "to see"))


def rules() -> str:
    """Return the rules without comments."""
    return re.sub(r"^ *#.*$", "", without_recorded(RULES), flags=re.M)


def without_recorded(file: Path) -> str:
    """Return a file's text without the names that rules record: those are no metrics of a host."""
    text = file.read_text(encoding="utf-8")
    for name in re.findall(r"record: (\S+)", RULES.read_text(encoding="utf-8")):
        text = text.replace(name, "")
    return text


SOURCES = {
    "dashboard": dashboard_questions,
    "page": page_questions,
    "rules": rules,
    "tests of rules": lambda: without_recorded(RULES.with_name("rules_test.yml")),
}


@pytest.mark.parametrize("source", SOURCES)
def test_each_metric_exists_and_has_the_labels_that_are_asked_for(source):
    text = SOURCES[source]()
    asked = re.findall(r"\b(prefork_\w+)(?:\{([^}]*)\})?", text)
    assert len({name for name, _ in asked}) > 5
    for name, selectors in asked:
        assert name in LABELS, name
        assert set(re.findall(r"(\w+)\s*[=!]", selectors)) <= LABELS[name], (name, selectors)


@pytest.mark.parametrize("source", ["dashboard", "page", "rules"])
def test_counters_are_asked_for_as_rates(source):
    for before, name in re.findall(r"(\w*\(?)(\bprefork_\w+)", SOURCES[source]()):
        if name in COUNTERS:
            assert before in ("rate(", "increase("), name


def test_alerts_wait_for_events_whose_first_one_they_see():
    names = re.findall(r'event=~?"([^"]+)"', rules())
    asked = {name for each in names for name in each.split("|")}
    assert asked | RELOADS == {event.name for event in SHOWN_FROM_ZERO}


def test_rules_name_causes_of_restarts_that_there_are():
    named = set(re.findall(r'restarts_total\{cause!?="(\w+)"', rules() + page_questions()))
    assert named == {"recycled"}
    assert named < {cause.name.lower() for cause in Restart}


def test_the_page_lists_the_alerts():
    alerts = re.findall(r"alert: (\w+)", rules())
    assert [row[0].strip("`") for row in table(ROOT / "docs/monitoring.md", "alert")] == alerts


def scrape_settings(file: Path) -> str:
    """Return what a file says of scrapes, as far as all scrapers say it alike."""
    text = re.search(r"^( *)scrape_configs:\n(?:\1 +.*\n)+", file.read_text(encoding="utf-8"), re.M)
    assert text is not None
    lines = textwrap.dedent(text[0]).splitlines()
    return "\n".join(line for line in lines if "scrape_interval" not in line)


def test_the_collector_scrapes_as_prometheus_does():
    ours = scrape_settings(RULES.with_name("prometheus.yml"))
    assert scrape_settings(COLLECTOR).replace("/etc/otelcol", "/etc/prometheus") == ours
