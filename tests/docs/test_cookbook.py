"""Each recipe of the cookbook does what its page says, in a real host."""

import contextlib
import hashlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from support.hosting import eventually
from walkthrough import ROOT, Block, blocks

PAGES = ["docs/cookbook.md", "docs/cookbook-waiting.md", "docs/pools.md"]
RECIPES: dict[str, Block] = {
    block.file: block for page in PAGES for block in blocks(ROOT / page) if block.file
}


@pytest.fixture
def serve(host_server, tmp_path):
    """Start a host with a recipe, saved as its page says."""

    def serve(file: str, **arguments):
        (tmp_path / file).write_text(RECIPES[file].text, encoding="utf-8")
        return host_server(f"./{file}", **arguments)

    return serve


def receive(client: socket.socket, size: int) -> bytes:
    """Receive so many bytes, or what comes until the end."""
    data = b""
    while len(data) < size and (more := client.recv(size - len(data))):
        data += more
    return data


def ask(client: socket.socket, question: bytes) -> bytes:
    """Send a line; return the line that comes."""
    client.sendall(question + b"\n")
    answer = b""
    while not answer.endswith(b"\n") and (more := client.recv(1000)):
        answer += more
    return answer


def test_each_recipe_has_a_test():
    tested = {name.removeprefix("test_").split("_")[0] for name in globals() if "test_" in name}
    assert {file.removesuffix(".py") for file in RECIPES} <= tested


def test_ticker_tells_all_clients_every_second(serve):
    host = serve("ticker.py")
    with host.connect() as first, host.connect() as second:
        for client in (first, second):
            one, two = receive(client, 4).split()
            assert int(two) == int(one) + 1


def test_cleaner_has_one_worker_and_another_one_when_that_is_gone(serve):
    host = serve("cleaner.py", workers=3)
    told = host.wait_for("plugin_printed", count=2)
    first = told["text"]
    assert {each["text"] for each in host.events("plugin_printed")} == {first}
    host.kill_worker(int(first.split()[1]))
    host.wait_for("worker_ready", count=4)
    mark = len(host.events("plugin_printed"))
    host.wait_for("plugin_printed", count=mark + 2)
    after = host.events("plugin_printed")[mark:]
    assert len({each["pid"] for each in after[1:]}) == 1


def test_patient_ends_each_kind_of_silence(serve):
    host = serve("patient.py")
    with host.connect() as silent, host.connect() as slow, host.connect() as idle:
        assert ask(idle, b"hello") == b"you said hello\n"
        slow.sendall(b"half a req")
        assert [client.recv(10) for client in (silent, slow, idle)] == [b"", b"", b""]
    host.wait_for("plugin_printed", count=3)
    told = [each["text"] for each in host.events("plugin_printed")]
    assert len(told) == 3
    assert all(text.endswith("was too slow") for text in told)


def drip(client: socket.socket) -> None:
    """Send a byte now and then, until the host has closed the connection."""
    client.settimeout(0.1)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        while True:
            client.sendall(b"x")
            with contextlib.suppress(TimeoutError):
                if not client.recv(10):
                    return


def test_patient_is_not_deceived_by_a_byte_now_and_then(serve):
    host = serve("patient.py")
    with host.connect() as client:
        drip(client)
    host.wait_for("plugin_printed")


def test_device_keeps_the_order_of_its_messages(serve):
    host = serve("device.py")
    with host.connect() as client:
        client.sendall(struct.pack(">BxH6s", 1, 6, b"sensor"))
        client.sendall(struct.pack(">BxHdBxHd", 2, 8, 1.5, 2, 8, 2.0))
        assert receive(client, 28) == struct.pack(">BxHBxHdBxHd", 128, 0, 128, 8, 1.5, 128, 8, 3.5)


@pytest.mark.parametrize(
    "wrong",
    [
        struct.pack(">BxHd", 2, 8, 1.5),
        struct.pack(">BxH", 77, 0),
        struct.pack(">BxH", 1, 5000),
        struct.pack(">BxH2s", 1, 2, b"\xff\xff"),
        struct.pack(">BxH1sBxH1s", 1, 1, b"s", 2, 1, b"x"),
    ],
    ids=["no login", "unknown", "too long", "no UTF-8", "a body of the wrong size"],
)
def test_device_refuses_what_makes_no_sense(serve, wrong):
    host = serve("device.py")
    with host.connect() as client:
        client.sendall(wrong)
        answer = receive(client, 1000)
    if answer[0] == 128:
        answer = answer[4:]
    assert answer[0] == 129
    assert len(answer) == 4 + struct.unpack_from(">BxH", answer)[1]


def knows_blue(client: socket.socket) -> bool:
    return ask(client, b"colour") == b"blue\n"


def test_colour_is_the_same_in_all_workers(serve):
    host = serve("colour.py", workers=2)
    with host.connect() as first, host.connect() as second:
        assert [ask(first, b"colour"), ask(second, b"colour")] == [b"grey\n", b"grey\n"]
        first.sendall(b"colour blue\n")
        eventually(partial(knows_blue, second), "the other worker knows it")
    host.kill_worker(0)
    host.wait_for("worker_ready", count=3)
    with host.connect() as third, host.connect() as fourth:
        for client in (third, fourth):
            eventually(partial(knows_blue, client), "a new worker knows it")


def test_audit_is_in_the_log_with_its_name(serve):
    host = serve("audit.py")
    with host.connect() as client:
        assert ask(client, b"hello") == b"hello\n"
    event = host.wait_for("plugin_logged")
    assert event["plugin"] == "audit"
    assert event["text"].endswith("has sent 6 bytes (peer finished sending)")


def test_stopping_ends_the_host_with_a_reason(serve):
    host = serve("stopping.py")
    with host.connect() as client:
        assert ask(client, b"stop") == b"bye\n"
    assert host.wait() == 0
    assert "asked by 127.0.0.1" in host.events("stop_asked")[0]["message"]


def test_digest_answers_in_order_and_after_the_end_of_what_is_asked(serve):
    host = serve("digest.py")
    expected = b"".join(
        hashlib.pbkdf2_hmac("sha256", b"%d" % number, b"salt", 100_000).hex().encode() + b"\n"
        for number in range(5)
    )
    with host.connect() as client:
        client.sendall(b"".join(b"%d\n" % number for number in range(5)))
        client.shutdown(socket.SHUT_WR)
        assert receive(client, len(expected) + 1) == expected
    assert host.stop() == 0


def test_later_answers_in_order_and_after_the_end_of_what_is_asked(serve):
    host = serve("later.py")
    with host.connect() as client:
        client.sendall(b"one\ntwo\nthree\n")
        client.shutdown(socket.SHUT_WR)
        assert receive(client, 1000) == b"hello one\nhello two\nhello three\n"
    assert host.stop() == 0


def test_visits_are_counted_over_all_workers(serve, tmp_path):
    path = str(tmp_path / "visits.sqlite3")
    host = serve("visits.py", workers=2, options={"visits": {"path": path}})
    clients = [host.connect() for _ in range(10)]
    counts = [int(ask(client, b"anna")) for _ in range(10) for client in clients]
    assert sorted(counts) == list(range(1, 101))
    for client in clients:
        client.close()
    assert host.stop() == 0


@contextlib.contextmanager
def service(answer: Callable[[bytes], bytes]) -> Iterator[int]:
    """Answer lines on a port of this machine; end with the tests' connections."""

    def talk(client: socket.socket) -> None:
        with client, client.makefile("rb") as lines:
            for line in lines:
                reply = answer(line)
                if not reply:
                    return
                client.sendall(reply)

    def listen() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=talk, args=(client,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=listen, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def test_gateway_hands_on_and_connects_again(serve):
    with service(lambda line: b"" if line == b"hang up\n" else line.upper()) as port:
        host = serve("gateway.py", options={"gateway": {"port": port}})
        with host.connect() as client:
            assert ask(client, b"hello") == b"HELLO\n"
            assert ask(client, b"hang up") == b"unavailable\n"
            assert ask(client, b"again") == b"AGAIN\n"
            client.sendall(b"last\n")
            client.shutdown(socket.SHUT_WR)
            assert receive(client, 100) == b"LAST\n"
    assert host.stop() == 0


def test_gateway_tells_that_nobody_answers(serve):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    host = serve("gateway.py", options={"gateway": {"port": port}})
    with host.connect() as client:
        assert ask(client, b"hello") == b"unavailable\n"
    assert "ConnectionRefusedError" in host.wait_for("plugin_printed")["text"]


def test_strong_answers_in_the_order_of_the_lines(serve):
    host = serve("strong.py", settings={"pools.default.size": 2})
    words = [b"a", b"b", b"c"]
    with host.connect() as client:
        client.sendall(b"a\nb\nc\n")
        client.shutdown(socket.SHUT_WR)
        digests = receive(client, 1000).split()
    assert digests == [
        hashlib.pbkdf2_hmac("sha256", word, b"salt", 100_000).hex().encode() for word in words
    ]
