"""Examines one plugin by all rules."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import suppress

from host.doctor import child
from host.doctor.blocking import check_blocking
from host.doctor.connection_use import check_connections
from host.doctor.examination import Subject, examine, found_in
from host.doctor.packaging import check_tests, check_typing
from host.doctor.rules import Finding, Report, Severity
from host.doctor.signatures import check_lookalikes, check_signatures
from host.doctor.source import FunctionNode, PluginSource, TooLargeError, read
from host.errors import PluginError
from host.plugin.binding import HOOKS
from host.plugin.catalog import file_of, written_declaration
from host.plugin.declarations import Declaration
from host.plugin.discovery import EntryPoint, Source, find, installed, locate_entry
from host.plugin.importing import homes
from host.plugin.ordering import cycles
from host.runtime.steps import finish
from host.settings import Loaded, nearest
from host.text import printable, shorten, suggest


def diagnose(text: str, loaded: Loaded, seconds: float) -> Report:
    """Examine the plugin that `text` selects.

    It is imported and constructed in a process of its own, which is killed if it takes too long.

    Args:
        text: as in the settings.
        loaded: settings, with the options of plugins.
        seconds: how long that may take.
    """
    entries = finish(installed()).entries
    try:
        source = finish(find(text, entries))
    except PluginError as error:
        return Report(error.plugin, error.origin or "", tuple(found_in(error, error.plugin, None)))
    path = source.path or file_of(source.module)
    home = shorten(str(path)) if path else source.target
    outcome = child.run(functools.partial(_examine, text, source, home, loaded, entries), seconds)
    findings = [each for each in outcome.said if isinstance(each, Finding)]
    notes = tuple(each for each in outcome.said if isinstance(each, str))
    if outcome.end is not None:
        findings.append(outcome.end._replace(place=_place(outcome.stack, source) or home))
    elif outcome.printed:
        first = printable(outcome.printed.strip().partition("\n")[0])
        findings.append(Finding("prints", f"it prints: {first}", home))
    return Report(source.name, source.origin, _sorted(findings), notes)


def _place(stack: str, source: Source) -> str | None:
    """Return the innermost place of the plugin in a stack that faulthandler has written."""
    own = tuple(homes(source))
    for file, line in re.findall(r'File "(.+)", line (\d+) in ', stack):
        if file.startswith(own):
            return f"{shorten(file)}:{line}"
    return None


def _sorted(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return findings once each, errors first; what Python cannot import need not be read."""
    broken = {"import-failed", "import-hangs", "import-ends"} & {each.code for each in findings}
    kept = [each for each in dict.fromkeys(findings) if not (broken and each.code == "not-read")]
    return tuple(sorted(kept, key=lambda each: each.rule.severity is Severity.ADVICE))


def _examine(
    text: str, source: Source, home: str, loaded: Loaded, entries: Sequence[EntryPoint]
) -> Iterator[Finding | str]:
    """Read the plugin's source, then load it."""
    others = dict(_located(source, entries))
    needed: set[str] = set()
    yield from check_typing(source)
    try:
        written = read(source)
        if written is not None:
            yield from check_tests(source, written.main.path)
            yield from check_signatures(written)
            yield from check_lookalikes(written)
            yield from check_blocking(written)
            yield from check_connections(written)
            needed |= set(_bringing({each.hook for each in written.hooks()}, others))
    except TooLargeError as error:
        yield Finding("not-read", str(error), home)
    except RecursionError:
        yield Finding("not-read", "an expression in it is nested too deep", home)
    declarations = dict(_declarations({**others, source.name: source}))
    yield from _check_order(source.name, declarations, home)
    waiting = [source.name, *needed]
    while waiting:
        required = {each.plugin for each in declarations[waiting.pop()].requires} & others.keys()
        waiting += required - needed
        needed |= required
    yield from examine(Subject(text, source, home, tuple(sorted(needed)), loaded))


def _located(source: Source, entries: Sequence[EntryPoint]) -> Iterator[tuple[str, Source]]:
    """Yield the other plugins that are installed, by name, without those that are broken."""
    for entry in entries:
        with suppress(PluginError):
            if entry.name != source.name:
                yield entry.name, locate_entry(entry)


def _declarations(sources: Mapping[str, Source]) -> Iterator[tuple[str, Declaration]]:
    """Yield what plugins declare as far as their source tells."""
    for name, source in sources.items():
        declared = None
        with suppress(PluginError):
            declared = written_declaration(source)
        yield name, declared or Declaration()


def _check_order(
    name: str, declarations: Mapping[str, Declaration], home: str
) -> Iterator[Finding]:
    """Yield what is wrong with the place that a plugin declares among those that are installed."""
    for circle in cycles(declarations):
        if name in circle:
            message = " -> ".join([*circle, circle[0]])
            yield Finding("order-cycle", f"each is to be called before the next: {message}", home)
    declared = declarations[name]
    for other in (*declared.after, *declared.before):
        near = nearest(other, declarations)
        if other not in declarations and near is not None:
            message = f'no plugin "{other}" is installed{suggest(near)}'
            yield Finding("misspelt-order", message, home)


def _bringing(hooks: Set[str], others: Mapping[str, Source]) -> Iterator[str]:
    """Yield the names of the plugins that bring some of these hooks."""
    wanted = hooks - HOOKS.keys()
    for name, source in others.items() if wanted else ():
        with suppress(TooLargeError):
            written = read(source)
            if written is not None and not wanted.isdisjoint(_brought(written)):
                yield name


def _brought(written: PluginSource) -> set[str]:
    """Return the hooks that a plugin specifies, in its own module or in one that it imports."""
    return {
        node.name
        for module in written.modules()
        for node in ast.walk(module.tree)
        if isinstance(node, FunctionNode)
        and any("hookspec" in ast.unparse(each) for each in node.decorator_list)
    }
