"""The plugin `asgi`: an app, its clients, and limits for hostile ones."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as connect_websocket

from host.errors import ExitCode
from host.testing.machine import patience
from support import scraping
from support.address import connect
from support.certificates import Authority
from support.hosting import SUPPORT, Host, Start, eventually

pytestmark = [pytest.mark.process, pytest.mark.warm]

Serve = Callable[..., Host]


@pytest.fixture
def serve(start: Start, tmp_path: Path) -> Serve:
    """Start a host that serves an app of `support/asgi_app.py`.

    It is given options of the plugin, arguments of the fixture `start`, lines of a settings file in
    `config`, and `more` settings.
    """

    def serve(app: str = "app", /, *, config: str = "", more: Any = None, **given: Any) -> Host:
        others = {key: given.pop(key) for key in list(given) if key in OF_HOST}
        options = {"app": f"asgi_app:{app}", "app_folder": SUPPORT, **given}
        settings = {f"options.asgi.{key}": value for key, value in options.items()}
        settings |= more or {}
        settings["lifecycle.drain_spread_seconds"] = 0
        flags: tuple[str, ...] = ()
        if config:
            path = tmp_path / "host.toml"
            path.write_text(config, encoding="utf-8")
            flags = ("--config", str(path), "--name", f"asgi-{os.getpid()}")
            others["listen"] = ()
        return start(*flags, plugin="asgi", settings=settings, **others)

    return serve


OF_HOST = {"workers", "listen", "env", "ready"}
"""Arguments of the fixture `start`."""


def client(host: Host) -> closing[http.client.HTTPConnection]:
    return closing(http.client.HTTPConnection("127.0.0.1", host.port, timeout=patience(20)))


def ask(host: Host, path: str, method: str = "GET", **given: Any) -> tuple[int, bytes]:
    with client(host) as one:
        one.request(method, path, **given)
        answer = one.getresponse()
        return answer.status, answer.read()


def get(host: Host, path: str = "/", **headers: str) -> Any:
    return json.loads(ask(host, path, headers=headers)[1])


def curl(*flags: str, given: bytes = b"") -> bytes:
    command = ["curl", "-sS", *flags]
    return subprocess.run(
        command, input=given, capture_output=True, timeout=patience(60), check=True
    ).stdout


def raw(host: Host, sent: bytes) -> bytes:
    """Send bytes and return all that comes until the end."""
    with connect(host.address) as sock:
        sock.sendall(sent)
        return read_all(sock)


LAST_REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def told_of(answer: bytes) -> Any:
    """Return what the page of an answer says."""
    return json.loads(answer.partition(b"\r\n\r\n")[2])


def read_all(sock: socket.socket) -> bytes:
    pieces = iter(lambda: sock.recv(65536), b"")
    return b"".join(pieces)


def printed(host: Host, text: str) -> None:
    host.wait_for("plugin_printed", text=text)


def test_a_page_with_what_the_app_is_told_of_its_client(serve: Serve) -> None:
    host = serve()
    with client(host) as one:
        one.request("GET", "/?x=1")
        answer = one.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        told = json.loads(answer.read())
        mine = list(one.sock.getsockname())
    assert headers["date"].endswith("GMT")
    assert "server" not in headers
    assert told["pid"] in host.workers.values()
    del told["pid"]
    assert told == {
        "client": mine,
        "server": ["127.0.0.1", host.port],
        "scheme": "http",
        "root_path": "",
        "path": "/",
        "seen": "nothing",
    }
    assert host.stop() == 0


def test_the_app_hears_of_start_and_end_once_a_worker(serve: Serve) -> None:
    host = serve()
    texts = [each["text"] for each in host.events("plugin_printed")]
    assert texts == ["startup", "startup"]
    host.signal(signal.SIGHUP)
    host.wait_for("generation_ready")
    assert host.stop() == 0
    texts = [each["text"] for each in host.events("plugin_printed")]
    assert sorted(texts) == ["shutdown"] * 4 + ["startup"] * 4


def test_uploads_downloads_and_streams_by_curl(serve: Serve) -> None:
    host = serve()
    address = f"http://127.0.0.1:{host.port}"
    three = b"x" * 3_000_000
    assert curl("--data-binary", "@-", f"{address}/upload", given=three) == b"3000000"
    chunked = ["-H", "transfer-encoding: chunked", "--data-binary", "@-"]
    assert curl(*chunked, f"{address}/upload", given=three) == b"3000000"
    assert len(curl(f"{address}/download")) == 50_000_000
    assert curl(f"{address}/streaming").split() == [b"%d" % each for each in range(100)]
    assert curl("-I", f"{address}/").startswith(b"HTTP/1.1 200 OK\r\n")
    assert host.stop() == 0


def test_events_go_on_until_the_client_goes(serve: Serve) -> None:
    host = serve()
    with connect(host.address) as sock, sock.makefile("rb") as lines:
        sock.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
        assert lines.readline() == b"HTTP/1.1 200 OK\r\n"
        while lines.readline() != b"data: 3\n":
            pass
    printed(host, "the client of the events has gone")
    assert host.stop() == 0


def test_what_is_done_in_the_background_is_done_after_the_answer(serve: Serve) -> None:
    host = serve()
    assert ask(host, "/background") == (200, b"soon")
    printed(host, "done in the background")
    assert host.stop() == 0


def test_the_app_hears_that_its_client_has_gone(serve: Serve) -> None:
    host = serve()
    with connect(host.address) as sock:
        sock.sendall(b"POST /gone HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
        printed(host, "begun")
    printed(host, "the client has gone")
    assert host.stop() == 0


def test_a_fault_of_the_app_is_told_and_answered(serve: Serve) -> None:
    host = serve()
    assert ask(host, "/broken") == (500, b"Internal Server Error")
    logged = host.wait_for("plugin_logged")
    assert "a fault of the app" in json.dumps(logged)
    assert host.stop() == 0


def test_a_hang_is_told_with_its_request_and_its_connection(serve: Serve) -> None:
    host = serve(workers=1, more={"lifecycle.hang_seconds": 1})
    pid = host.workers[0]
    with connect(host.address) as sock:
        sock.sendall(b"GET /hang/1%0A2?secret=3 HTTP/1.1\r\nHost: x\r\n\r\n")
        hung = host.wait_for("worker_hung")
        assert read_all(sock) == b""
    place = f"in a task of asyncio of plugin asgi, connection {pid}-1, GET /hang/1%0A2"
    assert hung["place"].startswith(f"{place}, task ")
    assert hung["place"].endswith(" (RequestResponseCycle.run_asgi)")
    assert "asgi_app.py" in hung["traceback"]
    assert " in hang" in hung["traceback"]
    assert "\ntask beside (Event.wait) waits: Event.wait (" in hung["traceback"]
    assert host.wait_for("worker_died")["place"] == hung["place"]
    host.wait_for("worker_ready", count=2)
    assert ask(host, "/")[0] == 200
    assert host.stop() == 0


def test_what_waits_for_ever_is_no_hang(serve: Serve) -> None:
    host = serve(workers=1, more={"lifecycle.hang_seconds": 1})
    with connect(host.address) as sock:
        sock.sendall(b"GET /for_ever HTTP/1.1\r\nHost: x\r\n\r\n")
        printed(host, "waiting for ever")
        with connect(host.address) as hanging:
            hanging.sendall(b"GET /hang/1 HTTP/1.1\r\nHost: x\r\n\r\n")
            assert "-2, GET /hang/1" in host.wait_for("worker_hung")["place"]
    assert len(host.events("worker_hung")) == 1
    host.wait_for("worker_ready", count=2)
    assert host.stop() == 0


def test_websockets(serve: Serve) -> None:
    host = serve()
    with connect_websocket(f"ws://127.0.0.1:{host.port}/echo") as one:
        one.send("x" * 900_000)
        assert one.recv() == "x" * 900_000
    printed(host, "closed with 1000")
    assert host.stop() == 0


def stop_and_see(host: Host) -> None:
    """Stop the host, and wait until its only worker has told all connections of it."""
    with connect_websocket(f"ws://127.0.0.1:{host.port}/echo") as one:
        host.signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            one.recv(timeout=patience(20))
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1001


def test_websockets_are_told_that_the_worker_goes_away(serve: Serve) -> None:
    host = serve()
    with ExitStack() as stack:
        address = f"ws://127.0.0.1:{host.port}/echo"
        several = [stack.enter_context(connect_websocket(address)) for _ in range(6)]
        for one in several:
            one.send("hello")
            assert one.recv() == "hello"
        stop_and_see(host)
        for one in several:
            with pytest.raises(ConnectionClosed) as closed:
                one.recv(timeout=patience(20))
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001
    assert host.wait() == 0
    texts = [each["text"] for each in host.events("plugin_printed")]
    assert texts.count("closed with 1001") == 7


def test_a_request_that_is_under_way_is_answered_and_the_last_one(
    serve: Serve, tmp_path: Path
) -> None:
    pipe = tmp_path / "release"
    os.mkfifo(pipe)
    host = serve(workers=1, env={"RELEASE": str(pipe)})
    with client(host) as one:
        one.request("GET", "/wait")
        printed(host, "waiting")
        stop_and_see(host)
        pipe.write_text("at last")
        answer = one.getresponse()
        assert (answer.read(), answer.getheader("connection")) == (b"at last", "close")
    assert host.wait() == 0


def test_a_request_that_is_sent_just_after_the_goodbye_is_answered(serve: Serve) -> None:
    host = serve(workers=1)
    with ExitStack() as stack:
        several = [stack.enter_context(client(host)) for _ in range(20)]
        for one in several:
            one.request("GET", "/")
            one.getresponse().read()
        several.append(stack.enter_context(client(host)))
        several[-1].connect()  # a first request may be on its way, too
        stop_and_see(host)
        for one in several:
            one.request("GET", "/")
            answer = one.getresponse()
            assert (answer.status, answer.getheader("connection")) == (200, "close")
            answer.read()
    assert host.wait() == 0


def test_idle_connections_are_spread_over_the_workers(serve: Serve) -> None:
    host = serve()
    with ExitStack() as stack:
        several = [stack.enter_context(client(host)) for _ in range(50)]
        pids = []
        for one in several:
            one.request("GET", "/")
            pids.append(json.loads(one.getresponse().read())["pid"])
    assert sorted(map(pids.count, host.workers.values())) == [25, 25]
    assert host.stop() == 0


def test_the_client_behind_a_proxy_that_speaks_the_proxy_protocol(serve: Serve) -> None:
    listen = (
        '[[listen]]\naddress = "tcp://127.0.0.1:0"\nproxy = "any"\nproxy_from = ["127.0.0.1"]\n'
    )
    host = serve(config=listen)
    for source, destination in (("192.0.2.7", "192.0.2.1"), ("2001:db8::7", "2001:db8::1")):
        kind = "TCP6" if ":" in source else "TCP4"
        head = f"PROXY {kind} {source} {destination} 4711 443\r\n".encode()
        told = told_of(raw(host, head + LAST_REQUEST))
        assert (told["client"], told["server"]) == ([source, 4711], [destination, 443])
        assert told["scheme"] == "http"
    # PROXY protocol, 2.2: TCP over IPv4 with 12 bytes of addresses, then PP2_TYPE_SSL (2.2.6).
    by_tls = bytes([0x20, 0, 5, 0x01, 0, 0, 0, 0])
    addresses = bytes([192, 0, 2, 7, 192, 0, 2, 1]) + (4711).to_bytes(2) + (443).to_bytes(2)
    body = addresses + by_tls
    head = b"\r\n\r\n\0\r\nQUIT\n" + bytes([0x21, 0x11]) + len(body).to_bytes(2) + body
    assert told_of(raw(host, head + LAST_REQUEST))["scheme"] == "https"
    assert host.stop() == 0


def test_the_client_of_a_unix_socket(serve: Serve) -> None:
    host = serve(listen=("unix",))
    told = told_of(raw(host, LAST_REQUEST))
    assert told["client"] is None
    assert told["server"] == [host.address.removeprefix("unix:"), None]
    assert host.stop() == 0


def test_root_path_and_proxies_that_are_believed(serve: Serve) -> None:
    host = serve(root_path="/api", forwarded_allow_ips='["127.0.0.0/8"]')
    headers = {"x-forwarded-for": "198.51.100.1", "x-forwarded-proto": "https"}
    told = get(host, **headers)
    assert told["client"] == ["198.51.100.1", 0]
    assert (told["scheme"], told["root_path"], told["path"]) == ("https", "/api", "/api/")
    assert host.stop() == 0


def test_nobody_is_believed_by_default(serve: Serve) -> None:
    host = serve()
    told = get(host, **{"x-forwarded-for": "198.51.100.1", "x-forwarded-proto": "https"})
    assert (told["client"][0], told["scheme"]) == ("127.0.0.1", "http")
    assert host.stop() == 0


def test_too_many_requests_at_a_time_get_503(serve: Serve, tmp_path: Path) -> None:
    pipe = tmp_path / "release"
    os.mkfifo(pipe)
    host = serve(workers=1, max_requests_in_progress=1, env={"RELEASE": str(pipe)})
    with client(host) as one:
        one.request("GET", "/wait")
        printed(host, "waiting")
        assert ask(host, "/") == (503, b"Service Unavailable")
        pipe.write_text("done")
        assert one.getresponse().read() == b"done"
    assert ask(host, "/")[0] == 200
    assert host.stop() == 0


def test_a_head_that_is_too_long_gets_431(serve: Serve) -> None:
    host = serve(workers=1, max_head_bytes=2048)
    with connect(host.address) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        for _ in range(40):
            sock.sendall(b"X-Filler: " + b"x" * 100 + b"\r\n")
        assert read_all(sock).startswith(b"HTTP/1.1 431 ")
    assert ask(host, "/")[0] == 200
    assert host.stop() == 0


def test_a_head_that_is_too_long_from_its_first_piece_on(serve: Serve) -> None:
    host = serve(workers=1, max_head_bytes=2048)
    with connect(host.address) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n" + b"X-Filler: 1\r\n" * 200)
        assert read_all(sock).startswith(b"HTTP/1.1 431 ")
    assert host.stop() == 0


@pytest.mark.parametrize(
    "head", [b"POST /echo HTTP/1.1\r\n", b"GET /echo HTTP/1.1\r\n" + b"X-Filler: 1\r\n" * 200]
)
def test_what_is_no_handshake_of_a_websocket_does_not_wait(serve: Serve, head: bytes) -> None:
    host = serve(workers=1)
    key = b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    answer = raw(
        host, head + b"Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" + key + b"\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 4")
    assert host.stop() == 0


def test_a_handshake_sent_before_the_answer_to_a_request_is_not_answered(
    serve: Serve, tmp_path: Path
) -> None:
    pipe = tmp_path / "release"
    os.mkfifo(pipe)
    host = serve(workers=1, env={"RELEASE": str(pipe)})
    handshake = (
        b"GET /echo HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    with connect(host.address) as sock:
        sock.sendall(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n" + handshake)
        printed(host, "waiting")
        sock.sendall(b"\x81\x85more of the WebSocket")
        pipe.write_text("at last")
        answer = read_all(sock)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nconnection: close\r\n" in answer
    assert answer.endswith(b"\r\n\r\nat last")
    assert host.stop() == 0


def test_headers_after_a_body_have_an_end_too(serve: Serve) -> None:
    host = serve(workers=1, max_head_bytes=2048)

    def send_headers(sock: socket.socket) -> None:
        for _ in range(5000):
            sock.sendall(b"X-Filler: " + b"x" * 1000 + b"\r\n")

    with connect(host.address) as sock:
        sock.sendall(b"POST /gone HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
        with pytest.raises(ConnectionError):
            send_headers(sock)
    assert ask(host, "/")[0] == 200
    assert host.stop() == 0


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n"])
def test_a_head_that_does_not_come_has_an_end(serve: Serve, sent: bytes) -> None:
    host = serve(workers=1, request_head_seconds=0.2)
    assert raw(host, sent) == b""
    assert host.stop() == 0


def test_a_slow_body_is_no_slow_head(serve: Serve) -> None:
    host = serve(workers=1, request_head_seconds=1)
    with connect(host.address) as sock:
        head = b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"
        sock.sendall(head + b"1")
        assert raw(host, b"") == b""  # the time that a head may take has passed
        sock.sendall(b"2")
        assert read_all(sock).endswith(b"\r\n\r\n2")
    assert host.stop() == 0


def test_an_idle_connection_is_closed(serve: Serve) -> None:
    host = serve(workers=1, keep_alive_seconds=1)
    answer = raw(host, b"GET /streaming HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.endswith(b"\r\n0\r\n\r\n")
    assert host.stop() == 0


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET\r\n\r\n",
        b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_what_is_no_http_gets_400_and_no_line_in_the_log(serve: Serve, sent: bytes) -> None:
    host = serve(workers=1)
    assert raw(host, sent).startswith(b"HTTP/1.1 400 ")
    assert host.stop() == 0
    assert not host.events("plugin_logged")


def test_tls(serve: Serve, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificates = f"[tls.site]\ncertificates = [{authority.files('site', 'a.example').toml}]\n"
    host = serve(config=f'[[listen]]\naddress = "tcp://127.0.0.1:0"\ntls = "site"\n{certificates}')
    context = authority.client()
    with context.wrap_socket(connect(host.address), server_hostname="a.example") as sock:
        sock.sendall(LAST_REQUEST)
        told = told_of(read_all(sock))
    assert (told["scheme"], told["client"][0]) == ("https", "127.0.0.1")
    assert host.stop() == 0


def test_an_app_without_lifespan(serve: Serve) -> None:
    host = serve("bare")
    assert ask(host, "/") == (200, b"bare")
    assert host.stop() == 0


def test_a_factory_is_called_in_each_worker(serve: Serve) -> None:
    host = serve("make", factory=True)
    made = {each["text"] for each in host.events("plugin_printed")} - {"startup"}
    assert made == {f"made in {pid}" for pid in host.workers.values()}
    assert ask(host, "/")[0] == 200
    assert host.stop() == 0


def test_an_app_that_does_not_start_says_why(serve: Serve) -> None:
    host = serve(env={"FAIL": "1"}, ready=False)
    failed = host.wait_for("worker_start_failed")
    assert failed["cause"] == "plugin asgi: the app has not started: ValueError: no database"
    assert failed["traceback"] == ""
    assert "in lifespan" in str(host.events("plugin_logged")), "where it was is told, too"
    assert host.wait() == ExitCode.WORKER_START


def test_a_lifespan_that_must_be_there(serve: Serve) -> None:
    host = serve("bare", lifespan="on", ready=False)
    assert "the app has not started" in host.wait_for("worker_start_failed")["message"]
    assert host.wait() == ExitCode.WORKER_START


@pytest.mark.parametrize(
    ("app", "cause"),
    [
        ("nix:app", 'there is no module "nix"'),
        ("asgi_app:nix", 'there is no "nix" in asgi_app'),
        ("asgi_app:no_app", "it cannot be called (it is: str)"),
        ("asgi_app:of_wsgi", "takes (environ, start_response)\n  An app of WSGI needs"),
        ("asgi_app:make", "takes ()\n  If it makes the app, set options.asgi.factory"),
    ],
)
def test_an_app_that_is_not_there_is_told_before_anything_starts(
    refuse: Any, app: str, cause: str
) -> None:
    options = [f"options.asgi.app={app}", f"options.asgi.app_folder={SUPPORT}"]
    flags = [word for option in options for word in ("--set", option)]
    refusal = refuse("--plugin", "asgi", *flags)
    assert refusal.code == ExitCode.PLUGIN
    assert cause in refusal.message
    assert "PluginError" not in refusal.message


def test_whoever_has_not_the_extra_is_told_what_to_install(refuse: Any, tmp_path: Path) -> None:
    missing = "raise ModuleNotFoundError(\"No module named 'uvicorn'\", name='uvicorn')"
    folder = tmp_path / "first"
    folder.mkdir()
    (folder / "uvicorn.py").write_text(missing, encoding="utf-8")
    app = ("--set", "options.asgi.app=main:app")
    refusal = refuse("--plugin", "asgi", *app, env={"PYTHONPATH": str(folder)})
    assert refusal.code == ExitCode.PLUGIN
    assert 'there is no module "uvicorn"' in refusal.message
    assert "pip install 'prefork[asgi]'" in refusal.message


def lines(host: Host) -> list[tuple[Any, ...]]:
    return [
        (each["method"], each["path"], each["status"], each["bytes_out"])
        for each in host.events("request_answered")
    ]


def test_access_lines(serve: Serve) -> None:
    access = {"log.access": True}
    host = serve(workers=1, more=access, forwarded_allow_ips='["127.0.0.1"]')
    assert ask(host, "/streaming?secret=1", headers={"x-forwarded-for": "198.51.100.1"})[0] == 200
    assert host.wait_for("request_answered")["peer"] == "198.51.100.1"
    assert ask(host, "/upload", "POST", body=b"123") == (200, b"3")
    assert ask(host, "/a%0Ab")[0] == 404
    assert ask(host, "/broken")[0] == 500
    with connect_websocket(f"ws://127.0.0.1:{host.port}/echo") as one:
        one.send("hello")
        assert one.recv() == "hello"
    host.wait_for("request_answered", path="/echo")
    assert lines(host) == [
        ("GET", "/streaming", 200, 290),
        ("POST", "/upload", 200, 1),
        ("GET", "/a\nb", 404, 9),
        ("GET", "/broken", 500, 21),
        ("GET", "/echo", 101, 5),
    ]
    told = host.events("request_answered")[1]
    assert told["peer"].startswith("127.0.0.1:")
    assert 0 <= told["seconds"] < patience(20)
    assert host.stop() == 0


def test_access_lines_have_the_trace_of_their_requests(serve: Serve) -> None:
    host = serve(workers=1, more={"log.access": True})
    trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    sent = [f"00-{trace}-{span}-01", "00-secret-01", None]
    with client(host) as one:
        for value in sent:
            one.request("GET", "/", headers={} if value is None else {"traceparent": value})
            one.getresponse().read()
    host.wait_for("request_answered", count=3)
    told = [(each.get("trace_id"), each.get("span_id")) for each in host.events("request_answered")]
    assert told == [(trace, span), (None, None), (None, None)]
    assert "secret" not in host.said()


def test_without_access_lines_nothing_is_logged_of_requests(serve: Serve) -> None:
    host = serve(workers=1)
    assert ask(host, "/")[0] == 200
    assert host.stop() == 0
    assert not host.events("request_answered")


def test_the_short_form_reloads_too(start: Start) -> None:
    settings = {"options.asgi.app_folder": SUPPORT}
    flags = ("asgi_app:app", "--root-path", "/api")
    program = ("-m", "host", "asgi")
    host = start(*flags, plugin=None, settings=settings, program=program)
    mark = host.mark()
    host.signal(signal.SIGHUP)
    host.wait_for("generation_ready", since=mark)
    told = get(host)
    assert told["path"] == "/api/"
    assert told["pid"] in {each["pid"] for each in host.events("worker_ready", mark)}
    assert host.stop() == 0


def test_requests_are_counted_by_status(serve: Serve) -> None:
    host = serve("app", more={"ops.listen": "tcp://127.0.0.1:0"})
    with client(host) as connection:
        for _ in range(3):
            connection.request("GET", "/")
            connection.getresponse().read()
    (listening,) = host.events("ops_listening")

    def counted() -> bool:
        found = scraping.scrape(listening["address"])
        return (
            scraping.total(found, "prefork_asgi_requests_total", status="200") == 3
            and scraping.total(found, "prefork_asgi_requests_total") == 3
            and scraping.total(found, "prefork_asgi_request_seconds_count") == 3
        )

    eventually(counted, "the requests are counted")
