"""The pytest plugin: fixtures that start harnesses and real hosts, and clean up after them.

Pytest imports this module in every project of an environment that the host is installed in. So it
imports nothing of the host before a fixture is used: that would take time, and a project with a
module of its own called `host` would get ours instead.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from host.testing import Harness, RunningHost

_HOSTS: pytest.StashKey[list[RunningHost]] = pytest.StashKey()


def hosts_of(item: pytest.Item) -> list[RunningHost]:
    """Return the list of a test's hosts; if the test fails, what they have said is shown."""
    return item.stash.setdefault(_HOSTS, [])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the hosts of a failed test have said."""
    report = yield
    if report.failed:
        for host in hosts_of(item):
            report.sections.append((f"host {host.pid}", host.said()))
    return report


@pytest.fixture
def host_server(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Callable[..., RunningHost]]:
    """Start real hosts: `host_server("echo", settings={"limits.idle_timeout_seconds": 5})`.

    Each runs in an interpreter of its own, on free ports, with `tmp_path` as working directory.
    All have ended, by force if need be, when the test has.
    """
    from host.testing import RunningHost  # noqa: PLC0415  (see above)

    hosts = hosts_of(request.node)

    def start(
        *plugins: str,
        listen: Sequence[str] = ("tcp://127.0.0.1:0",),
        workers: int = 1,
        options: Mapping[str, Mapping[str, object]] | None = None,
        settings: Mapping[str, object] | None = None,
        flags: Sequence[str] = (),
        ready: bool = True,
        **process: Any,
    ) -> RunningHost:
        """Start a host.

        Args:
            plugins: what is selected, as with `--plugin`.
            listen: addresses, as with `--listen`; port 0 for a free one.
            workers: how many workers it has.
            options: options by the name of the plugin.
            settings: any other settings by their dotted names, as with `--set`.
            flags: more of the command line.
            ready: whether to wait until all workers serve.
            process: more arguments of `RunningHost`.
        """
        given = ["--log-format", "json", "--workers", str(workers)]
        for flag, texts in (("--plugin", plugins), ("--listen", listen)):
            given += [part for text in texts for part in (flag, text)]
        chosen = dict(settings or {})
        for name, section in (options or {}).items():
            chosen |= {f"options.{name}.{key}": value for key, value in section.items()}
        for key, value in chosen.items():
            given += ["--set", f"{key}={_text(value)}"]
        host = RunningHost([*given, *flags], **{"cwd": tmp_path} | process)
        hosts.append(host)
        if ready:
            host.wait_for("host_ready")
        return host

    yield start
    for host in hosts:
        host.clean_up()


@pytest.fixture
def harness() -> Iterator[Callable[..., Harness]]:
    """Start harnesses, with the arguments of `host.testing.Harness`; the end stops them."""
    from host.testing import Harness  # noqa: PLC0415  (see above)

    started: list[Harness] = []

    def start(*plugins: str, **arguments: Any) -> Harness:
        made = Harness(*plugins, **arguments)
        started.append(made)
        made.start()
        return made

    yield start
    for made in started:
        made.stop()


def _text(value: object) -> str:
    """Return a value as `--set` takes it."""
    return value if isinstance(value, str) else json.dumps(value)
