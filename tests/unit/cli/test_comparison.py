"""What a reload would change, and what only a restart would: the host keeps how it was started."""

import pytest

from host.cli import comparison
from host.settings import AppliedSetting

RUNNING = [
    AppliedSetting("workers", "2", "host.toml:1"),
    AppliedSetting("plugins", '["chat"]', "--plugin (flag)"),
    AppliedSetting("listen[0].address", '"tcp://127.0.0.1:0"', "PREFORK_LISTEN (environment)"),
    AppliedSetting("listen[0].backlog", "4096", "default"),
    AppliedSetting("options.chat.motd", '""', "default"),
    AppliedSetting("options.line.arrays", "true", "default"),
]


def compared(host, *found):
    """Return the keys that would change, those that would not, and the lines."""
    fake = host(applied={"settings": [each._asdict() for each in RUNNING]})
    running, wanted = (
        comparison.running_settings(fake.name),
        [AppliedSetting(*each) for each in found],
    )
    text = "\n".join(comparison.compared(fake.name, running, wanted))
    changed, _, kept = text.partition("it would keep")
    keys = [
        [line.split()[0] for line in part.splitlines() if " -> " in line]
        for part in (changed, kept)
    ]
    return *keys, text


def test_what_a_list_of_the_start_has_is_kept_also_where_it_is_a_default(host):
    changed, kept, text = compared(
        host,
        ("workers", "3", "host.toml:1"),
        ("plugins", '["line"]', "host.toml:2"),
        ("listen", "[]", "default"),
        ("options.line.arrays", "false", "host.toml:4"),
    )
    assert changed == ["workers", "options.line.arrays"]
    assert kept == [
        "plugins",
        "listen[0].address",
        "listen[0].backlog",
        "options.chat.motd",
        "listen",
    ]
    assert text.count("# PREFORK_LISTEN (environment)") == 3
    assert text.count("# --plugin (flag)") == 2


def test_of_a_host_that_is_the_same_nothing_is_listed(host):
    assert compared(host, *RUNNING)[:2] == ([], [])


@pytest.mark.parametrize("key", ["process.user", "bus.namespace", "listen[0].shards"])
def test_what_only_a_restart_changes_is_listed_as_a_reason_to_refuse(host, key):
    running = [AppliedSetting("workers", "2", "host.toml:1"), AppliedSetting(key, "1", "default")]
    found = [AppliedSetting("workers", "3", "host.toml:1"), AppliedSetting(key, "2", "host.toml:2")]
    lines = list(comparison.compared("x", running, found))
    assert lines[0] == 'a reload of host "x" would be refused, since only a restart can change:'
    assert key in lines[1]
    assert lines[2] == "it would change besides:"
    assert "workers" in lines[3]
    assert len(list(comparison.compared("x", running, [running[0], found[1]]))) == 2


def test_another_listener_in_the_place_of_one_has_its_own_shards(host):
    keys = ("listen[0].address", "listen[0].shards")
    running, found = ([AppliedSetting(key, value, "host.toml:1") for key in keys] for value in "12")
    assert next(comparison.compared("x", running, found)) == 'a reload of host "x" would change:'
