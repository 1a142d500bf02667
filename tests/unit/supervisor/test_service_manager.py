"""What the service manager is told, and when, as the supervisor's events come."""

import errno
import os

import pytest

from host.supervisor.service_manager import ServiceManager
from host.telemetry import events
from support.supervision import site

FULL = BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


class Sent:
    """Takes messages, or does not: `refuses` is the error that it answers with."""

    def __init__(self, watchdog_seconds=None):
        self.address, self.watchdog_seconds = "@manager", watchdog_seconds
        self.messages, self.refuses, self.tries = [], None, 0

    def send(self, text, descriptor=None):
        self.tries += 1
        if self.refuses is not None:
            raise self.refuses
        assert (descriptor is not None) == ("FDSTORE=1" in text)
        self.messages.append(text.split("\n"))

    def close(self):
        self.refuses = OSError(errno.EBADF, os.strerror(errno.EBADF))

    def lines(self, start):
        return [line for lines in self.messages for line in lines if line.startswith(start)]

    @property
    def words(self):
        return [line.removeprefix("STATUS=") for line in self.lines("STATUS=")]


@pytest.fixture
def host():
    with site() as made:
        yield made


def tell(host, sent, before=None):
    made = ServiceManager(sent, host.told.telemetry, host.state, before, {})
    made.begin()
    return made


def test_without_a_service_manager_nothing_happens(host):
    service = ServiceManager(None, host.told.telemetry, host.state, None, {})
    service.begin()
    host.start()
    assert service.hand_over() is None
    service.end()
    service.leave()


def test_words_come_when_something_has_changed_and_once_a_second_at_most(host):
    sent = Sent()
    tell(host, sent)
    first, _second = host.start()
    assert sent.messages[-1] == ["READY=1", "STATUS=serving: 2 of 2 workers, generation 0"]
    host.end(first, code=None, signal=9)
    assert len(sent.words) == 1
    host.loop.advance(host.loop.now + 0.99)
    assert len(sent.words) == 1
    host.loop.advance(host.loop.now + 0.01)
    assert sent.words[1:] == ["serving: 1 of 2 workers, generation 0"]
    host.lifecycle.scale(1, "a command")
    host.lifecycle.scale(3, "a command")
    host.loop.advance(host.loop.now + 1)
    assert sent.words[2:] == ["serving: 0 of 3 workers, generation 0"]
    host.loop.advance(host.loop.now + 100)
    assert len(sent.words) == 3


def test_words_that_are_not_taken_are_dropped_and_newer_ones_sent(host):
    sent = Sent()
    tell(host, sent)
    first, second = host.start()
    sent.refuses = FULL
    host.end(first, code=None, signal=9)
    host.loop.advance(host.loop.now + 1)
    host.end(second, code=None, signal=9)
    before = len(sent.messages)
    host.loop.advance(host.loop.now + 1)
    sent.refuses = None
    host.loop.advance(host.loop.now + 1)
    assert sent.words[-1].startswith("serving: 0 of 2 workers")
    assert len(sent.messages) == before + 1


def test_what_must_arrive_is_tried_each_tenth_of_a_second_in_order(host):
    sent = Sent()
    tell(host, sent)
    sent.refuses = FULL
    host.start()
    host.told.telemetry.emit(events.HOST_RELOADING, cause="SIGHUP")
    host.told.telemetry.emit(events.RELOAD_FAILED, reason="why", details="")
    tries = sent.tries
    host.loop.advance(host.loop.now + 0.5)
    assert 4 <= sent.tries - tries <= 6
    sent.refuses = None
    host.loop.advance(host.loop.now + 0.1)
    kinds = [lines[0] for lines in sent.messages[-3:]]
    assert kinds == ["READY=1", "RELOADING=1", "READY=1"]
    assert sent.words[-1] == "serving: 2 of 2 workers, generation 0; reload failed: why"
    assert host.told.of(events.MANAGER_NOT_TOLD) == []


def test_a_service_manager_that_is_gone_is_told_once_and_not_waited_for(host):
    sent = Sent()
    sent.refuses = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    tell(host, sent)
    host.start()
    tries = sent.tries
    host.loop.advance(host.loop.now + 0.9)
    assert sent.tries == tries
    [told] = host.told.of(events.MANAGER_NOT_TOLD)
    assert told == {"address": "@manager", "cause": "No such file or directory"}


def test_the_watchdog_is_fed_at_half_its_interval(host):
    sent = Sent(watchdog_seconds=20.0)
    tell(host, sent)
    host.start()
    host.loop.advance(host.loop.now + 30)
    assert sent.lines("WATCHDOG=1") == ["WATCHDOG=1"] * 3
    assert host.told.of(events.WATCHDOG_SHORT) == []


def test_the_watchdog_is_fed_only_while_somebody_serves_or_starts(host):
    sent = Sent(watchdog_seconds=0.2)
    tell(host, sent)
    host.loop.advance(host.loop.now + 1)
    assert sent.lines("WATCHDOG=1") == []
    host.start()
    for _ in range(2):  # the first time they are replaced at once, and then after 0.4 s at least
        host.end(*host.workers, code=1)
    assert list(host.workers) == []
    host.loop.advance(host.loop.now + 0.39)
    assert sent.lines("WATCHDOG=1") == []
    host.loop.advance(host.loop.now + 1)
    assert {each.record.state.value for each in host.workers} == {"starting"}
    assert sent.lines("WATCHDOG=1") != []


def test_a_watchdog_that_is_not_fed_for_want_of_room_is_fed_once_there_is_some(host):
    sent = Sent(watchdog_seconds=0.4)
    tell(host, sent)
    host.start()
    sent.messages.clear()
    sent.refuses = FULL
    host.loop.advance(host.loop.now + 1)
    sent.refuses = None
    host.loop.advance(host.loop.now + 0.1)
    assert sent.lines("WATCHDOG=1") == ["WATCHDOG=1"]


def test_a_watchdog_that_a_reload_may_miss_is_told(host):
    tell(host, Sent(watchdog_seconds=9.9))
    assert host.told.of(events.WATCHDOG_SHORT) == [{"seconds": 9.9, "least": 10.0}]


def test_a_stop_tells_how_long_it_may_take(host):
    sent = Sent()
    tell(host, sent)
    host.start()
    host.shutdown.begin("SIGTERM")
    [extend] = sent.lines("EXTEND_TIMEOUT_USEC=")
    assert extend == "EXTEND_TIMEOUT_USEC=35000000"
    host.shutdown.hurry("SIGQUIT")
    assert sent.lines("EXTEND_TIMEOUT_USEC=")[1:] == ["EXTEND_TIMEOUT_USEC=5000000"]
    assert sent.words[-1] == "stopping: 2 workers left"


def test_no_word_has_a_character_that_would_end_the_line(host):
    sent = Sent()
    tell(host, sent)
    host.start()
    reason = "a\rREADY=1\tb\x00\nSTOPPING=1"
    host.told.telemetry.emit(events.RELOAD_FAILED, reason=reason, details="")
    assert sent.messages[-1][0] == "READY=1"
    assert sent.messages[-1][1:] == [
        "STATUS=serving: 2 of 2 workers, generation 0; reload failed: a\\x0dREADY=1\\x09b\\x00"
    ]


def test_no_message_is_longer_than_a_service_manager_takes(host):
    sent = Sent()
    tell(host, sent)
    host.start()
    host.told.telemetry.emit(events.RELOAD_FAILED, reason="é" * 5000, details="")
    assert sent.messages[-1][0] == "READY=1"
    assert len("\n".join(sent.messages[-1]).encode()) < 4096


def test_what_was_not_taken_is_handed_over(host):
    sent = Sent(watchdog_seconds=20.0)
    sent.refuses = FULL
    service = tell(host, sent)
    host.start()
    handed = service.hand_over()
    assert (handed.address, handed.watchdog_seconds) == ("@manager", 20.0)
    assert handed.stored == {}  # no socket has been taken either
    assert [text.partition("\n")[0] for text in handed.unsent] == ["READY=1", "WATCHDOG=1"]
    service.leave()

    later = Sent(watchdog_seconds=20.0)
    tell(host, later, handed)
    assert [lines[0] for lines in later.messages] == ["READY=1", "WATCHDOG=1", "WATCHDOG=1"]


def test_a_worker_tells_nothing(host):
    sent = Sent()
    service = tell(host, sent)
    service.leave()
    sent.messages.clear()
    host.start()
    assert sent.messages == []
    assert host.told.of(events.MANAGER_NOT_TOLD) == []
