"""The pytest plugin: fixtures for harnesses, real hosts and chaos, and what they show at the end.

Pytest imports this module in every project of an environment that the host is installed in. So it
imports nothing of the host before a fixture is used: that would take time, and a project with a
module of its own called `host` would get ours instead.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

if TYPE_CHECKING:
    from host.testing import Chaos, Harness, RunningHost

_HOSTS: pytest.StashKey[list[RunningHost]] = pytest.StashKey()
_CHAOS: pytest.StashKey[Chaos] = pytest.StashKey()
_OUTCOMES = "prefork_chaos"
"""The attribute of a report that has the outcomes of its test: as JSON has it, for pytest-xdist."""


def hosts_of(item: pytest.Item) -> list[RunningHost]:
    """Return the list of a test's hosts; if the test fails, what they have said is shown."""
    return item.stash.setdefault(_HOSTS, [])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the hosts of a failed test have said; keep what a chaos run has found."""
    report = yield
    if report.failed:
        for host in hosts_of(item):
            report.sections.append((f"host {host.pid}", host.said()))
    if report.when == "call" and _CHAOS in item.stash:
        outcomes = item.stash[_CHAOS].outcomes
        setattr(report, _OUTCOMES, [vars(outcome) for outcome in outcomes])
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show a table of what held and what did not, if there was chaos."""
    reports = [
        report
        for category in ("passed", "failed")
        for report in terminalreporter.stats.get(category, [])
        if getattr(report, _OUTCOMES, None)
    ]
    if not reports:
        return
    from host.testing.outcomes import Outcome, problems, table  # noqa: PLC0415  (see above)

    terminalreporter.section("chaos")
    for report in reports:
        outcomes = [Outcome(**each) for each in getattr(report, _OUTCOMES)]
        terminalreporter.write_line(report.nodeid)
        for line in [*table(outcomes).splitlines(), *problems(outcomes)]:
            terminalreporter.write_line(f"  {line}")


@pytest.fixture
def host_server(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Callable[..., RunningHost]]:
    """Start real hosts: `host_server("echo", settings={"limits.idle_timeout_seconds": 5})`.

    Each runs in an interpreter of its own, on free ports, with `tmp_path` as working directory.
    All have ended, by force if need be, when the test has. `tls=True` has clients use TLS, and
    `proxy="v2"` has them come through a proxy; `connect()` of the host does what is needed.
    """
    from host.testing import RunningHost  # noqa: PLC0415  (see above)
    from host.testing.entry import PLAIN, Entry  # noqa: PLC0415  (see above)

    hosts = hosts_of(request.node)

    def start(
        *plugins: str,
        listen: Sequence[str] = ("tcp://127.0.0.1:0",),
        workers: int = 1,
        options: Mapping[str, Mapping[str, object]] | None = None,
        settings: Mapping[str, object] | None = None,
        tls: bool = False,
        proxy: Literal["v1", "v2"] | None = None,
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
            tls: whether clients use TLS, with a certificate that the command openssl makes.
            proxy: the version of the PROXY protocol by which clients are named; None for no proxy.
            ready: whether to wait until all workers serve.
            process: more arguments of `RunningHost`; `flags` are more of the command line.

        Raises:
            RuntimeError: no certificate could be made.
        """
        certificate = request.getfixturevalue("_prefork_certificate") if tls else None
        entry = Entry(certificate, proxy) if tls or proxy is not None else PLAIN
        chosen = {}
        if entry is not PLAIN:
            chosen, listen = entry.settings(listen), ()
        chosen |= settings or {}
        for name, section in (options or {}).items():
            chosen |= {f"options.{name}.{key}": value for key, value in section.items()}
        given = [*_command_line(workers, plugins, listen, chosen), *process.pop("flags", ())]
        process = {"cwd": tmp_path, "entry": entry, **process}
        host = RunningHost(given, **process)
        hosts.append(host)
        if ready:
            host.wait_for("host_ready")
        return host

    yield start
    for host in hosts:
        host.clean_up()


@pytest.fixture(scope="session")
def _prefork_certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Make the certificate that the hosts of `host_server` share, when the first of them needs it.

    Returns:
        Its file, and that of its key.
    """
    from host.testing.tls_client import make_certificate  # noqa: PLC0415  (see above)

    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def chaos(request: pytest.FixtureRequest, host_server: Callable[..., RunningHost]) -> Chaos:
    """Put a protocol through slow and odd peers, and through faults of the host.

    `chaos("echo", [(b"hello", b"hello")])`: the arguments are those of `host.testing.Chaos`. What
    held and what did not is shown in a table at the end of the test run.
    """
    from host.testing import Chaos  # noqa: PLC0415  (see above)

    request.node.stash[_CHAOS] = made = Chaos(host_server)
    return made


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


def _command_line(
    workers: int, plugins: Sequence[str], listen: Sequence[str], settings: Mapping[str, object]
) -> list[str]:
    """Return what a host with a JSON log is started with."""
    given = ["--log-format", "json", "--workers", str(workers)]
    for flag, texts in (("--plugin", plugins), ("--listen", listen)):
        given += [part for text in texts for part in (flag, text)]
    for key, value in settings.items():
        given += ["--set", f"{key}={_text(value)}"]
    return given


def _text(value: object) -> str:
    """Return a value as `--set` takes it."""
    return value if isinstance(value, str) else json.dumps(value)
