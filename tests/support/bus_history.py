"""A protocol whose workers use the bus as hard as they can, and write down all that they see of it.

Each worker has a file of its own, with one JSON list a line: what happened, when (in seconds of
time.monotonic(), which all processes of a machine share), and what belongs to it, as
`bus_checker.py` reads it. A worker publishes numbered messages, claims, uses and gives up keys, and
raises a number of its own in a table; when there is the file `stop` it gives up its keys and says
the last number of each topic once more.
"""

from __future__ import annotations

import json
import os
import random
import time
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from host import BUS_LEFT, BUS_LOST, BUS_TAKEN, Connection, Message, Worker, hookimpl

TOPICS = ("room.red", "room.blue", "other")
PREFIX = "room."
KEYS = ("north", "south", "east")
TABLE = "numbers"
MOST_CHANGES = 20
"""So many changes may have no answer."""


class Options(BaseModel):
    """Where the files are, what time passes between two turns of a worker, and the seed."""

    folder: str
    every_seconds: float = 0.01
    seed: int = 0


class History:
    def __init__(self, options: Options) -> None:
        self._options = options
        self._folder = Path(options.folder)

    @hookimpl
    def on_worker_start(self, worker: Worker) -> None:
        self._worker, self._bus = worker, worker.bus
        self._random = random.Random(f"{self._options.seed} {worker.bus.member}")
        self._numbers = dict.fromkeys(TOPICS, 0)
        self._asked: set[str] = set()
        self._held: dict[str, int] = {}
        self._is_over = False
        self._table = worker.bus.table(TABLE)
        self._value = self._open = 0
        self._is_sure = True
        path = self._folder / f"{worker.bus.member.replace(':', '-')}.jsonl"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._note("begin", worker.bus.member)
        self._listen()
        worker.call_later(self._options.every_seconds, self._turn)

    @hookimpl
    def on_worker_stop(self, worker: Worker) -> None:
        self._note("end")

    @hookimpl
    def on_readable(self, connection: Connection) -> None:
        connection.write(connection.read())

    def _note(self, what: str, *details: Any) -> None:
        line = json.dumps([what, time.monotonic(), *details], separators=(",", ":"))
        os.write(self._file, line.encode() + b"\n")

    def _listen(self) -> None:
        told = {BUS_LOST: "lost", BUS_LEFT: "left", BUS_TAKEN: "taken"}
        for topic, what in told.items():
            self._bus.subscribe(topic, partial(self._tell, what))
        for topic in TOPICS:
            self._bus.subscribe(
                topic, partial(self._hear, topic), partial(self._note, "ready", topic)
            )
        heard = f"{PREFIX}*"
        ready = partial(self._note, "ready", heard)
        self._bus.subscribe(PREFIX, partial(self._hear, heard), ready, prefix=True)

    def _tell(self, what: str, message: Message) -> None:
        text = message.payload.decode()
        self._note(what, text)
        if what == "taken":
            self._held.pop(text, None)
        elif what == "lost":
            self._be_unsure()

    def _hear(self, heard: str, message: Message) -> None:
        number = int(message.payload)
        self._note("hear", heard, message.topic, message.sender, number, message.retained)
        if not message.retained and self._random.random() < 0.1:
            looked = partial(self._looked, message.sender, message.topic, number)
            self._table.get(message.sender, looked)

    def _looked(self, sender: str, topic: str, number: int, known: bool, value: Any) -> None:
        if known:
            self._note("looked", sender, topic, number, int(value or 0))

    def _change(self) -> None:
        """Raise the number of this worker, or try to though another one is there."""
        if not self._is_sure or self._open >= MOST_CHANGES:
            return
        is_right, number = self._random.random() < 0.7, self._value + 1
        before = b"%d" % self._value if self._value else None
        self._note("change", number, is_right)
        self._open += 1
        changed = partial(self._changed, number, is_right)
        expected = before if is_right else b"another"
        self._table.compare_and_set(self._bus.member, expected, b"%d" % number, changed)
        if is_right:
            self._value = number

    def _changed(self, number: int, is_right: bool, done: bool | None) -> None:
        self._open -= 1
        self._note("changed", number, is_right, done)
        if done is None:
            self._be_unsure()

    def _be_unsure(self) -> None:
        """Read what there is as soon as nothing is under way: the broker may have forgotten it."""
        if self._is_sure:
            self._is_sure = False
            self._read()

    def _read(self) -> None:
        if self._open:
            self._worker.call_later(0.02, self._read)
        else:
            self._table.get(self._bus.member, self._synced)

    def _synced(self, known: bool, value: bytes | None) -> None:
        if known:
            self._value, self._is_sure = int(value or 0), True
            self._note("synced", self._value)
        else:
            self._worker.call_later(0.02, self._read)

    def _turn(self) -> None:
        if not self._is_over:
            self._is_over = (self._folder / "stop").exists()
            if self._is_over:
                self._finish()
            else:
                self._change()
                self._publish(self._random.choice(TOPICS))
                self._use_key(self._random.choice(KEYS))
        self._worker.call_later(self._options.every_seconds, self._turn)

    def _publish(self, topic: str, retry: bool = False) -> None:
        number = self._numbers[topic] + 1
        wants_done = self._random.random() < 0.5
        retain = self._random.choice((0, 0, 3)) if topic == TOPICS[0] else 0
        at = time.monotonic()
        done = partial(self._note, "done", topic, number) if wants_done else None
        taken = self._bus.publish(topic, b"%d" % number, retain=retain, done=done)
        if taken:
            self._numbers[topic] = number
            self._note("publish", topic, number, at, wants_done)
            self._note("behind", topic, number, self._value)
        elif retry:
            self._worker.call_later(0.05, lambda: self._publish(topic, retry=True))

    def _use_key(self, key: str) -> None:
        if key in self._held:
            before = time.monotonic()
            fence = self._bus.fence(key)
            if fence is not None:
                self._note("write", key, fence, before)
            self._held[key] -= 1
            if self._held[key] <= 0:
                self._release(key)
        elif key not in self._asked:
            self._asked.add(key)
            self._note("claim", key)
            self._bus.claim(key, partial(self._claimed, key))

    def _claimed(self, key: str, done: bool) -> None:
        self._asked.discard(key)
        self._note("owned", key, done, self._bus.fence(key) if done else None)
        if done:
            self._held[key] = self._random.choice((1, 5, 20, 20, 300))
            if self._is_over:
                self._release(key)

    def _release(self, key: str) -> None:
        self._held.pop(key, None)
        self._note("release", key)
        self._bus.release(key)

    def _finish(self) -> None:
        """Give up all keys, and publish one more message on each topic, however long it takes."""
        for key in tuple(self._held):
            self._release(key)
        if self._open:
            self._worker.call_later(0.02, self._finish)
            return
        for topic in TOPICS:
            self._publish(topic, retry=True)
        self._note("finish")
