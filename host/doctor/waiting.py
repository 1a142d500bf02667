"""What waits: functions of the standard library and of others, and objects with such methods."""

from __future__ import annotations

from collections.abc import Mapping

WAITS = "blocking-call"
MAY_WAIT = "may-block"
RAISES = "pool-waits"
POOL = "worker.pool"
"""What stands for a pool of the host: no import names what makes one."""

_VERBS = ("get", "post", "put", "patch", "delete", "head", "options", "request")
_RUN_PROGRAM = ("run", "call", "check_call", "check_output", "getoutput", "getstatusoutput")
_CONNECT = (
    *("psycopg.connect", "psycopg2.connect", "pymysql.connect", "MySQLdb.connect"),
    *("mysql.connector.connect", "pyodbc.connect", "pymssql.connect", "oracledb.connect"),
)

FUNCTIONS: Mapping[str, str] = {
    **dict.fromkeys(("time.sleep", "builtins.input", "getpass.getpass"), WAITS),
    **dict.fromkeys((f"subprocess.{name}" for name in _RUN_PROGRAM), WAITS),
    **dict.fromkeys(("os.system", "os.popen", "os.wait", "os.waitpid", "os.waitid"), WAITS),
    **dict.fromkeys(("signal.pause", "signal.sigwait", "signal.sigwaitinfo"), WAITS),
    **dict.fromkeys(("asyncio.run", "select.select", "concurrent.futures.wait"), WAITS),
    **dict.fromkeys(("socket.create_connection", "urllib.request.urlopen"), WAITS),
    **dict.fromkeys(("urllib.request.urlretrieve", "smtplib.SMTP", "smtplib.SMTP_SSL"), WAITS),
    **dict.fromkeys(("ftplib.FTP", "imaplib.IMAP4", "imaplib.IMAP4_SSL", "poplib.POP3"), WAITS),
    **dict.fromkeys((f"{name}.{verb}" for name in ("requests", "httpx") for verb in _VERBS), WAITS),
    **dict.fromkeys(_CONNECT, WAITS),
    **dict.fromkeys(("socket.getaddrinfo", "socket.gethostbyname", "socket.getfqdn"), MAY_WAIT),
    **dict.fromkeys(("socket.gethostbyname_ex", "socket.gethostbyaddr"), MAY_WAIT),
    **dict.fromkeys(("sqlite3.connect", "os.fsync", "shutil.copytree", "shutil.rmtree"), MAY_WAIT),
    **dict.fromkeys(("sys.stdin.read", "sys.stdin.readline", "urllib3.request"), WAITS),
    **dict.fromkeys(("concurrent.futures.as_completed", "dns.resolver.resolve"), WAITS),
    **dict.fromkeys(("fcntl.flock", "fcntl.lockf"), MAY_WAIT),
}
"""Functions by their full name, and the code of the rule that a call of them breaks."""

_QUERIES = ("execute", "executemany", "executescript", "commit", "rollback", "fetchall")
_STREAM = ("connect", "recv", "recv_into", "recvfrom", "send", "sendall", "sendto", "accept")
_FUTURE = "concurrent.futures.Future"
_EXECUTORS = tuple(f"concurrent.futures.{kind}PoolExecutor" for kind in ("Thread", "Process"))
_LOOPS = ("asyncio.new_event_loop", "asyncio.get_event_loop", "asyncio.get_running_loop")
_SQLITE_CURSOR, _CURSOR = "sqlite3.Cursor", "Cursor"

OBJECTS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "sqlite3.connect": (MAY_WAIT, (*_QUERIES, "backup")),
    _SQLITE_CURSOR: (MAY_WAIT, _QUERIES),
    **dict.fromkeys(_CONNECT, (WAITS, _QUERIES)),
    _CURSOR: (WAITS, _QUERIES),
    "socket.socket": (MAY_WAIT, _STREAM),
    "socket.create_connection": (MAY_WAIT, _STREAM),
    **dict.fromkeys(("queue.Queue", "queue.SimpleQueue"), (WAITS, ("get", "join"))),
    **dict.fromkeys(("queue.LifoQueue", "queue.PriorityQueue"), (WAITS, ("get", "join"))),
    "multiprocessing.Queue": (WAITS, ("get",)),
    **dict.fromkeys(("threading.Event", "threading.Barrier"), (WAITS, ("wait",))),
    "threading.Condition": (WAITS, ("wait", "wait_for")),
    **dict.fromkeys(("threading.Thread", "multiprocessing.Process"), (WAITS, ("join",))),
    "subprocess.Popen": (WAITS, ("wait", "communicate")),
    **dict.fromkeys(("requests.Session", "httpx.Client"), (WAITS, _VERBS)),
    "http.client.HTTPConnection": (WAITS, ("connect", "request", "getresponse")),
    "http.client.HTTPSConnection": (WAITS, ("connect", "request", "getresponse")),
    **dict.fromkeys(
        ("redis.Redis", "redis.StrictRedis", "redis.from_url"),
        (WAITS, ("get", "set", "delete", "publish", "incr", "execute_command", "ping")),
    ),
    _FUTURE: (WAITS, ("result", "exception")),
    **dict.fromkeys(_EXECUTORS, (WAITS, ("shutdown",))),
    "urllib3.PoolManager": (WAITS, ("request",)),
    **dict.fromkeys(_LOOPS, (WAITS, ("run_until_complete", "run_forever"))),
    POOL: (RAISES, ("apply", "map")),
}
"""Objects by the full name of what makes them: a code, and those of their methods that wait."""

MAKERS: Mapping[tuple[str, str], str] = {
    **{(executor, "submit"): _FUTURE for executor in _EXECUTORS},
    ("sqlite3.connect", "cursor"): _SQLITE_CURSOR,
    **{(connect, "cursor"): _CURSOR for connect in _CONNECT},
}
"""What the methods of some objects make: by what has made the object, and the method."""

LOOP_METHODS = frozenset(
    (
        *("call_later", "call_every", "call_next_turn", "call_when_writable", "call_from_thread"),
        *("subscribe", "claim"),
    )
)
"""Methods of connections, of workers and of the bus that are given what the loop calls later."""

CALLBACKS: Mapping[str, int] = {"apply_async": 3, "map_async": 3}
"""Methods of pools that are given callbacks, and how many arguments come before these."""
