"""The command `plugins doctor`: what is wrong with plugins, and what to do about it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence

import click

from host.cli import candidates
from host.cli.flags import Sources, with_sources
from host.cli.numbers import SECONDS
from host.doctor.diagnosis import diagnose
from host.doctor.rules import RULES, Report, Severity
from host.plugin.discovery import installed
from host.runtime import processes
from host.runtime.steps import finish
from host.settings import Loaded
from host.text import printable

_SECONDS = 10.0


@click.command("doctor")
@with_sources
@click.argument("plugin", required=False, shell_complete=candidates.plugins)
@click.option("--strict", is_flag=True, help="Exit with 1 for advice, too.")
@click.option(
    "--ignore",
    "ignored",
    metavar="CODE",
    multiple=True,
    type=click.Choice(tuple(RULES)),
    help="Leave out findings of this code. May be repeated.",
)
@click.option(
    "--timeout",
    "seconds",
    metavar="SECONDS",
    type=SECONDS,
    default=_SECONDS,
    show_default=True,
    help="How long it may take to import and construct a plugin.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(
    sources: Sources,
    plugin: str | None,
    strict: bool,
    ignored: tuple[str, ...],
    seconds: float,
    as_json: bool,
) -> None:
    """Say all that is wrong with PLUGIN, written as for --plugin; without it, with each plugin.

    The exit code is 1 if anything is an error. Each plugin is imported, in a process of its own.
    """
    if plugin is not None and plugin.startswith("no:"):
        raise click.UsageError(f"{plugin} leaves a plugin out, and names none")
    loaded = sources.load()
    texts = [plugin] if plugin is not None else _everything(loaded)
    processes.adopt_orphans()  # what a plugin starts and leaves behind is ended here
    reports = [diagnose(text, loaded, seconds).without(ignored) for text in texts]
    click.echo(_as_json(reports) if as_json else "\n".join(_lines(reports)))
    worst = (Severity.ERROR, Severity.ADVICE) if strict else (Severity.ERROR,)
    sys.exit(int(any(report.count(each) for report in reports for each in worst)))


def _everything(loaded: Loaded) -> list[str]:
    """Return what selects each plugin that is installed, and each that the settings select."""
    names = (entry.name for entry in finish(installed()).entries)
    selected = (text for text in loaded.settings.plugins if not text.startswith("no:"))
    return list(dict.fromkeys((*names, *selected)))


def _as_json(reports: Sequence[Report]) -> str:
    return json.dumps(
        {
            "plugins": [
                report._asdict() | {"findings": [each.as_dict() for each in report.findings]}
                for report in reports
            ],
            "errors": sum(report.count(Severity.ERROR) for report in reports),
            "advice": sum(report.count(Severity.ADVICE) for report in reports),
        },
        indent=2,
    )


def _lines(reports: Sequence[Report]) -> Iterator[str]:
    """Yield the lines for people; what a plugin has named or printed cannot reach the terminal."""
    for report in reports:
        head = f"{report.plugin} ({report.origin})" if report.origin else report.plugin
        yield printable(f"{head}: {_counted(report) or 'ok'}")
        for note in report.notes:
            yield printable(f"  note: {note}")
        for each in report.findings:
            yield printable(f"  {each.rule.severity} {each.code}: {each.message}")
            place = "  ".join(filter(None, (each.place, each.subject)))
            if place:
                yield printable(f"    at    {place}")
            yield printable(f"    cure  {each.cure or each.rule.cure}")
    if len(reports) > 1:
        broken = sum(bool(report.findings) for report in reports)
        yield f"{len(reports)} plugins, {broken or 'none'} with findings"
    if not reports:
        yield "no plugin is installed or selected"


def _counted(report: Report) -> str:
    errors, advice = report.count(Severity.ERROR), report.count(Severity.ADVICE)
    words = (f"{errors} error{'s' * (errors != 1)}", f"{advice} advice")
    return ", ".join(word for word, count in zip(words, (errors, advice), strict=True) if count)
