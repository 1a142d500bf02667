"""Subscribers hear what their filters match: nothing is missed, and nothing comes twice."""

import pytest

from host.plugins.coordination import Wildcards, WildcardSubscriptions

PREFIX = "news."


class Place:
    """A worker whose subscribers keep what they are told."""

    def __init__(self, worker, *wildcards):
        self.worker, self.heard, self.got, self.calls = worker, [], {}, []
        self.topics = WildcardSubscriptions(worker.bus, PREFIX, self.on_message, *wildcards)
        self.subscribe, self.unsubscribe = worker.bus.subscribe, worker.bus.unsubscribe
        worker.bus.subscribe = self.count_subscribe
        worker.bus.unsubscribe = self.count_unsubscribe

    def count_subscribe(self, topic, *arguments, **how):
        self.calls.append(("subscribe", topic))
        self.subscribe(topic, *arguments, **how)

    def count_unsubscribe(self, topic, **how):
        self.calls.append(("unsubscribe", topic))
        self.unsubscribe(topic, **how)

    def on_message(self, message):
        self.heard.append(message)
        for subscriber, _ in self.topics.tree.match(message.topic.removeprefix(PREFIX)):
            self.got.setdefault(subscriber, []).append(message.payload)

    def begin(self, subscriber, name, number=0, retained=True):
        """Begin to add a filter; return a list that will have the answer."""
        answers = []

        def on_retained(message):
            assert message.retained
            self.got.setdefault(subscriber, []).append(message.payload)

        callback = on_retained if retained else None
        self.topics.add(subscriber, name, number, callback, answers.append)
        return answers

    def add(self, *arguments, **how):
        answers = self.begin(*arguments, **how)
        self.worker.advance(0)
        (answer,) = answers
        return answer

    def say(self, topic, payload, retain=0):
        self.worker.bus.publish(PREFIX + topic, payload, retain=retain)
        self.worker.run()


@pytest.fixture
def start(harness):
    """Return what starts two workers: the harness, a place of subscribers, and another one."""

    def start(*wildcards):
        started = harness(workers=2)
        return started, *(Place(worker, *wildcards) for worker in started.workers)

    return start


def test_who_has_subscribed_hears_what_its_filters_match(start):
    _, one, other = start()
    filters = one.topics.join("ann")
    assert one.topics.join("ann") is filters
    assert one.add("ann", "sport/+/scores", 1)
    assert one.add("ann", "weather", 2)
    assert filters == {"sport/+/scores": 1, "weather": 2}
    for topic in ("sport/tennis/scores", "sport/tennis", "weather", "weather/today", "else"):
        other.say(topic, topic.encode())
    assert one.got == {"ann": [b"sport/tennis/scores", b"weather"]}
    assert one.topics.tree.match("weather") == [("ann", 2)]
    assert other.heard == []


def test_only_what_matches_of_what_is_retained_is_told(start):
    _, one, other = start()
    for topic in ("a/b", "a/b/c", "a/c", "ab", "b"):
        other.say(topic, topic.encode(), retain=1)
    one.topics.join("ann")
    one.topics.join("bob")
    assert one.add("ann", "a/+")
    assert one.got == {"ann": [b"a/b", b"a/c"]}
    assert one.add("bob", "a/b/#")  # also if the same is heard already
    assert one.got["bob"] == [b"a/b", b"a/b/c"]
    assert one.add("ann", "ab", retained=False)
    assert one.got["ann"] == [b"a/b", b"a/c"]
    assert one.heard == []


@pytest.mark.parametrize("is_first", [True, False])
def test_between_what_is_retained_and_what_comes_nothing_is_missed_or_doubled(start, is_first):
    started, one, other = start()
    said = []

    def say():
        said.append(b"%d" % len(said))
        other.worker.bus.publish(f"{PREFIX}a/b", said[-1], retain=100)

    say()
    if not is_first:
        one.topics.join("bob")
        assert one.add("bob", "a/#")
    one.topics.join("ann")
    say()
    answers = []

    def on_retained(message):
        one.got.setdefault("ann", []).append(message.payload)
        if len(said) < 10:
            say()

    def done(is_done):
        say()
        answers.append(is_done)

    say()
    one.topics.add("ann", "a/#", 0, on_retained, done)
    one.worker.bus.subscribe(f"{PREFIX}a/b", lambda _: len(said) < 20 and say())
    say()
    started.run()
    say()
    started.run()
    assert answers == [True]
    assert one.got["ann"] == said
    assert len(said) >= 20


def test_filters_with_one_beginning_have_one_subscription_until_the_last_has_gone(start):
    _, one, other = start()
    one.topics.join("ann")
    one.topics.join("bob")
    for subscriber, name in [("ann", "a/+"), ("ann", "a/+/b"), ("bob", "a/+"), ("bob", "a/+/c")]:
        assert one.add(subscriber, name)
    assert one.calls == [("subscribe", f"{PREFIX}a/")]
    other.say("a/1", b"1")
    assert one.got == {"ann": [b"1"], "bob": [b"1"]}
    one.topics.leave("ann")
    one.topics.leave("ann")
    other.say("a/1", b"2")
    assert one.got == {"ann": [b"1"], "bob": [b"1", b"2"]}
    assert one.topics.remove("bob", "a/+")
    other.say("a/1", b"3")
    assert len(one.heard) == 3  # for the filter that is left
    one.topics.leave("bob")
    other.say("a/1", b"4")
    assert len(one.heard) == 3
    assert one.calls == [("subscribe", f"{PREFIX}a/"), ("unsubscribe", f"{PREFIX}a/")]
    assert not one.topics.tree


def test_a_topic_and_what_begins_so_are_two_subscriptions_and_a_message_is_heard_once(start):
    _, one, other = start()
    one.topics.join("ann")
    for name in ("a", "a/#", "#", "a/b"):
        assert one.add("ann", name)
    other.say("a/b", b"1")
    assert one.got == {"ann": [b"1"]}
    assert len(one.heard) == 1
    for name in ("a/#", "#", "a"):
        assert one.topics.remove("ann", name)
    other.say("a", b"2")
    other.say("a/b", b"3")
    assert one.got == {"ann": [b"1", b"3"]}


def test_those_that_ask_for_the_same_at_once_are_all_answered(start):
    started, one, other = start()
    other.say("a/b", b"1", retain=1)
    answers = []
    for subscriber in ("ann", "bob", "carl"):
        one.topics.join(subscriber)
        answers.append(one.begin(subscriber, "a/+"))
    assert answers == [[], [], []]
    started.run()
    assert answers == [[True], [True], [True]]
    assert one.got == {"ann": [b"1"], "bob": [b"1"], "carl": [b"1"]}
    assert len(one.calls) == 1


def test_who_fails_when_it_is_answered_costs_others_nothing(start):
    started, one, _ = start()
    answers = []

    def fail(_):
        answers.append("fails")
        raise RuntimeError

    for subscriber in ("ann", "bob"):
        one.topics.join(subscriber)
    one.topics.add("ann", "a/+", 0, None, fail)
    one.topics.add("bob", "a/+", 0, None, answers.append)
    with pytest.raises(RuntimeError):
        started.run()
    assert answers == ["fails", True]


def test_a_filter_that_is_added_again_has_another_number_and_is_removed_once(start):
    _, one, other = start()
    other.say("a", b"1", retain=1)
    filters = one.topics.join("ann")
    assert one.add("ann", "a", 1)
    assert one.add("ann", "a", 2)
    assert filters == {"a": 2}
    assert one.topics.tree.match("a") == [("ann", 2)]
    assert one.got == {"ann": [b"1", b"1"]}  # what is retained is told again
    assert one.topics.remove("ann", "a")
    assert filters == {}
    assert one.calls[-1] == ("unsubscribe", f"{PREFIX}a")
    assert not one.topics.remove("ann", "a")
    assert not one.topics.remove("bob", "a")
    assert len(one.calls) == 2


@pytest.mark.parametrize("comes_back", [False, True])
@pytest.mark.parametrize("is_first", [True, False])
def test_who_leaves_while_a_filter_is_added_is_told_nothing_more(start, comes_back, is_first):
    started, one, other = start()
    other.say("a/b", b"1", retain=1)
    if not is_first:
        one.topics.join("bob")
        assert one.add("bob", "a/+", retained=False)
    one.topics.join("ann")
    answers = one.begin("ann", "a/+")
    one.topics.leave("ann")
    if comes_back:
        assert one.topics.join("ann") == {}
    started.run()
    assert answers == [False]
    other.say("a/b", b"2")
    assert "ann" not in one.got
    assert len(one.heard) == (not is_first)
    assert one.topics.tree.match("a/b") == ([] if is_first else [("bob", 0)])


def test_who_has_not_joined_has_no_filters(start):
    _, one, other = start()
    assert not one.add("ann", "a")
    other.say("a", b"1")
    assert one.heard == []


@pytest.mark.parametrize("is_first", [True, False])
def test_while_the_bus_is_overloaded_nothing_is_added_and_later_it_is(start, is_first):
    started, one, other = start()
    other.say("a/b", b"1", retain=1)
    if not is_first:
        one.topics.join("bob")
        assert one.add("bob", "a/+", retained=False)
    filters = one.topics.join("ann")
    started.bus.overloaded = True
    assert not one.add("ann", "a/+")
    assert not one.add("ann", "a/+")
    assert filters == {}
    started.bus.overloaded = False
    assert one.add("ann", "a/+")
    other.say("a/b", b"2")
    assert one.got["ann"] == [b"1", b"2"]
    one.topics.leave("bob")
    one.topics.leave("ann")
    other.say("a/b", b"3")
    assert one.got["ann"] == [b"1", b"2"]
    assert len(one.heard) == 1


def test_a_filter_stays_that_could_not_be_added_again(start):
    started, one, other = start()
    filters = one.topics.join("ann")
    assert one.add("ann", "a", 1)
    started.bus.overloaded = True
    assert not one.add("ann", "a", 2)
    started.bus.overloaded = False
    assert filters == {"a": 1}
    other.say("a", b"1")
    assert one.got == {"ann": [b"1"]}


def test_what_is_retained_cannot_be_asked_for_then_the_filter_is_not_added(start):
    started, one, other = start()
    one.topics.join("ann")
    answers = one.begin("ann", "a")
    started.bus.overloaded = True  # the subscription was sent before
    started.run()
    assert answers == [False]
    started.bus.overloaded = False
    assert one.add("ann", "a")
    other.say("a", b"1")
    assert one.got == {"ann": [b"1"]}


def test_a_filter_that_is_too_long_is_refused_each_time(start):
    started, one, _ = start()
    one.topics.join("ann")
    for _ in range(3):
        with pytest.raises(ValueError, match="name"):
            one.begin("ann", 513 * "a")
    one.topics.leave("ann")
    started.run()
    assert not one.topics._held


def test_a_subscriber_has_the_filters_again_that_it_had(start):
    _, one, other = start()
    filters = one.topics.join("ann")
    assert one.add("ann", "a", 1)
    assert one.add("ann", "b", 1)
    before = dict(filters)
    assert one.add("ann", "b", 2)
    assert one.add("ann", "c/+", 2)
    one.topics.restore("ann", before)
    assert filters == before
    assert one.topics.tree.match("b") == [("ann", 1)]
    for topic in ("a", "b", "c/d"):
        other.say(topic, topic.encode())
    assert one.got == {"ann": [b"a", b"b"]}
    assert len(one.heard) == 2
    one.topics.leave("ann")
    ended = sorted(topic for call, topic in one.calls if call == "unsubscribe")
    assert ended == [f"{PREFIX}a", f"{PREFIX}b", f"{PREFIX}c/"]


def test_filters_are_written_as_it_was_said(start):
    _, one, other = start(Wildcards(".", "*", ">", ""))
    other.say("a.b.c", b"0", retain=1)
    other.say("a.b/c", b"no", retain=1)
    one.topics.join("ann")
    assert one.add("ann", "a.*.c")
    assert one.add("ann", "$x.>")
    assert one.add("ann", "*.+")
    for topic in ("a.x.c", "a.x.d", "$x.y", "$x", "a.x", "b.+"):
        other.say(topic, topic.encode())
    assert one.got == {"ann": [b"0", b"a.x.c", b"$x.y", b"$x", b"b.+"]}
