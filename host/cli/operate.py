"""The commands to a running host."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import click

from host.cli import screen
from host.cli.clients import busiest
from host.cli.clients import table as client_table
from host.cli.operation import SECONDS, Part, Target, command_line, of_table
from host.cli.probe import in_words, readiness
from host.cli.top import ORDERS, View, once
from host.control.client import ExitWatch, LostError, RefusedError, SilentError, ask
from host.control.commands import COMMANDS, MOST_CONNECTIONS, Command
from host.errors import RemoteError
from host.runtime import streams
from host.settings import AppliedSetting, render_text
from host.text import Count, printable

_RELOAD_SECONDS = 120.0
"""A reload loads everything twice, and waits until the new workers are ready."""
_STOP_MARGIN_SECONDS = 10.0
_LOOK_SECONDS = 0.1
_DAY_SECONDS = 86_400
_FINGERPRINT_DIGITS = 16
"""Enough to tell certificates apart; --json has them all."""


@of_table(
    "status",
    click.Option(["--stacks"], is_flag=True, help="Print the stacks of workers that hung, too."),
    click.Option(["--clients"], is_flag=True, help="Print who has most connections, too."),
)
def status(target: Target, ready: bool, stacks: bool, clients: bool) -> None:
    """Show the state of the host."""
    if ready:
        found = readiness(target.name, target.timeout or SECONDS)
        with suppress(OSError):  # the code is what is asked for
            target.show(found, lambda: [in_words(found)])
        if not streams.flush():
            streams.forget()
        sys.exit(0 if found["ready"] is True else 1)
    found = target.ask("status")
    if clients:
        found = found | _clients(target)
    target.show(found, lambda: _overview(found, stacks=stacks))


def _clients(target: Target) -> dict[str, Any]:
    """Return who has most connections; the workers have to be asked for that."""
    listed = target.ask("connections", limit=MOST_CONNECTIONS)
    settings = target.ask("applied")["settings"]
    return {
        "clients": busiest(listed["connections"], settings),
        "clients_are_all": not (listed["truncated"] or listed["unanswered"]),
    }


def _overview(found: Mapping[str, Any], *, stacks: bool) -> Iterator[Part]:
    yield from screen.overview(found, stacks=stacks)
    if "clients" in found:
        yield ""
        yield client_table(found["clients"])
        if not found["clients_are_all"]:
            yield "not all connections are counted: there are very many, or a worker did not answer"


@of_table("generations")
def generations(target: Target) -> None:
    """Show the generations."""
    found = target.ask("generations")
    target.show(found, lambda: [_generations(found["generations"])])


def _generations(found: Iterable[Mapping[str, Any]]) -> screen.Table:
    rows = [
        (
            each["generation"],
            each["state"],
            each["workers"],
            each["ready"],
            each["active"],
            None if each["seconds_left"] is None else screen.ago(each["seconds_left"]),
        )
        for each in found
    ]
    return screen.Table.of("GENERATION STATE WORKERS READY ACTIVE LEFT", rows)


@of_table("applied")
def applied(target: Target) -> None:
    """Show the settings that the host runs with."""
    found = target.ask("applied")
    rows = [
        AppliedSetting(*(printable(each[field]) for field in AppliedSetting._fields))
        for each in found["settings"]
    ]
    target.show(found, lambda: render_text(rows).splitlines())


@of_table("connections")
def connections(target: Target, **which: Any) -> None:
    """Show the open connections, or the first of those that are meant."""
    given = {name: value for name, value in which.items() if value is not None}
    found = target.ask("connections", **given)
    target.show(found, lambda: _connections(found, in_order="sort" in given))


def _connections(found: Mapping[str, Any], *, in_order: bool) -> Iterator[Part]:
    listed = found["connections"]
    if not in_order:
        listed = sorted(listed, key=lambda each: (each["slot"], -each["age_seconds"]))
    rows = [
        (
            each["id"],
            each["slot"],
            each["listener"],
            each["peer"],
            "" if each["tls"] is None else each["tls"]["version"].removeprefix("TLSv"),
            screen.ago(each["age_seconds"]),
            screen.ago(each["idle_seconds"]),
            each["bytes_in"],
            each["bytes_out"],
            each["unsent_bytes"],
            f"{each['doing']} ({screen.ago(each['doing_seconds'])})" if each["doing"] else "",
        )
        for each in listed
    ]
    yield screen.Table.of("ID SLOT LISTENER PEER TLS AGE IDLE IN OUT UNSENT DOING", rows)
    if found["unanswered"]:
        slots = ", ".join(map(str, found["unanswered"]))
        yield printable(f"no answer from the workers in these slots: {slots}")
    if found["truncated"]:
        yield f"only {len(rows)} are shown, and there are more: raise --limit"


@of_table("recent")
def recent(target: Target, slot: int | None) -> None:
    """Show the last events of workers, the newest last."""
    found = target.ask("recent", **({} if slot is None else {"slot": slot}))
    target.show(found, lambda: _recent(found))


def _recent(found: Mapping[str, Any]) -> Iterator[Part]:
    rows = [
        (f"{each['seconds_ago']:.3f} s", each["slot"], each["pid"], printable(each["text"]))
        for each in found["events"]
    ]
    yield screen.Table.of("AGO SLOT PID EVENT", rows)


@of_table("why")
def why(target: Target, id: str) -> None:
    """Show which worker was chosen for a connection, and out of which candidates."""
    found = target.ask("why", id=id)
    target.show(found, lambda: _why(found))


def _why(found: Mapping[str, Any]) -> Iterator[Part]:
    chosen, when = found["slot"], screen.ago(found["seconds_ago"])
    yield printable(
        f"connection {found['id']} on {found['listener']}: {found['scheduler']} chose the worker "
        f"in slot {chosen} (pid {found['pid']}) {when} ago, out of"
    )
    rows = [
        (slot := each["slot"], each["active"], each["outstanding"], "chosen" * (slot == chosen))
        for each in found["candidates"]
    ]
    yield screen.Table.of("SLOT ACTIVE OUTSTANDING STATE", rows)
    if found["omitted"]:
        yield printable(f"and {found['omitted']} more")
    if found["doing"]:
        yield printable(f"it does: {found['doing']}")
    yield from map(printable, found["tasks"])


@command_line(
    "top",
    (),
    "Show the state of the host, again and again.",
    click.Option(
        ["--sort"],
        type=click.Choice(list(ORDERS)),
        default="slot",
        show_default=True,
        help="Workers in this order: the largest first, but for slots.",
    ),
    click.Option(["--reverse"], is_flag=True, help="Turn the order around."),
)
def top(target: Target, sort: str, reverse: bool) -> None:
    """Show the state of the host each second; once if nobody looks."""
    view = View(sort, reverse)
    if sys.stdout.isatty() and not target.as_json and os.environ.get("TERM") != "dumb":
        from host.cli.watch import watch  # noqa: PLC0415  (what draws takes 25 ms to import)

        watch(lambda: target.ask("status"), view)
        return
    found = target.ask("status")
    target.show(found, lambda: once(found, view))


@of_table("certificates")
def certificates(target: Target) -> None:
    """Show the certificates that are in use, those of one table together."""
    found = target.ask("certificates")
    target.show(found, lambda: [_certificates(found["certificates"])])


def _certificates(found: Iterable[Mapping[str, Any]]) -> screen.Table:
    rows = [
        (
            each["tls"],
            printable(", ".join(each["names"])),
            each["key_type"],
            each["not_after"],
            f"{each['seconds_left'] // _DAY_SECONDS} days",
            each["fingerprint"][:_FINGERPRINT_DIGITS],
        )
        for each in found
    ]
    return screen.Table.of("TLS NAMES KEY EXPIRES LEFT FINGERPRINT", rows)


@of_table("reload")
def reload(target: Target, certificates: bool) -> None:
    """Reload, and say how it went."""
    if certificates:
        renewed = target.ask("reload", certificates=True)
        names = ", ".join(renewed["certificates"])
        words = (
            f"new certificates in all workers: {names}" if names else "nothing is new in any file"
        )
        target.show(renewed, lambda: [words])
        return
    limit = target.timeout or _RELOAD_SECONDS
    deadline = time.monotonic() + limit
    number = _begin_reload(target, deadline)
    while (last := _outcome(target, number)) is None:
        if time.monotonic() > deadline:
            raise RemoteError(
                f"generation {number} is not ready after {limit:g} s (--timeout); `status` tells "
                "what goes on"
            )
        time.sleep(_LOOK_SECONDS)
    said = f"generation {last['generation']} {last['outcome']}"
    failed = last["outcome"] == "failed"
    if target.as_json or not failed:
        target.show(last, lambda: [printable(said)])
    if failed:
        reason = "\n".join(printable(line) for line in last["reason"].splitlines())
        raise RemoteError(f"{said}, and those before it go on: {reason}")


def _begin_reload(target: Target, deadline: float) -> int:
    """Have a reload begun; return the number of the generation that it starts."""
    while True:
        left = max(0.001, deadline - time.monotonic())
        try:
            return int(ask(target.name, "reload", {}, left)["generation"])
        except RefusedError as error:
            raise RemoteError(f"nothing was reloaded, and nothing has changed: {error}") from None
        except LostError:
            # Another reload has re-executed the host before it had read this request.
            if time.monotonic() > deadline:
                raise


def _outcome(target: Target, number: int) -> dict[str, Any] | None:
    """Return how the reload to that generation went; None as long as it is not decided."""
    try:
        last = target.ask("status")["last_reload"]
    except (LostError, SilentError):  # the host is just being re-executed
        return None
    if last is None or last["generation"] < number or last["outcome"] == "starting":
        return None
    return dict(last)


@of_table("stop", click.Option(["--no-wait"], is_flag=True, help="Do not wait until it has ended."))
def stop(target: Target, quick: bool, no_wait: bool) -> None:
    """Stop the host, and wait until it is gone."""
    with ExitWatch(target.name, target.timeout or SECONDS) as ending:
        found = target.ask("stop", quick=quick)
        if no_wait:
            target.show(found, lambda: [f"stopping: it ends within {found['seconds']:.0f} s"])
            return
        limit = target.timeout or found["seconds"] + _STOP_MARGIN_SECONDS
        if not ending.wait(limit):
            raise RemoteError(f'host "{target.name}" has not ended within {limit:g} s')
    target.show(found, lambda: ["stopped"])


def _sentence(command: Command, result: Mapping[str, Any]) -> str:
    """Return the command's sentence about its result; lists are written with commas."""
    fields = {name: _in_words(value) for name, value in result.items()}
    return printable(command.sentence.format_map(fields))


def _in_words(value: object) -> object:
    if isinstance(value, list):
        return ", ".join(value)
    return Count(value) if type(value) is int else value


def _with_sentence(command: Command) -> click.Command:
    """Make a command whose result is shown as its sentence in the table."""

    def run(target: Target, **args: Any) -> None:
        found = target.ask(command.name, **args)
        target.show(found, lambda: [_sentence(command, found)])

    return of_table(command.name)(run)


OPERATIONS: tuple[click.Command, ...] = (
    status,
    generations,
    applied,
    certificates,
    connections,
    recent,
    why,
    top,
    reload,
    stop,
    *(_with_sentence(command) for command in COMMANDS.values() if command.sentence),
)
"""A command line for each command of the table, and `top`."""
