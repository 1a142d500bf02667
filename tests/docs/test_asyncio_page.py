"""What the page on asyncio shows does what the page says, in a real host."""

import pytest
from websockets.sync.client import connect

from host.asyncio.goodbyes import GOODBYES
from support.pages import table
from walkthrough import ROOT, Block, blocks

PAGE = ROOT / "docs" / "asyncio.md"
FILES: dict[str, Block] = {block.file: block for block in blocks(PAGE) if block.file}


@pytest.fixture
def serve(host_server, tmp_path):
    """Start a host with a plugin, saved as the page says."""

    def serve(file: str, name: str = ""):
        (tmp_path / file).write_text(FILES[file].text, encoding="utf-8")
        return host_server(f"./{file}{name}", workers=2)

    return serve


def test_each_file_has_a_test():
    assert set(FILES) == {"shout.py", "rooms.py", "lookup.py"}


def test_the_coroutine_answers(serve):
    host = serve("shout.py", ":app")
    with host.connect() as client, client.makefile("rb") as answers:
        client.sendall(b"hello\nworld\n")
        assert answers.readline() == b"HELLO\n"
        assert answers.readline() == b"WORLD\n"
    assert host.stop() == 0


def test_the_library_that_makes_a_server_is_served(serve):
    host = serve("rooms.py")
    with connect(f"ws://127.0.0.1:{host.port}") as client:
        client.send("x" * 900_000)
        assert client.recv() == "x" * 900_000


def test_a_plugin_of_hooks_uses_the_event_loop(serve):
    host = serve("lookup.py")
    with host.connect() as client, client.makefile("rb") as answers:
        client.sendall(b"hello\n")
        assert answers.readline() == b"olleh\n"
        client.sendall(b"again\n")
        client.shutdown(1)
        assert answers.read() == b"niaga\n"


def test_the_table_of_goodbyes_is_that_of_the_code():
    assert [name for name, _ in table(PAGE, "protocol of")] == sorted(GOODBYES)
