"""What the models of the settings allow, and the defaults that the machine decides."""

import pytest
from pydantic import ValidationError

from host.settings import Listen, Settings
from host.settings.cpus import usable_cpus
from host.settings.fields import leaves
from host.settings.keys import join


def test_settings_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        Settings().limits.max_events = 3


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        (
            "[connection]\nlow_water_bytes = 300000",
            (
                "connection.low_water_bytes",
                "300000",
                "must not exceed connection.high_water_bytes, which is 262144",
                "from host.toml:2",
            ),
        ),
        (
            "[connection]\nhigh_water_bytes = 1000",
            (
                "connection.low_water_bytes",
                "65536",
                "must not exceed connection.high_water_bytes, which is 1000",
                "default, connection.high_water_bytes from host.toml:2",
            ),
        ),
        (
            "[connection]\nmax_unsent_bytes = 100000",
            (
                "connection.max_unsent_bytes",
                "100000",
                "must not be below connection.high_water_bytes, which is 262144",
                "from host.toml:2",
            ),
        ),
    ],
)
def test_marks_must_fit_each_other(problems, toml, expected):
    assert problems(toml) == [expected]


def test_workers_default_to_usable_cpus(load):
    assert load().settings.workers == min(usable_cpus(), 1024)


def test_every_field_says_what_it_means():
    fields = dict(Listen.model_fields) | Settings.model_fields
    fields |= {join(path): field for path, field in leaves(Settings)}
    assert [
        key for key, field in fields.items() if not (field.description or "").endswith(".")
    ] == []
