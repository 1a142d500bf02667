"""The plugins of the page on coordination, and of the framers, do what they say."""

import contextlib
import io
import signal
import socket

import pytest

from host.testing import Harness
from walkthrough import ROOT, blocks

PAGE = "docs/coordination.md"


def text_of(page, beginning):
    [block] = [
        each for each in blocks(ROOT / page) if each.language == "python" and beginning in each.text
    ]
    return block.text


@pytest.fixture
def harness_of(tmp_path):
    """Start two workers with the plugin of a page that has this name."""
    with contextlib.ExitStack() as stack:

        def start(name, page=PAGE):
            path = tmp_path / f"{name.lower()}.py"
            path.write_text(text_of(page, f"class {name}:"), encoding="utf-8")
            harness = stack.enter_context(Harness(str(path), workers=2))
            harness.run()
            return harness

        yield start


def said(harness, connection, data):
    """Return what a peer is told after it has said something."""
    connection.feed(data)
    harness.run()
    return connection.take()


def test_who_logs_in_with_a_name_in_use_takes_its_place(harness_of):
    harness = harness_of("Login")
    first, second = harness.connect(0), harness.connect(1)
    assert said(harness, first, b"ann\n") == b"welcome\n"
    assert said(harness, second, b"ann\n") == b"welcome\n"
    assert first.closed
    third = harness.connect(1)
    assert said(harness, third, b"ann\n") == b"welcome\n"
    assert second.closed
    harness.kill(1)
    last = harness.connect(0)
    assert said(harness, last, b"ann\n") == b"welcome\n"
    harness.bus.take_key("login.ann")
    harness.run()
    assert last.closed


def test_news_reach_who_has_subscribed(harness_of):
    harness = harness_of("News")
    hearer, speaker = harness.connect(0), harness.connect(1)
    said(harness, speaker, b"sport/golf 3\n")
    assert said(harness, hearer, b"+sport/#\n") == b"last: 3\nsubscribed\n"
    said(harness, speaker, b"sport/tennis 6:4\nother 1\n")
    assert hearer.take() == b"6:4\n"
    assert said(harness, hearer, b"+a/#/b\n") == b""
    assert hearer.closed
    said(harness, speaker, b"sport/tennis 6:4\n")
    assert not speaker.closed


def test_messages_wait_for_who_is_away(harness_of):
    harness = harness_of("Mailbox")
    sender, reader = harness.connect(0), harness.connect(1)
    assert said(harness, sender, b"ann hello\nann " + b"x" * 70_000 + b"\n") == b"kept\nkept\n"
    harness.kill(0)
    assert said(harness, reader, b"ann\n") == b"hello\n" + b"x" * 70_000 + b"\n"
    assert said(harness, reader, b"ann\n") == b""
    harness.bus.away = True
    assert said(harness, reader, b"ann\n") == b"not known, try again\n"
    assert said(harness, reader, b"ann 1\n") == b""
    harness.bus.away = False
    harness.run()
    assert reader.take() == b"kept\n"


def test_a_queue_holds_as_many_short_messages_as_the_page_says(harness_of):
    harness = harness_of("Mailbox")
    sender = harness.connect(0)
    answers = b"".join(
        said(harness, sender, (b"bob " + b"x" * 50 + b"\n") * 500) for _ in range(34)
    )
    assert 14_000 < answers.splitlines().count(b"kept") < 16_000
    assert answers.endswith(b"\nnot kept, try again\n")


def test_each_worker_has_a_copy(harness_of):
    harness = harness_of("Rooms")
    one, other = harness.connect(0), harness.connect(1)
    assert said(harness, one, b"lobby\n") == b"(none)\n"
    assert said(harness, one, b"lobby hello\n") == b"done\n"
    assert said(harness, other, b"lobby\n") == b"hello\n"
    assert said(harness, other, b"lobby bye\n") == b"done\n"
    assert said(harness, one, b"lobby again\n") == b"done\n"
    harness.bus.away = True
    assert said(harness, one, b"lobby more\n") == b"try again\n"
    assert said(harness, other, b"lobby\n") == b"again\n"


def test_all_are_told_also_of_who_was_at_a_worker_that_was_killed(harness_of):
    harness = harness_of("Farewell")
    gone, hearer = harness.connect(0), harness.connect(1)
    assert said(harness, gone, b"bye\n") == b"noted\n"
    harness.kill(0)
    harness.run()
    assert hearer.take() == b"bye\n"
    leaver = harness.connect(1)
    assert said(harness, leaver, b"adieu\n") == b"noted\n"
    leaver.close()
    harness.run()
    assert hearer.take() == b"adieu\n"


def test_no_line_is_lost_while_the_broker_is_away(harness_of):
    harness = harness_of("Feed")
    sender, hearer = harness.connect(0), harness.connect(1)
    harness.bus.away = True
    for _ in range(1000):
        sender.feed(b"y" * 9000 + b"\n")
    harness.run()
    assert not hearer.take()
    harness.bus.away = False
    harness.run()
    assert hearer.take() == (b"y" * 9000 + b"\n") * 1000


def test_one_worker_sweeps(harness_of, capsys):
    harness = harness_of("Sweeper")
    harness.advance(25)
    assert capsys.readouterr().out == "worker 0 sweeps\n" * 3
    harness.kill(0)
    harness.advance(11)
    assert "worker 1 sweeps\n" in capsys.readouterr().out


def test_a_flag_is_moved():
    names = {}
    exec(text_of(PAGE, "async def move"), names)
    with Harness("echo") as harness:
        worker, found = harness.workers[0], []
        worker.bus.table("flags").set("old", b"1")
        harness.run()
        task = worker.asyncio.create_task(names["move"](worker, "old", "new"))
        harness.run()
        assert task.result() is True
        worker.bus.table("flags").items(found.append)
        harness.run()
        assert found == [{"new": b"1"}]


def test_deliveries_are_confirmed():
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        exec(text_of(PAGE, "DeliveryWindow("), {})
    assert shown.getvalue() == "1 b'one'\n2 b'two'\n3 b'three'\n"


def test_messages_are_answered_in_their_order_a_second_later(harness_of):
    harness = harness_of("Measure", "docs/line.md")
    peer, wrong = harness.connect(0), harness.connect(0)
    peer.feed(b"\x00\x03abc\x00\x01x")
    harness.advance(1.1)
    assert peer.take() == b"\x00\x013"
    harness.advance(1.1)
    assert peer.take() == b"\x00\x011"
    said(harness, wrong, b"\xff\xff")
    assert wrong.closed
    harness.advance(61)
    assert peer.closed


def test_fields_are_as_shown(capsys):
    exec(text_of("docs/line.md", "FieldReader("), {})
    assert capsys.readouterr().out == "1 room b'hi' True b'!'\n"


@pytest.fixture
def real_host_of(tmp_path, host_server):
    """Start a real host of two workers with the plugin of the page that has this name."""

    def start(name, change=lambda text: text):
        path = tmp_path / f"{name.lower()}.py"
        path.write_text(change(text_of(PAGE, f"class {name}:")), encoding="utf-8")
        return host_server(str(path), workers=2)

    return start


@pytest.mark.parametrize(
    "name", ["Login", "News", "Mailbox", "Rooms", "Farewell", "Feed", "Sweeper"]
)
def test_a_real_host_serves_it_also_after_a_worker_was_killed(real_host_of, name):
    host = real_host_of(name)
    with host.connect() as first, host.connect() as second:
        for peer in (first, second):
            peer.sendall(b"ann hello\n")
        host.kill_worker(0)
        host.wait_for("worker_ready", slot=0, count=2)
    with host.connect() as last:
        last.sendall(b"ann hello\n")
        last.shutdown(socket.SHUT_WR)
        while last.recv(65_536):
            pass
    host.stop()
    assert host.events("hook_failed") == host.events("callback_failed") == []


def test_what_a_client_leaves_in_a_reload_is_said_once(real_host_of, tmp_path):
    said = tmp_path / "said"
    said.touch()

    def change(text):
        begin = "    def say(self, text: bytes, done: Callable[[bool], object]) -> None:\n"
        assert begin in text
        noting = f"        open({str(said)!r}, 'ab', buffering=0).write(text + b'\\n')\n"
        closing = "\n    @hookimpl\n    def on_drain(self, connection: Connection) -> None:\n"
        return text.replace(begin, begin + noting) + closing + "        connection.close()\n"

    host = real_host_of("Farewell", change)
    clients = 12
    peers = [host.connect() for _ in range(clients)]
    for number, peer in enumerate(peers):
        peer.sendall(b"client %d\n" % number)
        assert peer.recv(100) == b"noted\n"
    host.signal(signal.SIGHUP)
    for peer in peers:
        while peer.recv(65_536):
            pass
        peer.close()
    host.stop()
    lines = said.read_bytes().splitlines()
    assert sorted(lines) == sorted(b"client %d" % number for number in range(clients))
