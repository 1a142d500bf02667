"""The summary of a profile: one text with tables, of what all workers of a run have written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from host.hookspecs import TABLE
from host.text import aligned, counted

_OUTSIDE = frozenset(row.name for row in TABLE if not row.in_turn)
"""Hooks that are called while the loop does not turn."""
_BAR = 40
_Record = Mapping[str, Any]


def summarize(records: Sequence[_Record], missing: int, directory: object) -> str:
    """Return the tables, ready to be printed.

    Args:
        records: what the workers have written; see `Recorder.measured`.
        missing: how many have written nothing.
        directory: where the files are.
    """
    workers = counted(len(records), "worker")
    lost = f"; missing, since they have died: {missing}" if missing else ""
    parts = [f"profile of {workers}, in {directory}{lost}"]
    if records:
        parts += [_hooks(records), _turns(records), _workers(records)]
    return "\n\n".join(parts) + "\n"


def _hooks(records: Sequence[_Record]) -> str:
    """Say what each hook of each plugin has taken, and what is left for the host itself."""
    totals: dict[tuple[str, str], tuple[int, float, float]] = {}
    for each in (hook for record in records for hook in record["hooks"]):
        key = each["plugin"], each["hook"]
        calls, seconds, longest = totals.get(key, (0, 0.0, 0.0))
        totals[key] = (
            calls + each["calls"],
            seconds + each["seconds"],
            max(longest, each["longest"]),
        )
    busy = sum(record["busy"] for record in records)
    rest = busy - sum(took for (_, hook), (_, took, _) in totals.items() if hook not in _OUTSIDE)
    rows = [
        (
            plugin,
            hook,
            str(calls),
            f"{seconds:.3f}",
            f"{seconds / calls * 1e6:.1f}",
            f"{longest * 1e3:.3f}",
            "-" if hook in _OUTSIDE else _percent(seconds, busy),
        )
        for (plugin, hook), (calls, seconds, longest) in sorted(
            totals.items(), key=lambda item: -item[1][1]
        )
    ]
    rows.append(("(the host)", "all else", "-", f"{rest:.3f}", "-", "-", _percent(rest, busy)))
    heading = ("PLUGIN", "HOOK", "CALLS", "SECONDS", "MEAN us", "LONGEST ms", "BUSY %")
    return aligned([heading, *rows], text={0, 1})


def _turns(records: Sequence[_Record]) -> str:
    """Show how long turns of the loop were: so long an event may have had to wait."""
    columns = zip_longest(*(record["turns"] for record in records), fillvalue=0)
    counts = [sum(column) for column in columns]
    total, most = sum(counts), max(counts, default=0)
    first = next((place for place, count in enumerate(counts) if count), 0)
    rows = [
        (_limit(1 << place), str(count), _percent(count, total), "#" * round(_BAR * count / most))
        for place, count in enumerate(counts[first:], first)
    ]
    return aligned([("TURNS BELOW", "COUNT", "%", ""), *rows], text={3})


def _workers(records: Sequence[_Record]) -> str:
    heading = (
        "SLOT",
        "PID",
        "SECONDS",
        "BUSY %",
        "TURNS",
        "EVENTS",
        "EVENTS/TURN",
        "LONGEST ms",
        "WAITS",
        "ACCEPTED",
        "USER s",
        "SYSTEM s",
        "SWITCHED",
        "PREEMPTED",
    )
    rows = []
    for each in records:
        turns = sum(each["turns"])
        rows.append(
            (
                str(each["slot"]),
                str(each["pid"]),
                f"{each['seconds']:.1f}",
                _percent(each["busy"], each["busy"] + each["waiting"]),
                str(turns),
                str(each["events"]),
                f"{each['events'] / max(turns, 1):.2f}",
                f"{each['longest_turn'] * 1e3:.3f}",
                str(each["waits"]),
                str(each["accepted"]),
                f"{each['user']:.2f}",
                f"{each['system']:.2f}",
                str(each["voluntary_switches"]),
                str(each["involuntary_switches"]),
            )
        )
    return aligned([heading, *rows], text=())


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f}" if whole else "-"


def _limit(microseconds: int) -> str:
    if microseconds < 1_000:
        return f"{microseconds} us"
    if microseconds < 1_000_000:
        return f"{microseconds / 1e3:.4g} ms"
    return f"{microseconds / 1e6:.4g} s"
