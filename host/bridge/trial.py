"""Tries whether a broker lets a bridge do all that it does, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from host.bridge.entries import foreign
from host.bridge.link import Link, LinkError, ask, connect, load
from host.bridge.lua import PRELUDE
from host.bridge.opening import open_link
from host.bridge.scripts import SCRIPTS
from host.bus.broker import BrokerSettings

_EXAMPLES: Final[dict[str, Sequence[str]]] = {
    "DEL": ("hash",),
    "HDEL": ("hash", "f"),
    "HEXISTS": ("hash", "f"),
    "HGET": ("hash", "f"),
    "HGETALL": ("hash",),
    "HINCRBY": ("hash", "f", "1"),
    "HLEN": ("hash",),
    "HMGET": ("hash", "f"),
    "HSET": ("hash", "f", "1"),
    "HSETNX": ("hash", "f", "1"),
    "LINDEX": ("list", "0"),
    "LLEN": ("list",),
    "LPOP": ("list",),
    "LRANGE": ("list", "0", "-1"),
    "PERSIST": ("hash",),
    "PEXPIRE": ("hash", "1000"),
    "RPUSH": ("list", "x"),
    "SADD": ("set", "x"),
    "SMEMBERS": ("set",),
    "SREM": ("set", "x"),
    "TIME": (),
    "ZADD": ("sorted", "1", "x"),
    "ZPOPMIN": ("sorted",),
    "ZRANGE": ("sorted", "0", "-1"),
    "ZRANGEBYSCORE": ("sorted", "-inf", "0"),
    "ZREM": ("sorted", "x"),
    "ZREMRANGEBYSCORE": ("sorted", "-inf", "0"),
}
"""A key and the other words of each command that scripts use; PUBLISH has a channel instead."""


def commands() -> list[str]:
    """Return the commands that scripts use."""
    text = "".join(SCRIPTS.values())
    return sorted(set(re.findall(r"(?:redis\.p?call|\btry)\('([A-Z]+)'", text)))


def _attempt(command: str) -> str:
    """Return a line that tries a command on a key of its own."""
    words = [f"'{command}'", *(f"'{word}'" for word in _EXAMPLES[command])]
    if len(words) > 1:
        words[1] = f"K .. {words[1]}"
    return f"attempt({', '.join(words)})"


_TRIAL: Final = (
    PRELUDE
    + """
local K, found = P .. 'check:' .. ARGV[1] .. ':', {}
local function attempt(...)
    local reply = redis.pcall(...)
    if type(reply) == 'table' and reply.err then
        found[#found + 1] = select(1, ...)
        found[#found + 1] = reply.err
    end
end
-- A broker that is full refuses what is written first; this makes no key.
attempt('ZADD', K, 'XX', '1', 'x')
local before = #found
attempt('DEL', K)
if #found > before then return found end
"""
    + "\n".join(_attempt(each) for each in commands() if each != "PUBLISH")
    + """
-- Nobody takes that for a message
attempt('PUBLISH', P .. 'live:check:' .. ARGV[1], '')
redis.call('DEL', K .. 'hash', K .. 'list', K .. 'set', K .. 'sorted')
return found
"""
)
"""A word for its keys → each command that is refused, and why; all in one step, so none stays."""


async def try_broker(settings: BrokerSettings) -> str:
    """Try a broker; return what it says that it is, and what is dangerous about it.

    Raises:
        LinkError: it cannot be used: all that it refuses.
    """
    opened = await open_link(settings, lambda _: None, lambda _: None, lambda: None, None)
    try:
        async with asyncio.timeout(settings.beat_seconds):
            memory = await ask(opened.link, "INFO", "memory")
            refused = [*await _refused(opened.link, opened.digests, settings.prefix)]
            for command in ("SUBSCRIBE", "PSUBSCRIBE"):
                refused += await _try_to_listen(settings, command)
    except TimeoutError:
        raise LinkError("it does not answer") from None
    finally:
        opened.link.close("it was tried")
    if refused:
        raise LinkError("; ".join(refused))
    found = f"Redis {opened.version}"
    memory = memory if isinstance(memory, bytes) else b""
    policy = re.search(rb"^maxmemory_policy:(allkeys-[\w-]+)", memory, re.MULTILINE)
    if policy is not None:
        name = policy[1].decode()
        found += f"; its maxmemory-policy {name} may throw away who owns what: it takes noeviction"
    return found


async def _refused(link: Link, digests: dict[str, str], prefix: str) -> Iterator[str]:
    """Run scripts; return what is refused."""
    digest = (await load(link, {"trial": _TRIAL}))["trial"]
    word = secrets.token_hex(8)
    found = await ask(link, "EVALSHA", digest, 1, prefix, word)
    if found:
        return _told(
            dict.fromkeys(zip(map(_text, found[::2]), map(_text, found[1::2]), strict=True))
        )
    entry = await ask(link, "EVALSHA", digests["foreign"], 1, prefix, f"check:{word}")
    return iter([foreign(prefix, *entry)] if entry else [])


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _told(refused: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Say what is refused: commands that a user has no right to are told of together."""
    causes: dict[str, list[str]] = defaultdict(list)
    for command, cause in refused:
        is_right = re.search(r"to run the|can't run this command", cause)
        causes["its user has no right to" if is_right else cause].append(command)
    for cause, names in causes.items():
        words = ", ".join(names)
        yield f"{cause} {words}" if cause.endswith(" to") else f"it refuses {words}: {cause}"


async def _try_to_listen(settings: BrokerSettings, command: str) -> list[str]:
    """Listen to a channel and not any more, on a connection of its own; return what is refused."""
    heard: asyncio.Queue[object] = asyncio.Queue()
    link = await connect(
        *(settings.address, settings.password, heard.put_nowait, heard.put_nowait, lambda: None),
        settings.context,
    )
    channel = f"{settings.prefix}live:check{'*' if command.startswith('P') else ''}"
    try:
        for each in (command, command.replace("SUB", "UNSUB")):
            link.call(None, each, channel)
            answer = await heard.get()
            if isinstance(answer, str):
                return [f"it refuses {each} {channel}: {answer.rpartition(': ')[2]}"]
    finally:
        link.close("it was tried")
    return []
