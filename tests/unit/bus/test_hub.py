"""The hub: one order per topic, bounded rings, keys with one owner, deaths that all hear of."""

from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from host.bus.frames import Frame, Kind, Parser, split_sender
from host.bus.hub import Hub, HubLimits


class Scene:
    """A hub and what it has sent to each member."""

    def __init__(self, *members, **limits):
        self.sent = {member: [] for member in members}
        self.hub = Hub(self.take, HubLimits(**limits))
        for member in members:
            self.hub.join(member)

    def take(self, member, packed):
        (frame,) = Parser(packed).frames()
        self.sent[member].append(frame)
        return True

    def say(self, member, kind, name, number=0, payload=b""):
        self.hub.receive(member, Frame(kind, number, name, payload))

    def publish(self, member, topic, payload, retain=0):
        self.say(member, Kind.PUBLISH, topic, retain, payload)

    def heard(self, member, kind=Kind.MESSAGE):
        return [
            (frame.name, split_sender(frame.payload)[1])
            for frame in self.sent[member]
            if frame.kind == kind
        ]

    def claims(self, member):
        return [
            (frame.name, frame.number == 1)
            for frame in self.sent[member]
            if frame.kind == Kind.OWNED
        ]


def retained(scene, member, topic):
    before = len(scene.sent[member])
    scene.say(member, Kind.SUBSCRIBE, topic, 1)
    frames = scene.sent[member][before:]
    scene.say(member, Kind.UNSUBSCRIBE, topic)
    assert frames[-1].kind == Kind.SUBSCRIBED
    assert all(frame.kind == Kind.RETAINED for frame in frames[:-1])
    return [split_sender(frame.payload)[1] for frame in frames[:-1]]


def test_only_those_who_have_subscribed_hear_and_the_publisher_is_one_of_them():
    scene = Scene(1, 2, 3)
    scene.say(1, Kind.SUBSCRIBE, b"a", 1)
    scene.say(2, Kind.SUBSCRIBE, b"a", 1)
    scene.say(3, Kind.SUBSCRIBE, b"b", 1)
    scene.publish(1, b"a", b"x")
    assert scene.heard(1) == scene.heard(2) == [(b"a", b"x")]
    assert scene.heard(3) == []
    assert split_sender(scene.sent[2][-1].payload)[0] == "1"  # the sender
    scene.say(2, Kind.UNSUBSCRIBE, b"a")
    scene.publish(1, b"a", b"y")
    assert scene.heard(2) == [(b"a", b"x")]


def test_one_message_comes_once_to_a_member_that_has_subscribed_twice():
    scene = Scene(1)
    scene.say(1, Kind.SUBSCRIBE, b"a", 1)
    scene.say(1, Kind.SUBSCRIBE, b"a", 2)
    scene.publish(1, b"a", b"x")
    assert scene.heard(1) == [(b"a", b"x")]


def test_what_is_retained_comes_first_and_then_the_word_that_it_was_all():
    scene = Scene(1, 2)
    for number in range(5):
        scene.publish(1, b"a", b"%d" % number, retain=3)
    scene.publish(1, b"a", b"not kept")
    assert retained(scene, 2, b"a") == [b"2", b"3", b"4"]
    scene.publish(1, b"a", b"5", retain=1)
    assert retained(scene, 2, b"a") == [b"5"]
    assert retained(scene, 2, b"b") == []


def test_rings_are_bounded_and_the_topic_of_longest_ago_goes_first():
    scene = Scene(1, retained=4, retained_bytes=20_000)
    for number in range(9):
        scene.publish(1, b"a", b"%d" % number, retain=100)
    assert retained(scene, 1, b"a") == [b"5", b"6", b"7", b"8"]
    scene.publish(1, b"b", bytes(9_000), retain=1)
    scene.publish(1, b"a", b"9", retain=100)
    scene.publish(1, b"c", bytes(9_000), retain=1)
    assert retained(scene, 1, b"b") == []
    assert retained(scene, 1, b"a") == [b"6", b"7", b"8", b"9"]
    assert len(retained(scene, 1, b"c")) == 1


def test_topics_with_nothing_in_them_count_too():
    scene = Scene(1, retained_bytes=100_000)
    for number in range(10_000):
        scene.publish(1, b"%d" % number, b"", retain=1)
    kept = sum(len(retained(scene, 1, b"%d" % number)) for number in range(10_000))
    assert 10 <= kept <= 100
    assert retained(scene, 1, b"9999") == [b""]


def test_a_key_has_one_owner_until_it_is_given_up():
    scene = Scene(1, 2)
    scene.say(1, Kind.OWN, b"k")
    scene.say(2, Kind.OWN, b"k")
    scene.say(1, Kind.OWN, b"k")
    scene.say(2, Kind.RELEASE, b"k")  # not its own
    scene.say(2, Kind.OWN, b"k")
    assert scene.claims(1) == [(b"k", True), (b"k", False)]
    assert scene.claims(2) == [(b"k", False), (b"k", False)]
    scene.say(1, Kind.RELEASE, b"k")
    scene.say(2, Kind.OWN, b"k")
    assert scene.claims(2)[-1] == (b"k", True)


def test_there_is_a_limit_of_keys_that_have_an_owner():
    scene = Scene(1, keys=2)
    for key in (b"a", b"b", b"c"):
        scene.say(1, Kind.OWN, key)
    assert scene.claims(1) == [(b"a", True), (b"b", True), (b"c", False)]


def test_who_leaves_owns_nothing_hears_nothing_and_the_others_are_told_once():
    scene = Scene(1, 2)
    scene.say(1, Kind.SUBSCRIBE, b"a", 1)
    scene.say(1, Kind.OWN, b"k")
    for member in (1, 2):
        scene.say(member, Kind.SUBSCRIBE, b"bus.left", 2)
    said = len(scene.sent[1])
    scene.hub.leave(1)
    scene.hub.leave(1)
    scene.publish(2, b"a", b"x")
    assert len(scene.sent[1]) == said
    assert scene.heard(2) == [(b"bus.left", b"1")]
    scene.say(2, Kind.OWN, b"k")
    assert scene.claims(2) == [(b"k", True)]


MEMBERS = st.integers(1, 3)
TOPICS = st.sampled_from([b"a", b"b"])
KEYS = st.sampled_from([b"k", b"l"])


class Model(RuleBasedStateMachine):
    """The hub beside a model of what it promises."""

    def __init__(self):
        super().__init__()
        self.scene = Scene(1, 2, 3)
        self.members = {1, 2, 3}
        self.hearers = {b"a": set(), b"b": set()}
        self.owners = {}
        self.rings = {b"a": deque(), b"b": deque()}
        self.expected = {member: [] for member in self.members}
        self.answers = {member: [] for member in self.members}
        self.count = 0

    @rule(member=MEMBERS, topic=TOPICS)
    def subscribe(self, member, topic):
        if member in self.members:
            before = len(self.scene.sent[member])
            self.scene.say(member, Kind.SUBSCRIBE, topic, 7)
            frames = self.scene.sent[member][before:]
            assert [split_sender(frame.payload)[1] for frame in frames[:-1]] == list(
                self.rings[topic]
            )
            self.hearers[topic].add(member)

    @rule(member=MEMBERS, topic=TOPICS)
    def unsubscribe(self, member, topic):
        if member in self.members:
            self.scene.say(member, Kind.UNSUBSCRIBE, topic)
            self.hearers[topic].discard(member)

    @rule(member=MEMBERS, topic=TOPICS, keep=st.integers(0, 3))
    def publish(self, member, topic, keep):
        if member in self.members:
            self.count += 1
            payload = b"%d" % self.count
            self.scene.publish(member, topic, payload, keep)
            for hearer in self.hearers[topic]:
                self.expected[hearer].append((topic, payload))
            if keep:
                ring = self.rings[topic]
                ring.append(payload)
                while len(ring) > keep:
                    ring.popleft()

    @rule(member=MEMBERS, key=KEYS)
    def claim(self, member, key):
        if member in self.members:
            free = key not in self.owners
            self.owners.setdefault(key, member)
            self.scene.say(member, Kind.OWN, key)
            self.answers[member].append((key, free))

    @rule(member=MEMBERS, key=KEYS)
    def release(self, member, key):
        if member in self.members:
            self.scene.say(member, Kind.RELEASE, key)
            if self.owners.get(key) == member:
                del self.owners[key]

    @rule(member=MEMBERS)
    def leave(self, member):
        self.scene.hub.leave(member)
        self.members.discard(member)
        for hearers in self.hearers.values():
            hearers.discard(member)
        self.owners = {key: owner for key, owner in self.owners.items() if owner != member}

    @rule(member=MEMBERS)
    def join(self, member):
        self.scene.hub.join(member)
        self.members.add(member)

    @invariant()
    def everyone_has_heard_what_was_promised(self):
        for member, expected in self.expected.items():
            assert self.scene.heard(member) == expected
            assert self.scene.claims(member) == self.answers[member]


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
