"""What the page on ASGI shows does what the page says, in a real host."""

import urllib.request

import pytest
from websockets.sync.client import connect

from host.plugins.asgi.options import Options
from host.testing.machine import patience
from support.pages import table
from walkthrough import ROOT, Block, blocks

PAGE = ROOT / "docs" / "asgi.md"
FILES: dict[str, Block] = {block.file: block for block in blocks(PAGE) if block.file}


@pytest.fixture
def serve(host_server, tmp_path):
    """Start a host with an app, saved as the page says."""

    def serve(file: str, name: str, **options):
        (tmp_path / file).write_text(FILES[file].text, encoding="utf-8")
        app = f"{file.removesuffix('.py')}:{name}"
        return host_server("asgi", workers=2, options={"asgi": {"app": app, **options}})

    return serve


def get(host, path):
    address = f"http://127.0.0.1:{host.port}{path}"
    with urllib.request.urlopen(address, timeout=patience(20)) as answer:
        return answer.read()


def test_each_file_has_a_test():
    assert set(FILES) == {"main.py", "site_of_threads.py"}


def test_an_app_of_fastapi(serve):
    host = serve("main.py", "app")
    assert get(host, "/") == b'{"message":"hello"}'
    with connect(f"ws://127.0.0.1:{host.port}/echo") as client:
        client.send("hello")
        assert client.recv() == "hello"
    assert host.stop() == 0


def test_an_app_that_speaks_wsgi(serve):
    host = serve("site_of_threads.py", "make", factory=True)
    assert get(host, "/a%20b") == b"hello from /a b\n"
    assert host.stop() == 0


def test_the_table_of_options_is_that_of_the_code():
    assert [name for name, *_ in table(PAGE, "option")] == [
        f"`{name}`" for name in Options.model_fields
    ]
