"""A plugin for each rule of the doctor that breaks that rule and no other, and hostile ones.

`# here` is in the line that the finding has to point at; without it, it points at the file.
"""

from __future__ import annotations

from textwrap import dedent, indent

HEAD = "from host import Connection, Worker, hookimpl\n"
READS = """
    @hookimpl
    def on_readable(self, connection):
        connection.write(connection.read())
"""


def in_class(body: str) -> str:
    """Return a protocol whose class has more in it."""
    return f"{HEAD}class Ill:\n{indent(dedent(body).strip(), '    ')}\n{READS}"


def in_hook(body: str, before: str = "") -> str:
    """Return a protocol that does something when it has read."""
    lines = indent(dedent(body).strip(), "        ")
    return f"{HEAD}{dedent(before).strip()}\nclass Ill:{READS}{lines}\n"


def at_import(body: str) -> str:
    """Return a protocol in whose module something is done."""
    return f"{dedent(body).strip()}\n{HEAD}class Ill:{READS}"


def with_options(body: str) -> str:
    """Return a protocol with options."""
    head = "from pydantic import BaseModel, Field\n" + HEAD
    taken = "class Ill:\n    def __init__(self, options): ...\n"
    return f"{head}{dedent(body).strip()}\n{taken}{READS}"


BY_RULE = {
    "refused": at_import("from host import hookspecs") + "    hookspecs = hookspecs\n",
    "import-failed": at_import("raise RuntimeError('no') # here"),
    "construct-failed": in_class("def __init__(self): 1 / 0 # here"),
    "import-ends": at_import("import os; os.abort() # here"),
    "ambiguous": f"{HEAD}class One:{READS}class Two:{READS}",
    "no-hook": "X = 1\n",
    "unknown-hook": in_class("@hookimpl\ndef on_acept(self, connection): ... # here"),
    "unmarked-hook": in_class("def on_close(self, connection): ... # here"),
    "near-miss": in_class("def on_closed(self, connection): ... # here"),
    "looks-like-hook": in_class("def data_received(self, data): ... # here"),
    "not-a-function": in_class("on_close = 1"),
    "wrong-kind": in_class("@hookimpl\nasync def on_close(self, connection): ... # here"),
    "wrong-argument": in_class("@hookimpl\ndef on_close(self, conection): ... # here"),
    "wrong-annotation": in_class(
        """
        @hookimpl
        def on_drain(
            self,
            connection: Worker, # here
        ): ...
        """
    ),
    "ignored-answer": in_class("@hookimpl\ndef on_close(self) -> bool: return True # here"),
    "never-called": f"{HEAD}@hookimpl\ndef on_drain(connection): ... # here\n",
    "declaration": in_class("host_plugin = 1"),
    "misspelt-order": in_class("host_plugin = {'after': ['ehco']}"),
    "requirement": in_class("host_plugin = {'requires': ['nobody']}"),
    "first-and-last": in_class("@hookimpl(tryfirst=True, trylast=True)\ndef on_close(self): ..."),
    "options-model": in_class("class Options: ..."),
    "options-invalid": with_options("class Options(BaseModel):\n    most: int = 1"),
    "options-default": with_options(
        "class Options(BaseModel):\n    most: int = Field(default=0, ge=1)"
    ),
    "options-schema": with_options(
        """
        class Options(BaseModel, arbitrary_types_allowed=True):
            most: memoryview | None = None
        """
    ),
    "leaves-thread": at_import(
        """
        import threading
        threading.Thread(target=threading.Event().wait, daemon=True).start() # here
        """
    ),
    "native-threads": at_import(
        """
        import ctypes
        c = ctypes.CDLL(None)
        c.pthread_create(ctypes.byref(ctypes.c_ulong()), None, c.pause, None)
        """
    ),
    "leaves-socket": at_import("import socket\nONE = socket.socket() # here"),
    "leaves-event-loop": at_import("import asyncio\nLOOP = asyncio.new_event_loop() # here"),
    "leaves-file": at_import("LOG = open('log.txt', 'a') # here"),
    "leaves-process": at_import(
        "import subprocess\nONE = subprocess.Popen(['sleep', '1000']) # here"
    ),
    "closes-descriptors": at_import("import os\nos.closerange(3, 1000)"),
    "changes-signals": at_import("import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)"),
    "changes-process": at_import("import os\nos.umask(0o777)"),
    "takes-epoll": at_import("import select\ndel select.epoll"),
    "takes-functions": at_import("import os\nos.fork = None"),
    "leaves-timer": at_import("import signal\nsignal.alarm(1000)"),
    "lowers-limits": at_import("import sys\nsys.setrecursionlimit(300)"),
    "prints": at_import("print('hello')"),
    "blocking-call": in_hook("time.sleep(1) # here", "import time"),
    "may-block": in_hook("self.db.execute('select 1') # here", "import sqlite3")
    + "    def connect(self): self.db = sqlite3.connect('x')\n",
    "endless-loop": in_hook("while True: # here\n    connection.read()"),
    "pool-waits": in_hook("connection.worker.pool().apply(len, ('x',)) # here"),
    "writes-text": in_hook("connection.write('hello') # here"),
    "reads-nothing": f"{HEAD}@hookimpl\ndef on_readable(connection): ... # here\n",
    "not-read": at_import("X = 1 #" + "x" * 2_000_000),
    "no-test": at_import("X = 1"),
}
"""By the code of the rule. Those that need more than a file have tests of their own."""

HOSTILE = {
    "exits": ("import-failed", at_import("import sys; sys.exit(3) # here")),
    "exits_in_its_constructor": ("construct-failed", in_class("def __init__(self): exit() # here")),
    "ends_its_process": ("import-ends", at_import("import os; os._exit(0)")),
    "kills_its_process_group": ("import-ends", at_import("import os; os.kill(0, 9)")),
    "crashes": ("import-ends", at_import("import ctypes; ctypes.string_at(0) # here")),
    "keyboard_interrupt": ("import-failed", at_import("raise KeyboardInterrupt")),
    "raises_without_a_text": (
        "import-failed",
        at_import(
            """
            class Bad(BaseException):
                def __str__(self): return 1 / 0
            raise Bad # here
            """
        ),
    ),
    "has_a_class_that_answers_nothing": (
        "refused",
        at_import(
            """
            class Kind(type):
                def __getattribute__(self, name): raise RuntimeError
            class Other(metaclass=Kind): ...
            """
        ),
    ),
    "is_no_python": ("import-failed", "def ( # here\n"),
    "is_no_text": ("import-failed", "x = 1\0\n"),
    "is_nested_too_deep": ("import-failed", f"x = {'+'.join(['1'] * 100_000)}\n"),
    "calls_itself": ("import-failed", at_import("def f(): f() # here\nf()")),
    "forks_and_comes_back": ("leaves-process", at_import("import os; os.fork() # here")),
    "leaves_a_daemon": (
        "leaves-process",
        at_import(
            """
            import os, signal
            if os.fork() == 0: # here
                os.setsid()
                if os.fork() == 0:
                    signal.pause()
                os._exit(0)
            os.wait()
            """
        ),
    ),
    "closes_everything": ("closes-descriptors", at_import("import os; os.closerange(0, 4096)")),
    "sends_escapes": ("prints", at_import("print('\\x1b[31m')")),
}
"""What is done, the code of the one finding, and the text."""

HANGING = {
    "for_ever": at_import(
        """
        import signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True: pass # here
        """
    ),
    "printing_for_ever": at_import("while True:\n    print('x' * 1000, flush=True) # here"),
    "stopped": at_import("import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"),
}
"""Plugins that are never imported."""
