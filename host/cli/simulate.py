"""The command `simulate`: compares schedulers on the same arrivals."""

from __future__ import annotations

import dataclasses
import importlib
import json
import random
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import click

from host import settings
from host.cli import candidates
from host.cli.numbers import Number
from host.cli.plot import Bar, Panel, draw
from host.errors import PluginError
from host.interfaces import Listener, WorkerView
from host.plugin.catalog import catalog
from host.plugin.discovery import find, installed
from host.plugin.loading import load
from host.plugin.registry import Registry
from host.runtime.steps import finish
from host.simulation.arrivals import PATTERNS, Scenario, TraceError, read_trace, synthetic
from host.simulation.model import Choose, Result, run
from host.text import aligned, counted, reason, suggest

WORKERS = 4
CONNECTIONS = 10_000
LOAD = 0.7
"""What `simulate` takes where nothing is said."""

_COLUMNS = (
    "SCHEDULER",
    "TAKEN MAX/MEAN",
    "HELD MAX/MEAN",
    "HELD GINI",
    "MEAN WAIT ms",
    "P99 WAIT ms",
)
_PANELS = (
    Panel("connections held: max / mean\n(1: all workers the same)", 1.0, ".3f"),
    Panel("connections held: Gini\n(0: all workers the same)", 0.0, ".3f"),
    Panel("p99 wait, ms", 0.0, ",.1f", may_be_log=True),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one scheduler made of one scenario."""

    scenario: Scenario
    scheduler: str
    result: Result

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON has it; times in milliseconds, as in the table."""
        values = dataclasses.asdict(self.result)
        for name in ("mean_wait", "p99_wait"):
            values[f"{name}_ms"] = values.pop(name) * 1000
        return {
            "arrivals": self.scenario.name,
            "connections": len(self.scenario.arrivals),
            "workers": len(self.scenario.speeds),
            "scheduler": self.scheduler,
            **values,
        }


@click.command(
    "simulate",
    epilog="Patterns: "
    + "; ".join(f"{name}: {pattern.summary}" for name, pattern in PATTERNS.items()),
)
@click.option(
    "--scheduler",
    "schedulers",
    metavar="NAME",
    shell_complete=candidates.schedulers,
    multiple=True,
    help="Scheduler to compare: an installed one's NAME, package.module:Class, or ./file.py. May "
    "be repeated. Default: all that are installed.",
)
@click.option(
    "--pattern",
    "patterns",
    type=click.Choice(list(PATTERNS)),
    multiple=True,
    help="Kind of arrivals. May be repeated. Default: all of them.",
)
@click.option(
    "--trace",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Recorded arrivals instead (run --record-trace FILE).",
)
@click.option("--workers", type=click.IntRange(1, 1024), default=WORKERS, show_default=True)
@click.option(
    "--connections",
    type=click.IntRange(2),
    help=f"Connections of each pattern. Default: {CONNECTIONS}.",
)
@click.option(
    "--load",
    type=Number(0, min_open=True),
    help=f"Share of the workers' CPU time that a pattern asks for. Default: {LOAD}.",
)
@click.option(
    "--work-ms",
    type=Number(0),
    help="With --trace: CPU time in ms that each connection costs on top of what was recorded. "
    "Default: 0.1.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Start of random numbers.")
@click.option(
    "--set",
    "assignments",
    metavar="KEY=VALUE",
    multiple=True,
    help="Option of a scheduler, as options.weighted.weights=[1,4]. May be repeated.",
)
@click.option(
    "--plot",
    metavar="FILE.png",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw a picture as well.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def simulate(
    schedulers: tuple[str, ...],
    assignments: tuple[str, ...],
    plot: Path | None,
    as_json: bool,
    seed: int,
    **arrivals: Any,
) -> None:
    """Compare schedulers in simulated time, on the same arrivals.

    The schedulers are the plugins themselves; the workers are simulated. TAKEN counts the
    connections that each worker took in all, HELD those that it had open (over time, on average);
    max/mean and Gini (0: all the same) tell how unequal the workers were. WAIT is the time from a
    request's arrival, the first one being the connection's own, until its worker begins with it.

    A worker serves requests first in, first out. Nothing else takes time: no network, no kernel.
    Workers have a CPU each; none dies, reaches a limit or is suspended. So the figures compare
    schedulers; they do not predict what a host will do. Settings of a host (file, environment)
    are not read.
    """
    figure_class = _figure_class() if plot else None
    names = dict.fromkeys(schedulers or _installed_schedulers())
    scenarios = _scenarios(seed=seed, **arrivals)
    options = _options(assignments, names)
    outcomes = [
        Outcome(scenario, name, run(scenario, scheduler(name, options[name], seed)))
        for scenario in scenarios
        for name in names
    ]
    if as_json:
        click.echo(json.dumps([outcome.as_dict() for outcome in outcomes], indent=2))
    else:
        click.echo(report(outcomes))
    if plot:
        _draw(outcomes, plot, figure_class)


def _installed_schedulers() -> list[str]:
    """Return the names of all installed schedulers; imports none."""
    return [entry.name for entry in catalog() if "choose_worker" in (entry.implements or ())]


def _scenarios(
    *,
    patterns: tuple[str, ...],
    trace: Path | None,
    workers: int,
    connections: int | None,
    load: float | None,
    work_ms: float | None,
    seed: int,
) -> list[Scenario]:
    if trace is None:
        if work_ms is not None:
            raise click.UsageError("--work-ms belongs to --trace: patterns say what work there is")
        count, share = connections or CONNECTIONS, load or LOAD
        chosen = dict.fromkeys(patterns or PATTERNS)
        return [synthetic(name, workers, count, share, seed) for name in chosen]
    for flag, given in (("pattern", patterns), ("connections", connections), ("load", load)):
        if given:
            raise click.UsageError(f"--{flag} and --trace exclude each other")
    try:
        return [read_trace(trace, workers, (0.1 if work_ms is None else work_ms) / 1000)]
    except TraceError as error:
        raise click.UsageError(f"--trace {error}") from None


Flags = dict[str, tuple[object, str]]


def _options(assignments: Sequence[str], schedulers: Mapping[str, object]) -> dict[str, Flags]:
    """Return the options of each scheduler, as flags: nobody may be given another one's."""
    for text in schedulers:
        if text.startswith("no:"):
            raise click.UsageError(f"--scheduler {text}: expected the scheduler to compare")
    entries = finish(installed()).entries
    known = {finish(find(text, entries)).name: text for text in schedulers}
    flags: dict[str, Flags] = {text: {} for text in schedulers}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        section, _, rest = key.partition(".")
        name = next((name for name in known if rest.startswith(f"{name}.")), None)
        if not equals or section != "options" or name is None:
            near = settings.nearest(rest.partition(".")[0], known)
            raise click.UsageError(
                f"--set {assignment}: expected options.SCHEDULER.KEY=VALUE, of a scheduler that "
                f"is compared{suggest(near)}"
            )
        flags[known[name]][key] = (value, f"--set {assignment}")
    return flags


def scheduler(text: str, options: Flags, seed: int) -> Choose:
    """Load a scheduler as a host would, and return the function that asks it.

    A scheduler that has an option `seed` is given the simulation's, unless it was set.

    Raises:
        PluginError: it cannot be loaded, or does not choose workers.
        SettingsError: its options are wrong.
    """
    random.seed(seed)  # for those that draw from the module's own generator
    registry = _load(text, options)
    plugin = registry.plugins[0]
    if not plugin.is_scheduler:
        known = _installed_schedulers()
        raise PluginError(
            plugin.name,
            f"it does not choose workers{suggest(settings.nearest(plugin.name, known))}"
            f"\nschedulers: {', '.join(known)}",
            hook="choose_worker",
            origin=plugin.origin,
        )
    key = f"options.{plugin.name}.seed"
    if (
        plugin.options_model
        and "seed" in settings.keys_of(plugin.options_model)
        and key not in options
    ):
        registry = _load(text, {**options, key: (seed, "--seed")})
    return _asker(registry)


def _load(text: str, options: Flags) -> Registry:
    flags: Flags = {"plugins": ([text], "--scheduler"), **options}
    return load(settings.load(flags=flags, environ={}))


def _asker(registry: Registry) -> Choose:
    """Return what asks the schedulers in order, as a host does; but a failure is the end."""

    def failed(plugin: str, hook: str, error: BaseException, _: tuple[object, ...]) -> NoReturn:
        stack = "".join(traceback.format_exception(error)).rstrip()
        raise PluginError(plugin, f"hook {hook} failed\n{stack}", hook=hook) from error

    chain = registry.host_hooks(failed).schedulers
    # Those of the last call by identity: to look a thousand up for each connection takes longer
    # than some schedulers do, and what a scheduler answers need not be hashable.
    known: Sequence[WorkerView] = ()
    identities: set[int] = set()

    def choose(listener: Listener, workers: Sequence[WorkerView]) -> WorkerView:
        nonlocal known, identities
        if workers is not known:
            known, identities = workers, {id(worker) for worker in workers}
        for plugin, ask in chain:
            try:
                chosen = ask(listener, workers)
            except Exception as error:
                failed(plugin, "choose_worker", error, ())
            if chosen is None:
                continue
            if id(chosen) not in identities:
                cause = f"choose_worker answered {chosen!r:.200}, which is none of the candidates"
                raise PluginError(plugin, cause, hook="choose_worker")
            return chosen
        return workers[0]  # not reached: round_robin, a default plugin, always answers

    return choose


def report(outcomes: Sequence[Outcome]) -> str:
    """Return the outcomes as aligned tables, one for each scenario."""
    parts = []
    for scenario in dict.fromkeys(outcome.scenario.name for outcome in outcomes):
        found = [outcome for outcome in outcomes if outcome.scenario.name == scenario]
        arrivals = found[0].scenario.arrivals
        parts.append(
            f"{scenario}: {counted(len(arrivals), 'connection')} in "
            f"{arrivals[-1].at - arrivals[0].at:.1f} s, "
            f"{counted(len(found[0].scenario.speeds), 'worker')}\n{_table(found)}"
        )
    return "\n\n".join(parts)


def _table(outcomes: Sequence[Outcome]) -> str:
    rows = [_COLUMNS]
    for outcome in outcomes:
        result = outcome.result
        rows.append(
            (
                outcome.scheduler,
                f"{result.taken_max_mean:.3f}",
                f"{result.open_max_mean:.3f}",
                f"{result.open_gini:.3f}",
                f"{result.mean_wait * 1000:.2f}",
                f"{result.p99_wait * 1000:.2f}",
            )
        )
    return aligned(rows, text={0})


def _figure_class() -> Any:
    """Import what draws: only when it is asked for, as it is optional and takes 0.3 s."""
    try:
        return importlib.import_module("matplotlib.figure").Figure
    except ImportError as error:
        raise click.UsageError(
            f"--plot needs matplotlib ({error}): pip install 'prefork[plot]'"
        ) from None


def _draw(outcomes: Sequence[Outcome], path: Path, figure_class: Any) -> None:
    bars = [
        Bar(
            outcome.scenario.name,
            outcome.scheduler,
            (
                outcome.result.open_max_mean,
                outcome.result.open_gini,
                outcome.result.p99_wait * 1000,
            ),
        )
        for outcome in outcomes
    ]
    try:
        draw(bars, _PANELS, figure_class).savefig(path, format="png")
    except OSError as error:
        raise click.UsageError(f"--plot {path}: {reason(error)}") from None
