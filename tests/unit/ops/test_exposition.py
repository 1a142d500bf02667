"""What is written is what Prometheus' own library reads, in both formats."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from host.ops.exposition import (
    OPENMETRICS,
    TEXT,
    Metric,
    Sample,
    histogram,
    media_type,
    write,
)
from host.ops.metrics import METRICS

LABELLED = Metric("prefork_things_total", "counter", "Things that were seen.", ("what", "slot"))
PLAIN = Metric("prefork_size_bytes", "gauge", "How large it is.")
# A text of labels may have any character but those that UTF-8 has not.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=20)


@given(st.dictionaries(st.tuples(TEXTS, st.integers(0, 9)), st.integers(0, 2**53), max_size=5))
def test_labels_and_values_come_back(values):
    samples = [Sample(labels, value) for labels, value in values.items()]
    written = write([(LABELLED, samples)], TEXT).decode()
    found = {
        (sample.labels["what"], int(sample.labels["slot"])): sample.value
        for family in text_string_to_metric_families(written)
        for sample in family.samples
    }
    assert found == {labels: float(value) for labels, value in values.items()}


@given(st.floats(allow_nan=False))
def test_numbers_come_back(value):
    (family,) = text_string_to_metric_families(write([(PLAIN, [Sample((), value)])], TEXT).decode())
    assert family.samples[0].value == value


def test_openmetrics_names_families_without_the_ending_and_has_an_end():
    samples = [Sample(("a", 1), 5)]
    written = write([(LABELLED, samples), (PLAIN, [Sample((), math.inf)])], OPENMETRICS).decode()
    families = {each.name: each for each in openmetrics.text_string_to_metric_families(written)}
    assert families["prefork_things"].type == "counter"
    assert families["prefork_things"].samples[0].name == "prefork_things_total"
    assert written.endswith("# EOF\n")


def test_a_metric_without_series_is_left_out():
    assert write([(LABELLED, [])], TEXT) == b"\n"


@pytest.mark.parametrize(
    ("accepted", "kind"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/plain", TEXT),
        ("application/openmetrics-text", OPENMETRICS),
        (
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3",
            OPENMETRICS,
        ),
        ("text/plain, application/openmetrics-text;q=0.5", TEXT),
        ("application/openmetrics-text;q=0", TEXT),
        ("application/openmetrics-text;q=x, ;;;,", TEXT),
    ],
)
def test_the_format_is_the_one_that_is_preferred(accepted, kind):
    assert media_type(accepted) == kind


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_are_those_that_prometheus_recommends(metric):
    assert metric.name.startswith("prefork_")
    assert metric.name.endswith("_total") is (metric.kind == "counter")
    assert metric.name.endswith("_seconds") or metric.kind != "histogram"
    assert metric.help.endswith(".")
    words = metric.name.removesuffix("_total").split("_")
    assert not {"ms", "us", "milliseconds", "kb", "mb"} & set(words)
    assert not {"peer", "client", "connection", "address"} & set(metric.labels)


@given(st.lists(st.integers(0, 99), min_size=4, max_size=4), st.floats(0, 1e9))
def test_histograms_come_back(counts, total):
    metric = Metric("prefork_turn_seconds", "histogram", "How long.", ("slot",))
    samples = histogram((3,), counts, (0.001, 0.01, 0.1), total)
    for kind, read in (
        (TEXT, text_string_to_metric_families),
        (OPENMETRICS, openmetrics.text_string_to_metric_families),
    ):
        (family,) = read(write([(metric, samples)], kind).decode())
        found = {(each.name, each.labels.get("le")): each.value for each in family.samples}
        assert found["prefork_turn_seconds_bucket", "0.01"] == sum(counts[:2])
        assert found["prefork_turn_seconds_bucket", "+Inf"] == sum(counts)
        assert found["prefork_turn_seconds_count", None] == sum(counts)
        assert found["prefork_turn_seconds_sum", None] == total
