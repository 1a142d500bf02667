"""A client of what `ops.listen` serves, and metrics as Prometheus' own library reads them."""

from __future__ import annotations

import http.client
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from host.testing.machine import patience

SECONDS = 10.0


class Answer(NamedTuple):
    """An answer of HTTP."""

    status: int
    text: str
    headers: dict[str, str]


def get(address: str, path: str, method: str = "GET", **headers: str) -> Answer:
    """Ask for a page; `headers` have `_` for `-` in their names."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=patience(SECONDS))
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers=named)
        response = connection.getresponse()
        body = response.read().decode()
        return Answer(response.status, body, {k.lower(): v for k, v in response.getheaders()})
    finally:
        connection.close()


Series = tuple[str, frozenset[tuple[str, str]]]


def series(text: str) -> dict[Series, float]:
    """Return each series of a text of metrics with its value; none may be there twice."""
    found: dict[Series, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found, key
            found[key] = sample.value
    return found


def scrape(address: str) -> dict[Series, float]:
    """Return all series of a host that shows itself there."""
    answer = get(address, "/metrics")
    assert answer.status == 200
    return series(answer.text)


def total(found: dict[Series, float], name: str, **labels: str) -> float:
    """Return the sum of all series of this name that have these labels."""
    wanted = set(labels.items())
    return sum(value for (each, has), value in found.items() if each == name and wanted <= has)
