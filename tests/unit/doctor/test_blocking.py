"""What waits is found wherever a hook gets to, and nothing is that only looks like it."""

import pytest

from host.doctor.blocking import check_blocking

CLASS = """
{head}
class Plugin:
    def __init__(self):
        {made}
    @hookimpl
    def on_readable(self, connection):
        {body}
        connection.read()
    {more}
"""


def found(plugin, body, head="", made="pass", more=""):
    """Return the code and the expression of each finding in a hook with this body."""
    body = body.replace("\n", "\n        ")
    text = CLASS.format(head=head, made=made, body=body, more=more.replace("\n", "\n    "))
    return [(each.code, each.subject) for each in check_blocking(plugin(text))]


# Each: imports and the module's own names, what is in the hook.
WAITS = {
    "a sleep": ("import time", "time.sleep(1)"),
    "a sleep under another name": ("from time import sleep as nap", "nap(1)"),
    "a module under another name": ("import requests as r", "r.get('x')"),
    "a module of a package": ("import urllib.request", "urllib.request.urlopen('x')"),
    "a program": ("import subprocess", "subprocess.run(['ls'])"),
    "a connection": ("import socket", "socket.create_connection(('x', 1))"),
    "a terminal": ("", "input()"),
    "what is waited for at once": (
        "from concurrent.futures import ThreadPoolExecutor\nPOOL = ThreadPoolExecutor()",
        "POOL.submit(len, 'x').result()",
    ),
    "a look with a limit of time": ("import select", "select.select([1], [], [], 1)"),
    "a loop": ("import asyncio", "asyncio.new_event_loop().run_until_complete(x)"),
    "the end of a pool": (
        "from concurrent.futures import ThreadPoolExecutor\nPOOL = ThreadPoolExecutor()",
        "POOL.shutdown()",
    ),
    "a queue of the module": ("import queue\nQUEUE = queue.Queue()", "QUEUE.get()"),
    "a queue with a limit of time": ("import queue\nQUEUE = queue.Queue()", "QUEUE.get(timeout=1)"),
}


@pytest.mark.parametrize("what", WAITS)
def test_finds(plugin, what):
    head, call = WAITS[what]
    call_as_shown = call
    assert found(plugin, call, head) == [("blocking-call", call_as_shown)]


@pytest.mark.parametrize(
    ("made", "call"),
    [
        ("self.db = sqlite3.connect('x')", "self.db.execute('y')"),
        ("self.cursor = sqlite3.connect('x').cursor()", "self.cursor.execute('y')"),
        ("self.db: object = sqlite3.connect('x')", "self.db.commit()"),
    ],
)
def test_finds_what_may_wait(plugin, made, call):
    assert found(plugin, call, "import sqlite3", made) == [("may-block", call)]


def test_finds_what_a_with_statement_opens(plugin):
    body = "with sqlite3.connect('x') as db:\n    db.execute('y')"
    calls = ["sqlite3.connect('x')", "db.execute('y')"]
    assert found(plugin, body, "import sqlite3") == [("may-block", call) for call in calls]


POOLS = {
    "a pool that is kept": ("self.pool = worker.pool()", "self.pool.apply(len, ('x',))"),
    "the worker's own": ("pass", "connection.worker.pool('images').map(len, ['x'])"),
    "a pool of a name": ("pass", "pool = self._worker.pool('x')\nreturn pool.map(len, [])"),
}


@pytest.mark.parametrize("what", POOLS)
def test_finds_what_waits_for_a_pool(plugin, what):
    made, body = POOLS[what]
    call = body.rpartition("\n")[2].removeprefix("return ")
    more = f"def on_worker_start(self, worker):\n    {made}"
    assert found(plugin, body, more=more) == [("pool-waits", call)]


def test_finds_what_waits_for_a_pool_also_in_a_hook_that_may_block(plugin):
    source = plugin(
        """
        class Plugin:
            @hookimpl
            def on_worker_start(self, worker):
                self.pool = worker.pool()
                self.pool.apply(len, "x")
        """
    )
    [finding] = check_blocking(source)
    assert finding.message == "worker.pool().apply() raises WouldBlockError in on_worker_start"
    assert finding.place == "plugin.py:7"


def test_finds_what_waits_for_a_pool_of_the_module(plugin):
    source = plugin(
        """
        pool = None
        @hookimpl
        def on_worker_start(worker):
            global pool
            pool = worker.pool()
        @hookimpl
        def on_readable(connection):
            connection.write(pool.apply(bytes, (connection.read(),)))
        """
    )
    assert [(each.code, each.place) for each in check_blocking(source)] == [
        ("pool-waits", "plugin.py:10")
    ]


def test_coroutines_await_what_a_pool_does_and_protocols_cannot(plugin):
    source = plugin(
        """
        from host.asyncio import serve
        class Protocol:
            def data_received(self, data):
                self.worker.pool().map(len, data)
        async def main(worker):
            pool = worker.pool()
            await pool.apply(len, "x")
            await later(worker)
        def later(worker):
            return worker.pool().map(len, "x")
        """
    )
    assert [each.place for each in check_blocking(source)] == ["plugin.py:6"]


def test_follows_callbacks_of_pools_and_not_what_is_done_in_them(plugin):
    body = "self.pool.apply_async(work, (1,), callback=self.done, error_callback=self.failed)"
    more = (
        "def on_worker_start(self, worker): self.pool = worker.pool()\n"
        "def done(self, value): time.sleep(1)\n"
        "def failed(self, error): time.sleep(2)"
    )
    head = "import time\ndef work(seconds): time.sleep(seconds)"
    calls = [subject for _, subject in found(plugin, body, head, more=more)]
    assert calls == ["time.sleep(1)", "time.sleep(2)"]


def test_callbacks_of_other_pools_are_called_in_threads(plugin):
    head = "import multiprocessing, time\nPOOL = multiprocessing.Pool()\ndef f(x): time.sleep(x)"
    assert found(plugin, "POOL.map_async(len, [], callback=f)", head) == []


AT_ONCE = {
    "a sleep of nothing": ("import time", "time.sleep(0)"),
    "an own function of that name": ("def sleep(seconds): ...", "sleep(1)"),
    "a method of that name": ("", "self.sleep(1)"),
    "a local name that hides a module": ("import requests", "requests = {}\nrequests.get('x')"),
    "a queue that is asked only": ("import queue\nQ = queue.Queue()", "Q.get(block=False)"),
    "an event that is asked only": ("import threading\nE = threading.Event()", "E.wait(0)"),
    "a child that is asked only": ("import os", "os.waitpid(-1, os.WNOHANG)"),
    "a look at descriptors": ("import select", "select.select([1], [], [], 0)"),
    "a socket that returns at once": (
        "import socket",
        "s = socket.socket()\ns.setblocking(False)\ns.recv(1)",
    ),
    "a dictionary": ("D = dict()", "D.get('x')"),
    "a database in memory": ("import sqlite3\nD = sqlite3.connect(':memory:')", "D.execute('x')"),
    "what a thread does": (
        "import threading, time",
        "def work():\n    time.sleep(1)\nthreading.Thread(target=work).start()",
    ),
    "a lambda for a pool": (
        "import time\nfrom concurrent.futures import ThreadPoolExecutor\nP = ThreadPoolExecutor()",
        "P.submit(lambda: time.sleep(1))",
    ),
    "a name that is made of itself": (
        "",
        "x = x.cursor()\nx = y.cursor()\ny = x.cursor()\ny.get()",
    ),
}


@pytest.mark.parametrize("what", AT_ONCE)
def test_leaves_alone(plugin, what):
    head, body = AT_ONCE[what]
    assert found(plugin, body, head) == []


FOLLOWED = {
    "a method": ("self.one()", "def one(self): self.two()\ndef two(self): time.sleep(1)"),
    "a function of the module": ("helper()", ""),
    "what is called later": ("connection.call_later(1, self.one)", "def one(self): time.sleep(1)"),
    "a lambda that is called later": ("connection.call_next_turn(lambda c: time.sleep(1))", ""),
    "a nested function": ("def inner():\n    time.sleep(1)\ninner()", ""),
    "a partial": (
        "connection.call_later(1, functools.partial(self.one, 2))",
        "def one(self, x): time.sleep(1)",
    ),
    "what calls itself": ("self.one()", "def one(self): self.one(); time.sleep(1)"),
}


@pytest.mark.parametrize("what", FOLLOWED)
def test_follows(plugin, what):
    body, more = FOLLOWED[what]
    head = "import functools, time\ndef helper(): time.sleep(1)"
    assert found(plugin, body, head, more=more) == [("blocking-call", "time.sleep(1)")]


def test_says_by_which_way_a_hook_gets_there(plugin):
    source = plugin(
        """
        import time
        @hookimpl
        def on_close(connection): one()
        def one(): two()
        def two(): time.sleep(1)
        """
    )
    [finding] = check_blocking(source)
    assert finding.message == "time.sleep() waits in on_close, by way of one, two"
    assert finding.place == "plugin.py:7"


def test_a_hook_that_may_block_may_but_not_what_it_gives_to_the_loop(plugin):
    source = plugin(
        """
        import time
        class Plugin:
            @hookimpl
            def on_worker_start(self, worker):
                time.sleep(1)
                self._begin(worker)
                worker.call_every(1, self._tick)
            def _begin(self, worker):
                time.sleep(2)
                worker.bus.subscribe("news", self._news)
            def _tick(self): time.sleep(3)
            def _news(self, message): time.sleep(4)
        """
    )
    assert [each.subject for each in check_blocking(source)] == ["time.sleep(4)", "time.sleep(3)"]


def test_a_hook_that_another_plugin_brings_must_not_block(plugin):
    source = plugin("import time\n@hookimpl\ndef on_line(line): time.sleep(1)\n")
    assert [each.code for each in check_blocking(source)] == ["blocking-call"]


def test_follows_into_modules_and_bases_of_the_same_package(package):
    source = package(
        "sample_doctored.plugin:Plugin",
        plugin="""
            from sample_doctored import store
            from .base import Base
            class Plugin(Base):
                @hookimpl
                def on_readable(self, connection):
                    connection.write(store.get(connection.read()))
                    self.rest()
            """,
        base="""
            from time import sleep
            class Base:
                def rest(self): sleep(1)
            """,
        store="import time\ndef get(key): time.sleep(2)\n",
    )
    assert [each.place for each in check_blocking(source)] == [
        "sample_doctored/store.py:3",
        "sample_doctored/base.py:5",
    ]


LOOPS = {
    "nothing leaves": ("while True:\n    connection.read()", True),
    "only an inner one is left": ("while 1:\n    for x in y:\n        break", True),
    "break": ("while True:\n    if connection.read():\n        break", False),
    "return": ("while True:\n    with x:\n        return", False),
    "raise": ("while True:\n    raise ValueError", False),
    "a condition": ("while connection.congested:\n    pass", False),
}


@pytest.mark.parametrize("what", LOOPS)
def test_a_loop_that_never_ends(plugin, what):
    body, is_endless = LOOPS[what]
    assert [code for code, _ in found(plugin, body)] == ["endless-loop"] * is_endless


ON_ASYNCIO = {
    "a coroutine": "async def handle(reader, writer): time.sleep(1)",
    "a function that a coroutine calls": "def nap(): time.sleep(1)\nasync def handle(): nap()",
    "a method that a coroutine calls": (
        "class A:\n    def nap(self): time.sleep(1)\n    async def start(self): self.nap()"
    ),
    "a coroutine in a method": (
        "class A:\n    async def start(self):\n        async def page(): time.sleep(1)"
    ),
    "a protocol": "class P:\n    def data_received(self, data): time.sleep(1)",
}


@pytest.mark.parametrize("what", ON_ASYNCIO)
def test_looks_at_what_asyncio_calls(plugin, what):
    head = f"import time\nfrom host.asyncio import serve\n{ON_ASYNCIO[what]}\n"
    assert found(plugin, "pass", head) == [("blocking-call", "time.sleep(1)")]


def test_leaves_coroutines_alone_that_run_elsewhere_or_wait_by_themselves(plugin):
    assert found(plugin, "pass", "import time\nasync def work(): time.sleep(1)") == []
    waits = "import asyncio\nfrom host.asyncio import serve\nasync def work(): "
    for call in ("asyncio.sleep(1)", "asyncio.Queue().get()", "asyncio.Event().wait()"):
        assert found(plugin, "pass", f"{waits}await {call}") == []
