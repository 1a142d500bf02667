"""Writes the reference pages from what the code itself says.

python docs/generate.py          writes them
python docs/generate.py --check  only tells which are out of date, and fails if any is
"""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from host import hookspecs, settings
from host.ops import metrics
from host.plugin.binding import HOOKS
from host.telemetry import events

FOLDER = Path(__file__).resolve().parent

PARTS = ("Runs in", "Calls", "Blocking", "Args", "Returns", "Fails", "Example")
"""The parts of a hook's docstring after its first sentence; `Returns` for `choose_*` only."""

_INTRODUCTION = """\
# Hooks

What a plugin can implement. `on_*` tells: answers are ignored, and everyone entitled hears it.
`choose_*` asks: the first answer other than None wins.

Mark an implementation with `hookimpl`. It may leave out arguments that it does not need, and its
arguments have no default values. Plugins are called in the order in which they are selected, unless
they [say otherwise](order.md).

This page is made from the specifications in `host/hookspecs.py` by `docs/generate.py`.
"""

_LEFT_OUT = """\
A plugin that is no protocol and keeps failing is left out for a while: it is not called for the
hooks with "yes" in the last column.
"""


@dataclass(frozen=True, slots=True)
class HookDoc:
    """A hook's docstring in its parts.

    Attributes:
        summary: its first sentence.
        parts: the text of each part by name, in the order in which they are written.
    """

    summary: str
    parts: Mapping[str, str]

    @property
    def args(self) -> dict[str, str]:
        """What each argument means, by name."""
        found = re.findall(r"^(\w+): (.*(?:\n[ \t]+.*)*)", self.parts.get("Args", ""), re.MULTILINE)
        return {name: " ".join(text.split()) for name, text in found}


def parse(docstring: str) -> HookDoc:
    """Split a hook's docstring into its parts."""
    summary, _, rest = inspect.cleandoc(docstring).partition("\n\n")
    parts: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in rest.splitlines():
        if heading := re.match(r"([A-Z][a-z]+(?: [a-z]+)?):(?: |$)(.*)", line):
            lines = parts.setdefault(heading[1], [])
            lines.append(heading[2])
        else:
            lines.append(line)
    return HookDoc(" ".join(summary.split()), {name: _text(lines) for name, lines in parts.items()})


def _text(lines: list[str]) -> str:
    first, rest = lines[0], inspect.cleandoc("\n" + "\n".join(lines[1:]))
    return f"{first}\n{rest}".strip()


def hooks() -> str:
    """Return the page about hooks."""
    table = ["| hook | runs in | called | may be left out |\n|---|---|---|---|"]
    for row in hookspecs.TABLE:
        cells = [f"[`{row.name}`](#{row.name})", row.process.value, row.audience.value]
        table.append(f"| {' | '.join(cells)} | {'yes' if row.guarded else 'no'} |")
    docs = {name: parse(getattr(hookspecs, name).__doc__) for name in HOOKS}
    sections = [_INTRODUCTION, "\n".join(table), _LEFT_OUT]
    sections.extend(_section(name, doc) for name, doc in docs.items())
    return "\n\n".join(section.strip("\n") for section in sections) + "\n"


def _section(name: str, doc: HookDoc) -> str:
    signature = inspect.signature(getattr(hookspecs, name))
    out = [f"## {name}", f"```python\n{name}{signature}\n```".replace("'", ""), doc.summary]
    facts: list[str] = []
    for part, text in doc.parts.items():
        if part == "Args":
            facts.extend(f"- **`{arg}`** · {meaning}" for arg, meaning in doc.args.items())
        elif part != "Example":
            facts.append(f"- **{part}** · {' '.join(text.split())}")
    # Two blank lines, as formatters want them in a module; docstrings have one, to be short.
    example = doc.parts["Example"].replace("\n\n@hookimpl", "\n\n\n@hookimpl")
    out += ["\n".join(facts), f"```python\n{example}\n```"]
    return "\n\n".join(out)


_EVENTS_INTRODUCTION = """\
# Events

What the log tells. Text lines show the sentence; a field named `traceback` is printed below it.
JSON lines have the sentence as `message`, the name of the event as `event`, that of the host as
`host`, and each field as a key of its own, beside `time`, `level` and `pid`.

This page is made from `host/telemetry/events.py` by `docs/generate.py`.
"""


def event_list() -> str:
    """Return the page about events."""
    return "\n".join((_EVENTS_INTRODUCTION, *map(_event, events.EVENTS)))


def _event(event: events.Event) -> str:
    sentence = re.sub(r"\{(\w+):([a-z ]{2,})\}", r"*\1* \2s", event.sentence)
    sentence = re.sub(r"\{(\w+)[^}]*\}", r"*\1*", sentence)
    name = f'<a id="{event.name}"></a>`{event.name}` · {event.level.name.lower()}'
    extra = ", ".join(f"`{field}`" for field in event.extra)
    more = f":   Further fields: {extra}\n" if extra else ""
    return f"{name}\n:   {sentence}\n{more}"


_METRICS_INTRODUCTION = """\
# Metrics

What `/metrics` has ([Monitoring](monitoring.md)). Counters are those of all workers that there have
been since the host was started, over reloads too, and never fall; those with a `pid` are of one
process. `listener` is an address and `plugin` the plugin that serves it. No label names a client.

This page is made from `host/ops/metrics.py` by `docs/generate.py`.
"""


def metric_list() -> str:
    """Return the page about metrics."""
    table = ["| metric | kind | labels | what it is |\n|---|---|---|---|"]
    for metric in metrics.METRICS:
        labels = ", ".join(f"`{each}`" for each in metric.labels)
        table.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |")
    return f"{_METRICS_INTRODUCTION}\n" + "\n".join(table) + "\n"


_DECISIONS_INTRODUCTION = """\
# Decisions

One page each: context, decision, what we gave up.

This page is made from the records by `docs/generate.py`.
"""


def decisions() -> str:
    """Return the page that lists the decision records."""
    lines = []
    for record in sorted((FOLDER / "decisions").glob("[0-9]*.md")):
        title = record.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        lines.append(f"- [{title}]({record.name})\n")
    return f"{_DECISIONS_INTRODUCTION}\n{''.join(lines)}"


_SHOWN = re.compile(r"<!-- (contrib/\S+?)(?:: ([\w ]+))? -->\n```(\w*)\n.*?^```$", re.M | re.S)
"""Where a page shows a file, or only the lines that set these keys."""

WITH_FILES = ("systemd.md", "monitoring.md", "deployment.md")
"""Pages that are written by hand, but for the files of `contrib` that they show."""


PARTLY = (*WITH_FILES, "capacity.md")
"""Pages that are written by hand, but for what they show."""


def with_files(page: str) -> str:
    """Return a page with the files that it shows as they are now."""
    return _SHOWN.sub(_show, (FOLDER / page).read_text(encoding="utf-8"))


def _show(found: re.Match[str]) -> str:
    name, keys, language = found.groups()
    lines = (FOLDER.parent / name).read_text(encoding="utf-8").splitlines()
    if keys:
        lines = [line for line in lines if line.partition("=")[0] in keys.split()]
        name = f"{name}: {keys}"
    return "\n".join([f"<!-- {name} -->", f"```{language}", *lines, "```"])


def capacity() -> str:
    """Return the page on capacity with its tables, which `bench.capacity` computes."""
    if "bench" not in sys.modules:  # it is never installed, so it is imported by its place
        place = FOLDER.parent / "bench" / "__init__.py"
        spec = importlib.util.spec_from_file_location("bench", place)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules["bench"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    tables = importlib.import_module("bench.capacity.tables")
    text: str = tables.fill((FOLDER / "capacity.md").read_text(encoding="utf-8"))
    return text


PAGES: Mapping[str, Callable[[], str]] = {
    "hooks.md": hooks,
    "settings.md": settings.reference,
    "events.md": event_list,
    "metrics.md": metric_list,
    "decisions/index.md": decisions,
    "capacity.md": capacity,
    **{page: partial(with_files, page) for page in WITH_FILES},
}
"""Each generated page and the function that makes its text."""


def stale(folder: Path = FOLDER) -> list[str]:
    """Return the names of pages that are not what the code says now."""
    return [name for name, make in PAGES.items() if _read(folder / name) != make()]


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def main(arguments: list[str], folder: Path = FOLDER) -> int:
    """Write the pages, or check them; return the exit code."""
    outdated = stale(folder)
    if arguments == ["--check"]:
        for name in outdated:
            print(f"docs/{name} is out of date: run python docs/generate.py")
        return 1 if outdated else 0
    for name in outdated:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(PAGES[name](), encoding="utf-8")
        print(f"docs/{name} written")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
