"""The plugins that pages show can be loaded as they stand."""

from pathlib import Path
from socket import SHUT_WR

import pytest
from click.testing import CliRunner

from host import CloseReason, settings
from host.cli.main import main
from host.plugin.loading import load
from host.testing import Harness
from walkthrough import ROOT, blocks

PAGES = [
    "docs/bus.md",
    "docs/connections.md",
    "docs/coordination.md",
    "docs/line.md",
    "docs/order.md",
]
PLUGINS = [
    pytest.param(block.text, id=f"{page}:{block.line}")
    for page in PAGES
    for block in blocks(ROOT / page)
    if block.language == "python" and "hookimpl" in block.text
]


@pytest.mark.parametrize("text", PLUGINS)
def test_a_plugin_that_is_shown_can_be_loaded(text, tmp_path):
    path = tmp_path / "shown.py"
    path.write_text(text, encoding="utf-8")
    flags = {"plugins": (["line", str(path)], "--plugin")}
    registry = load(settings.load(flags=flags, environ={}))
    assert "shown" in [plugin.name for plugin in registry.plugins]


def shown(page: str, name: str, folder: Path) -> str:
    """Save the plugin of a page that has this class; return its path."""
    texts = [block.text for block in blocks(ROOT / page) if f"class {name}" in block.text]
    path = folder / f"{name.lower()}.py"
    path.write_text(texts[0], encoding="utf-8")
    return str(path)


def test_the_relay_of_the_bus_page_leaves_clients_of_other_listeners_alone(tmp_path):
    with Harness(shown("docs/bus.md", "Relay", tmp_path), "echo", workers=2) as harness:
        first, second = harness.connect(0, protocol="relay"), harness.connect(1, protocol="relay")
        other = harness.connect(1, protocol="echo")
        first.feed(b"hello")
        harness.run()
        assert (first.take(), second.take(), other.take()) == (b"hello", b"hello", b"")


def test_the_guard_of_the_page_of_order_is_called_in_the_order_that_it_shows(tmp_path, monkeypatch):
    shown("docs/order.md", "Guard", tmp_path)
    monkeypatch.chdir(tmp_path)
    [text] = [each.text for each in blocks(ROOT / "docs/order.md") if each.language == "console"]
    command, _, said = text.partition("\n")
    found = CliRunner().invoke(main, command.removeprefix("$ python -m host ").split())
    assert found.output == said


def test_the_clock_of_the_page_of_connections_answers_later_and_does_not_keep_silent_ones(
    tmp_path,
):
    with Harness(shown("docs/connections.md", "Clock", tmp_path)) as harness:
        silent, client = harness.connect(), harness.connect()
        for _ in range(30):
            client.feed(b"what time is it?\n")
            harness.advance(1)
        assert client.take() == b"".join(b"tick %d\n" % number for number in range(1, 31))
        assert (silent.reason, client.reason) == (CloseReason.TIMEOUT, None)
        harness.advance(61)
        assert client.reason is CloseReason.TIMEOUT


def test_the_slow_answer_of_the_page_of_connections_is_not_lost(host_server, tmp_path):
    host = host_server(shown("docs/connections.md", "Slow", tmp_path))
    with host.connect() as client:
        client.sendall(b"question")
        client.shutdown(SHUT_WR)
        assert client.recv(100) == b"QUESTION"
        assert client.recv(100) == b""
