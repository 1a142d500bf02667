"""Which filters a topic matches: the examples of the specification, and any others by rule."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefork_mqtt.topics import FilterTree, check_filter, literal_beginning

from host.plugins.framing import FrameSyntaxError


def matches(name, topic):
    tree = FilterTree()
    tree.add(name, "it", 1)
    return tree.match(topic) == [("it", 1)]


@pytest.mark.parametrize(
    ("name", "topic"),
    [
        ("sport/tennis/player1/#", "sport/tennis/player1"),
        ("sport/tennis/player1/#", "sport/tennis/player1/ranking"),
        ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon"),
        ("sport/#", "sport"),
        ("#", "anything/at/all"),
        ("sport/tennis/+", "sport/tennis/player1"),
        ("sport/+", "sport/"),
        ("+/+", "/finance"),
        ("/+", "/finance"),
        ("$SYS/#", "$SYS/a"),
        ("$SYS/monitor/+", "$SYS/monitor/Clients"),
    ],
)
def test_what_matches(name, topic):
    assert matches(name, topic)


@pytest.mark.parametrize(
    ("name", "topic"),
    [
        ("sport/tennis/+", "sport/tennis/player1/ranking"),
        ("sport/+", "sport"),
        ("+", "/finance"),
        ("#", "$SYS/a"),
        ("+/monitor/Clients", "$SYS/monitor/Clients"),
        ("a", "A"),
        ("a", "/a"),
        ("sport/#", "sports"),
    ],
)
def test_what_does_not(name, topic):
    assert not matches(name, topic)


@pytest.mark.parametrize("name", ["", "a#", "a/#/b", "#/", "a+", "+a/b", "a/b+/c"])
def test_what_is_no_filter(name):
    with pytest.raises(FrameSyntaxError):
        check_filter(name)


def rule(name, topic):
    """The rule by itself, level by level."""
    filters, levels = name.split("/"), topic.split("/")
    if topic.startswith("$") and filters[0] in ("+", "#"):
        return False
    for place, level in enumerate(filters):
        if level == "#":
            return True
        if place >= len(levels) or level not in ("+", levels[place]):
            return False
    return len(filters) == len(levels)


levels = st.sampled_from(["a", "b", "", "$x"])
topics = st.lists(levels, min_size=1, max_size=4).map("/".join).filter(bool)
filters = (
    st.tuples(
        st.lists(st.sampled_from(["a", "b", "", "$x", "+"]), min_size=1, max_size=4), st.booleans()
    )
    .map(lambda each: "/".join([*each[0], *["#"][: each[1]]]))
    .filter(bool)
)


@given(st.lists(st.tuples(filters, st.sampled_from("xyz"), st.integers(0, 2))), topics, st.data())
def test_each_subscriber_once_with_the_highest_of_its_filters(given, topic, data):
    tree, kept = FilterTree(), {}
    for name, who, qos in given:
        tree.add(name, who, qos)
        kept[name, who] = qos
        tree.match(topic)  # what is remembered is forgotten when something changes
    for name, who in data.draw(
        st.lists(st.sampled_from(list(kept)), unique=True) if kept else st.just([])
    ):
        tree.remove(name, who)
        del kept[name, who]
    expected = {}
    for (name, who), qos in kept.items():
        if rule(name, topic):
            expected[who] = max(qos, expected.get(who, 0))
    assert dict(tree.match(topic)) == expected
    assert len(tree.match(topic)) == len(expected)
    for name, who in kept:
        tree.remove(name, who)
    assert not tree


@given(filters, topics)
def test_all_topics_of_a_filter_begin_with_its_literal_beginning(name, topic):
    beginning, goes_on = literal_beginning(name)
    if rule(name, topic):
        assert topic.startswith(beginning) if goes_on else topic == beginning
