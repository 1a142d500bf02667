"""Apps of well-known frameworks do on the host what they do, in a real host with two workers."""

from __future__ import annotations

import http.client
import signal
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as connect_websocket

from host.testing import RunningHost
from host.testing.machine import patience
from support.address import connect

APPS = Path(__file__).parent / "apps"


@dataclass(frozen=True)
class Framework:
    """An app of one framework, and what it cannot do."""

    name: str
    app: str
    cannot: frozenset[str] = frozenset()
    prefix: str = ""


OF_DJANGO = frozenset({"background", "lifespan", "websocket"})
# Django's WSGI reads as many bytes as `content-length` says; a2wsgi does not tell an endless
# iterable that its client has gone, whatever the server.
OF_WSGI = OF_DJANGO | {"chunked", "events", "gone"}
FRAMEWORKS = [
    Framework("Starlette", "of_starlette:app"),
    Framework("FastAPI", "of_fastapi:app"),
    Framework("Litestar", "of_litestar:app"),
    Framework("Quart", "of_quart:app"),
    Framework("Django", "of_django:app", cannot=OF_DJANGO),
    Framework("Django by WSGI", "of_django:make_from_wsgi", cannot=OF_WSGI, prefix="/wsgi"),
]


def that_can(deed: str) -> pytest.MarkDecorator:
    """Run a test with each framework that can do something."""
    able = [each for each in FRAMEWORKS if deed not in each.cannot]
    return pytest.mark.parametrize("framework", able, ids=lambda each: each.name)


Serve = Callable[[Framework], RunningHost]


@pytest.fixture
def serve(host_server: Callable[..., RunningHost]) -> Serve:
    """Start a host with the app of a framework."""

    def serve(framework: Framework) -> RunningHost:
        options = {
            "app": framework.app,
            "app_folder": str(APPS),
            "factory": ":make" in framework.app,
        }
        settings = {"lifecycle.drain_spread_seconds": 0}
        return host_server("asgi", workers=2, options={"asgi": options}, settings=settings)

    return serve


def curl(host: RunningHost, path: str, *flags: str, given: bytes = b"") -> bytes:
    command = ["curl", "-sS", "--fail", *flags, f"http://127.0.0.1:{host.port}{path}"]
    done = subprocess.run(
        command, input=given, capture_output=True, timeout=patience(60), check=True
    )
    return done.stdout


@that_can("page")
def test_a_page_that_names_the_client_and_the_worker(serve: Serve, framework: Framework) -> None:
    host = serve(framework)
    with closing(http.client.HTTPConnection("127.0.0.1", host.port, patience(20))) as client:
        pids = set()
        for _ in range(10):
            client.request("GET", "/")
            answer = client.getresponse()
            assert answer.status == 200
            address, pid = answer.read().decode().split()
            assert address == "127.0.0.1"
            pids.add(int(pid))
    assert len(pids) == 1
    assert pids < set(host.workers.values())
    assert host.stop() == 0


@that_can("upload")
def test_an_upload_of_3_mb(serve: Serve, framework: Framework) -> None:
    host = serve(framework)
    assert curl(host, "/upload", "--data-binary", "@-", given=b"x" * 3_000_000) == b"3000000"
    assert host.stop() == 0


@that_can("chunked")
def test_an_upload_that_does_not_say_its_size(serve: Serve, framework: Framework) -> None:
    host = serve(framework)
    flags = ["-H", "transfer-encoding: chunked", "--data-binary", "@-"]
    assert curl(host, "/upload", *flags, given=b"x" * 3_000_000) == b"3000000"
    assert host.stop() == 0


@that_can("download")
def test_a_download_of_50_mb(serve: Serve, framework: Framework) -> None:
    host = serve(framework)
    assert len(curl(host, "/download")) == 50_000_000
    assert host.stop() == 0


@that_can("stream")
def test_a_stream(serve: Serve, framework: Framework) -> None:
    host = serve(framework)
    said = curl(host, f"{framework.prefix}/stream", "--raw")
    assert b"\r\n0\r\n\r\n" in said, "the body is not sent in chunks"
    said = curl(host, f"{framework.prefix}/stream")
    assert said.split() == [b"%d" % number for number in range(100)]
    assert host.stop() == 0


@that_can("events")
def test_events_until_the_client_goes(serve: Serve, framework: Framework) -> None:
    host = serve(framework)
    with connect(host.address) as sock, sock.makefile("rb") as lines:
        sock.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
        assert lines.readline() == b"HTTP/1.1 200 OK\r\n"
        while lines.readline() != b"data: 3\n":
            pass
    host.wait_for("plugin_printed", text="the client of the events has gone")
    assert host.stop() == 0


@that_can("gone")
def test_the_app_hears_that_its_client_has_gone(serve: Serve, framework: Framework) -> None:
    host = serve(framework)
    with connect(host.address) as sock:
        sock.sendall(b"POST /gone HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        host.wait_for("plugin_printed", text="begun")
    host.wait_for("plugin_printed", text="the client has gone")
    assert host.stop() == 0


@that_can("background")
def test_what_is_done_in_the_background(serve: Serve, framework: Framework) -> None:
    host = serve(framework)
    assert curl(host, "/background") == b"soon"
    host.wait_for("plugin_printed", text="done in the background")
    assert host.stop() == 0


@that_can("lifespan")
def test_start_and_end_of_each_worker(serve: Serve, framework: Framework) -> None:
    host = serve(framework)
    assert host.stop() == 0
    said = [each["text"] for each in host.events("plugin_printed")]
    assert sorted(said) == ["shutdown"] * 2 + ["startup"] * 2


@that_can("websocket")
def test_a_websocket_until_the_worker_goes(serve: Serve, framework: Framework) -> None:
    host = serve(framework)
    with connect_websocket(f"ws://127.0.0.1:{host.port}/echo") as one:
        for text in ("hello", "x" * 900_000):
            one.send(text)
            assert one.recv(timeout=patience(20)) == text
        host.signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            one.recv(timeout=patience(20))
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1001
    assert host.wait() == 0
