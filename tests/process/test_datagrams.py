"""UDP listeners of real hosts: who answers, from where, and what is lost when workers go."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from host.control import client as control
from host.testing.machine import patience
from support.asking import fresh_name
from support.datagrams import Crowd, Load, ask, client, status
from support.hosting import SUPPORT, Host, Refuse, Start, eventually, freeze, thaw
from support.scraping import scrape, total

pytestmark = [pytest.mark.process, pytest.mark.warm]

ANSWERING = str(SUPPORT / "answering.py")
UDP = ("udp://127.0.0.1:0",)


def owned(host: Host) -> list[int]:
    """Return how many shards each worker has, in ascending order."""
    return sorted(each["shards"] for each in status(host)["workers"])


def counts(host: Host) -> dict[str, int]:
    """Return what the only listener has counted of its datagrams."""
    [listener] = status(host)["listeners"]
    found: dict[str, int] = listener["datagrams"]
    return found


@pytest.mark.parametrize("address", ["udp://127.0.0.1:0", "udp://[::1]:0"])
def test_a_datagram_is_answered(start: Start, address: str) -> None:
    host = start(plugin="echo", listen=(address,), workers=2)
    with client(host.address) as sock:
        assert ask(sock, b"hello") == b"hello"
        assert ask(sock, b"") == b""
        assert ask(sock, bytes(8000)) == bytes(8000)
    assert host.stop() == 0


@pytest.mark.parametrize(
    ("address", "asked"),
    [
        ("udp://0.0.0.0:0", ["127.0.0.1", "127.0.0.5", "127.1.2.3"]),
        ("udp://[::]:0", ["::1"]),
    ],
)
def test_an_answer_comes_from_the_address_that_was_asked(
    start: Start, address: str, asked: list[str]
) -> None:
    host = start(plugin="echo", listen=(address,), workers=2)
    port = int(host.address.rpartition(":")[2])
    family = socket.AF_INET6 if "[" in address else socket.AF_INET
    for one in asked:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.settimeout(10)
            sock.sendto(b"x", (one, port))
            data, source = sock.recvfrom(10)
            assert (data, source[:2]) == (b"x", (one, port))


def test_workers_share_the_shards_out_and_each_client_stays_with_one(start: Start) -> None:
    host = start(plugin=ANSWERING, listen=UDP, workers=3)
    with Crowd(host.address, 100) as crowd:
        # The first worker that is ready has all shards, until the others are.
        eventually(lambda: len(set(crowd.ask_all(b"who"))) == 3, "all three answer")
        eventually(lambda: owned(host) == [21, 21, 22], "the shards are dealt evenly")
        assert len(set(crowd.ask_all(b"who"))) == 3
        assert crowd.ask_all(b"who") == crowd.ask_all(b"who")


def test_workers_that_are_killed_lose_what_they_had_read_and_no_more(start: Start) -> None:
    host = start(plugin="echo", listen=UDP, workers=3)
    kills = 12
    with Load(host.address, 200) as load:
        for number in range(kills):
            load.goes_on()
            host.kill_worker(number % 3)
            host.wait_for("worker_ready", count=4 + number)
        load.goes_on()
        load.finish()
    assert load.lost <= kills  # each is answered before the next one is read
    assert load.disorder == []
    eventually(
        lambda: counts(host)["replies"] > 0, "it is counted, which a worker does now and then"
    )
    told = counts(host)
    assert (told["lost"], told["dropped_replies"]) == (0, 0)
    # A worker that is killed has not written yet what it has counted last.
    assert told["replies"] <= load.answered


def test_kills_lose_no_count_of_a_host_that_is_shown(start: Start) -> None:
    """Each kill may leave one datagram unread or unanswered, and one reply that nobody was sent."""
    host = start("--ops", "tcp://127.0.0.1:0", plugin="echo", listen=UDP, workers=2)
    [listening] = host.events("ops_listening")
    name, kills = "prefork_datagram{}_total".format, 8
    with Load(host.address, 100) as load:
        for number in range(kills):
            load.goes_on()
            answered = load.answered
            assert total(scrape(listening["address"]), name("s_received")) >= answered
            host.kill_worker(number % 2)
            host.wait_for("worker_ready", count=3 + number)
        load.goes_on()
        load.finish()
    found, answered = scrape(listening["address"]), load.answered
    assert answered <= total(found, name("s_received")) <= answered + kills
    eventually(
        lambda: total(scrape(listening["address"]), name("_replies")) >= answered,
        "the last reply is counted, which its client may have had before",
    )
    assert total(scrape(listening["address"]), name("_replies")) <= answered + kills
    sent = total(scrape(listening["address"]), "prefork_sent_bytes_total")
    assert 8 * (answered - kills) <= sent <= 8 * (answered + kills)


def test_what_the_kernel_has_lost_is_shown_over_deaths_and_reloads(start: Start) -> None:
    settings = {"lifecycle.hang_seconds": 60.0, "lifecycle.respawn_backoff_max_seconds": 0.1}
    host = start(
        *("--ops", "tcp://127.0.0.1:0"), plugin="echo", listen=UDP, workers=1, settings=settings
    )
    [listening] = host.events("ops_listening")

    def shown() -> float:
        return total(
            scrape(listening["address"]), "prefork_datagrams_lost_total", listener=host.address
        )

    assert shown() == 0
    for number in range(1, 3):
        freeze(host.workers[0])
        with client(host.address) as sock:
            while counts(host)["lost"] < 100 * number:  # the socket's queue is full at some time
                for _ in range(100):
                    sock.send(bytes(1000))
        lost = counts(host)["lost"]
        assert shown() == lost
        host.kill_worker(0)
        host.wait_for("worker_ready", count=2 * number)
        assert shown() == lost
        host.signal(signal.SIGHUP)
        host.wait_for("generation_ready", generation=number)
        assert shown() == counts(host)["lost"] == lost


@pytest.mark.slow
def test_reloads_and_other_numbers_of_workers_lose_nothing(start: Start) -> None:
    host = start(plugin="echo", listen=UDP, workers=2)
    with Load(host.address, 200) as load:
        for number in range(1, 4):
            load.goes_on()
            host.signal(signal.SIGHUP)
            host.wait_for("generation_ready", generation=number)
            host.signal(signal.SIGTTIN if number % 2 else signal.SIGTTOU)
            host.wait_for("workers_scaled", count=number)
        host.kill_worker(0, signal.SIGTERM)  # it asks to be replaced
        load.goes_on()
        load.finish()
    assert (load.lost, load.disorder) == (0, [])
    assert counts(host)["lost"] == 0
    eventually(lambda: counts(host)["replies"] > 0, "the generation counts its own")
    eventually(lambda: owned(host) == [21, 21, 22], "the shards are dealt evenly")


def test_a_worker_that_hangs_is_blamed_on_the_datagram_and_its_clients_go_to_others(
    start: Start,
) -> None:
    host = start(plugin=ANSWERING, listen=UDP, workers=2, settings={"lifecycle.hang_seconds": 1.0})
    with client(host.address) as bad, Crowd(host.address, 40) as others:
        bad.send(b"hang")
        name = "{}:{}".format(*bad.getsockname())
        hung = host.wait_for("worker_hung")
        assert hung["place"] == f"in hook on_datagram of plugin answering, datagram from {name}"
        assert others.ask_all(b"hello") == [b"hello"] * 40
        assert ask(bad, b"hello") == b"hello"
    host.wait_for("worker_died", slot=hung["slot"])


def test_who_crashes_a_worker_is_named(start: Start) -> None:
    host = start(plugin=ANSWERING, listen=UDP, workers=1)
    with client(host.address) as bad:
        bad.send(b"die")
        ended = host.wait_for("worker_died")
        assert ended["place"].endswith("datagram from {}:{}".format(*bad.getsockname()))
        assert ask(bad, b"hello") == b"hello"


def test_a_failure_costs_one_answer_and_is_told_with_the_sender(start: Start) -> None:
    host = start(plugin=ANSWERING, listen=UDP, workers=1)
    with client(host.address) as bad:
        bad.send(b"fail")
        assert ask(bad, b"hello") == b"hello"
        failed = host.wait_for("hook_failed")
        assert (failed["plugin"], failed["hook"]) == ("answering", "on_datagram")
        assert failed["peer"] == "{}:{}".format(*bad.getsockname())


def test_no_stranger_is_answered_with_many_bytes(start: Start) -> None:
    host = start(plugin=ANSWERING, listen=UDP, workers=1)
    with client(host.address) as sock, client(host.address) as stranger:
        sock.send(b"many")
        assert host.wait_for("replies_refused")["peer"] == "{}:{}".format(*sock.getsockname())
        assert ask(sock, b"trust") == b"yes"
        assert ask(sock, b"many") == bytes(1000)
        stranger.send(b"many")
        assert ask(stranger, b"later") == b"late"
    eventually(lambda: counts(host)["refused_replies"] == 2, "both are counted")
    assert len(host.events("replies_refused")) == 1


def test_who_is_not_allowed_is_counted(start: Start, tmp_path: Path) -> None:
    config = tmp_path / "host.toml"
    listen = '[[listen]]\naddress = "udp://127.0.0.1:0"\nplugin = "echo"\nallow = ["127.0.0.2"]\n'
    config.write_text(f'name = "{fresh_name()}"\n' + listen)
    host = start("--config", str(config), plugin="echo", listen=(), workers=1)
    with client(host.address) as stranger, client(host.address, source="127.0.0.2") as friend:
        stranger.send(b"x")
        assert ask(friend, b"hello") == b"hello"
        eventually(lambda: status(host)["listeners"][0]["refusals"]["denied"] == 1, "counted")


def test_a_client_that_sends_too_many_is_refused_by_all_workers_and_others_are_not(
    start: Start,
) -> None:
    settings = {"limits.rate_per_client": "5/h", "limits.burst_per_client": 5}
    host = start(plugin="echo", listen=UDP, workers=2, settings=settings)
    with Crowd(host.address, 40) as crowd, client(host.address, source="127.0.0.2") as other:
        crowd.send(b"x")
        eventually(lambda: status(host)["listeners"][0]["refusals"]["rate"] == 35, "counted")
        assert ask(other, b"hello") == b"hello"
        assert sum(map(len, crowd.heard())) == 5
    eventually(lambda: counts(host)["received"] == 41, "all were read")


@pytest.mark.parametrize("workers", [1, 3])
def test_what_waits_is_answered_before_the_host_ends(start: Start, workers: int) -> None:
    host = start(plugin="echo", listen=UDP, workers=workers)
    with Crowd(host.address, 50) as crowd:
        crowd.ask_all(b"hello")
        for pid in host.workers.values():
            freeze(pid)
        for number in range(10):
            crowd.send(b"%d" % number)
        host.signal(signal.SIGTERM)
        host.wait_for("host_stopping")
        for pid in host.workers.values():
            thaw(pid)
        assert host.wait() == 0
        assert crowd.heard() == [[b"%d" % number for number in range(10)]] * 50
        with pytest.raises(ConnectionRefusedError):
            ask(crowd.clients[0], b"hello")


def test_a_listener_that_a_reload_drops_is_closed_and_a_new_one_served(
    start: Start, tmp_path: Path
) -> None:
    config = tmp_path / "host.toml"
    begin = f'name = "{fresh_name()}"\nplugins = ["echo"]\nlisten = '
    config.write_text(begin + '["udp://127.0.0.1:0", "tcp://127.0.0.1:0"]\n')
    host = start("--config", str(config), plugin=None, listen=(), workers=2)
    old, _ = host.addresses
    with client(old) as sock:
        assert ask(sock, b"hello") == b"hello"
        config.write_text(begin + '["tcp://127.0.0.1:0", "udp://[::1]:0"]\n')
        host.signal(signal.SIGHUP)
        host.wait_for("generation_ready")
        new = host.events("listening")[-1]["address"]
        with client(new) as other:
            assert ask(other, b"hello") == b"hello"
        assert host.wait_for("not_listening")["address"] == old
        host.wait_for("worker_exited", count=2)
        with pytest.raises(ConnectionRefusedError):
            ask(sock, b"hello")
    eventually(lambda: owned(host) == [32, 32], "all are dealt")


def test_a_worker_that_is_held_gives_its_clients_to_others(start: Start) -> None:
    host = start(plugin=ANSWERING, listen=UDP, workers=2)
    with Crowd(host.address, 30) as crowd:
        name = host.events("host_starting")[0]["name"]
        held = control.ask(name, "hold", {"slot": 0}, patience(10))["pid"]
        eventually(lambda: owned(host) == [0, 64], "all shards are with one worker")
        assert b"%d" % held not in crowd.ask_all(b"who")
        control.ask(name, "resume", {"slot": 0}, patience(10))
        eventually(lambda: owned(host) == [32, 32], "the shards are dealt anew")
        eventually(lambda: b"%d" % held in crowd.ask_all(b"who"), "the worker answers again")


def test_a_second_host_is_refused_at_the_same_address(start: Start, refuse: Refuse) -> None:
    host = start(plugin="echo", listen=UDP, workers=1)
    refused = refuse("--plugin", "echo", "--listen", host.address)
    assert "another process listens there" in refused.message
