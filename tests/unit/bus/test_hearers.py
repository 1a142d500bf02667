"""Who hears a topic is known at any time, however often it was asked before."""

import tracemalloc

from hypothesis import example, given
from hypothesis import strategies as st

from host.bus.hearers import Hearers

NAMES = st.sampled_from([b"a", b"a.b", b"b"])
MEMBERS = st.integers(1, 3)
CHANGES = st.one_of(
    st.tuples(st.sampled_from(["add", "add_prefix", "remove", "remove_prefix"]), NAMES, MEMBERS),
    st.tuples(st.just("leave"), MEMBERS),
)


def expected(topics, prefixes, topic):
    found = {member for name, member in topics if name == topic}
    return found | {member for name, member in prefixes if topic.startswith(name)}


@example([("add_prefix", b"b", 2), ("add", b"a.b", 1), ("remove", b"a.b", 1)], b"a.b")
@example([("add_prefix", b"b", 2), ("add", b"b", 1), ("leave", 2)], b"b")
@given(st.lists(CHANGES, min_size=5, max_size=20), st.sampled_from([b"a.b", b"b"]))
def test_hearers_are_those_who_have_subscribed_by_now(changes, topic):
    hearers, topics, prefixes = Hearers(), set(), set()
    for what, *arguments in changes:
        getattr(hearers, what)(*arguments)
        known = prefixes if what.endswith("prefix") else topics
        if what.startswith("add"):
            known.add(tuple(arguments))
        elif what.startswith("remove"):
            known.discard(tuple(arguments))
        else:
            (gone,) = arguments
            topics = {each for each in topics if each[1] != gone}
            prefixes = {each for each in prefixes if each[1] != gone}
        assert sorted(hearers.of(topic)) == sorted(expected(topics, prefixes, topic))


def test_those_who_take_over_know_them():
    hearers, next_ones = Hearers(), Hearers()
    hearers.add_prefix(b"a.", 1)
    next_ones.add_prefix(b"b", 2)
    assert list(next_ones.of(b"a.b")) == []
    next_ones.restore(*hearers.state())
    assert list(next_ones.of(b"a.b")) == [1]


def test_topics_that_come_once_take_no_more_and_more_memory():
    hearers = Hearers()
    hearers.add_prefix(b"a.", 1)
    tracemalloc.start()
    for number in range(40_000):
        assert list(hearers.of(b"a.%040d" % number)) == [1]
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < 4_000_000
