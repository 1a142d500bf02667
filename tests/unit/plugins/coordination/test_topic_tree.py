"""Which filters a topic matches: the examples of MQTT's specification, and any others by rule."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.plugins.coordination import MQTT_WILDCARDS, TopicTree, Wildcards, topic_tree

DOTS = Wildcards(".", "*", ">", "")
WORDS = Wildcards("::", "any", "all", "_")
KINDS = [MQTT_WILDCARDS, DOTS, WORDS]


def matches(name, topic, wildcards=MQTT_WILDCARDS):
    tree = TopicTree(wildcards)
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
        ("+/$SYS", "a/$SYS"),
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


@pytest.mark.parametrize(
    ("wildcards", "name", "topic", "expected"),
    [
        (DOTS, "a.*.c", "a.b.c", True),
        (DOTS, "a.>", "a.b.c", True),
        (DOTS, "a.*", "a.b.c", False),
        (DOTS, "a.b", "a/b", False),
        (DOTS, "*.b", "$a.b", True),
        (DOTS, ">", "$a", True),
        (DOTS, "a.#", "a.b", False),
        (DOTS, "a.+", "a.b", False),
        (WORDS, "a::any::c", "a::b::c", True),
        (WORDS, "a::all", "a::b::c", True),
        (WORDS, "all", "_a::b", False),
        (WORDS, "any::b", "_a::b", False),
        (WORDS, "_a::any", "_a::b", True),
    ],
)
def test_filters_are_written_as_it_was_said(wildcards, name, topic, expected):
    assert matches(name, topic, wildcards) == expected


@pytest.mark.parametrize(
    ("wildcards", "name", "expected"),
    [
        (MQTT_WILDCARDS, "a/b", ("a/b", False)),
        (MQTT_WILDCARDS, "a/b/#", ("a/b", True)),
        (MQTT_WILDCARDS, "a/+/b", ("a/", True)),
        (MQTT_WILDCARDS, "#", ("", True)),
        (MQTT_WILDCARDS, "+/a", ("", True)),
        (MQTT_WILDCARDS, "a/+/#", ("a/", True)),
        (DOTS, "a.b.*", ("a.b.", True)),
        (DOTS, "a.>", ("a", True)),
        (WORDS, "a::b::any", ("a::b::", True)),
        (WORDS, "a::b::all", ("a::b", True)),
        (WORDS, "a::bany", ("a::bany", False)),
    ],
)
def test_how_the_topics_of_a_filter_begin(wildcards, name, expected):
    assert wildcards.beginning(name) == expected


def rule(name, topic, wildcards):
    """The rule by itself, level by level."""
    separator, one, rest, hidden = wildcards
    filters, levels = name.split(separator), topic.split(separator)
    if hidden and topic.startswith(hidden) and filters[0] in (one, rest):
        return False
    for place, level in enumerate(filters):
        if level == rest:
            return True
        if place >= len(levels) or level not in (one, levels[place]):
            return False
    return len(filters) == len(levels)


kinds = st.sampled_from(KINDS)


def level_names(wildcards):
    return ["a", "b", "", f"{wildcards.hidden or '$'}x"]


def topics(wildcards):
    levels = st.lists(st.sampled_from(level_names(wildcards)), min_size=1, max_size=4)
    return levels.map(wildcards.separator.join).filter(bool)


def filters(wildcards):
    levels = st.sampled_from([*level_names(wildcards), wildcards.one])
    ends = st.sampled_from([[], [wildcards.rest]])
    return (
        st.tuples(st.lists(levels, max_size=4), ends)
        .map(lambda each: wildcards.separator.join(each[0] + each[1]))
        .filter(bool)
    )


@given(kinds, st.data())
def test_each_subscriber_once_with_the_highest_of_its_filters(wildcards, data):
    triples = st.tuples(filters(wildcards), st.sampled_from("xyz"), st.integers(-1, 2))
    added, topic = data.draw(st.lists(triples)), data.draw(topics(wildcards))
    tree, kept = TopicTree(wildcards), {}
    for name, who, number in added:
        tree.add(name, who, number)
        kept[name, who] = number
        tree.match(topic)  # what is remembered is forgotten when something changes
    for name, who in data.draw(
        st.lists(st.sampled_from(list(kept)), unique=True) if kept else st.just([])
    ):
        tree.remove(name, who)
        tree.remove(name, who)
        del kept[name, who]
    expected = {}
    for (name, who), number in kept.items():
        if rule(name, topic, wildcards):
            expected[who] = max(number, expected.get(who, number))
    assert dict(tree.match(topic)) == expected
    assert len(tree.match(topic)) == len(expected)
    assert bool(tree) == bool(kept)
    for name, who in kept:
        tree.remove(name, who)
    assert not tree


@given(kinds, st.data())
def test_all_topics_of_a_filter_begin_as_it_does(wildcards, data):
    name, topic = data.draw(filters(wildcards)), data.draw(topics(wildcards))
    beginning, goes_on = wildcards.beginning(name)
    if rule(name, topic, wildcards):
        assert topic.startswith(beginning) if goes_on else topic == beginning


@pytest.mark.parametrize("numbers", [(1, 2), (2, 1), (-1, -2), (-2, -1)])
def test_the_highest_number_counts_wherever_its_filter_is(numbers):
    tree = TopicTree()
    for name, number in zip(("a/#", "a/b"), numbers, strict=True):
        tree.add(name, "it", number)
    assert tree.match("a/b") == [("it", max(numbers))]


def test_a_filter_that_was_not_added_is_not_removed():
    tree = TopicTree()
    tree.add("a/b", "it")
    for name in ("a", "a/b/c", "a/c", "b", ""):
        tree.remove(name, "it")
    tree.remove("a/b", "another")
    assert tree.match("a/b") == [("it", 0)]


def test_a_filter_within_another_one_stays():
    tree = TopicTree()
    for name in ("a", "a/b", "a/#"):
        tree.add(name, name)
    tree.remove("a/b", "a/b")
    assert dict(tree.match("a/b")) == {"a/#": 0}
    tree.remove("a/#", "a/#")
    assert dict(tree.match("a")) == {"a": 0}


def test_topics_without_end_are_not_all_remembered(monkeypatch):
    monkeypatch.setattr(topic_tree, "_MOST_REMEMBERED", 10)
    tree = TopicTree()
    tree.add("a/+", "it")
    for number in range(100):
        assert tree.match(f"a/{number}") == [("it", 0)]
        assert len(tree._found) <= 10
