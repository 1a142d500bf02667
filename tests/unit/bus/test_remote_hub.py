"""The hub whose messages a broker orders: each message once, in one order, whatever breaks."""

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from host.bus.bridge_frames import Ask
from host.bus.frames import BRIDGE, FENCE, TIME, Frame, Kind, Parser, split_sender
from host.bus.remote_hub import RemoteHub
from host.bus.remote_state import RemoteLimits, Stage
from host.bus.tables import Answer, Op, Request
from support.fakes import FakeLoop
from support.model_broker import ModelBridge, ModelBroker


class Site:
    """A hub with its bridge to a broker, and what it has sent to each member."""

    def __init__(self, broker, node, *members, **limits):
        self.loop, self.bridge = FakeLoop(), ModelBridge(broker)
        self.stages, self.sent = [], {member: [] for member in members}
        self.limits = RemoteLimits(**limits)
        self.hub = self.make(node)
        for member in members:
            self.hub.join(member)

    def make(self, node):
        def told(stage, cause):
            self.stages.append((stage, cause))

        return RemoteHub(self.take, node, self.loop, told, self.limits)

    def take(self, member, packed):
        (frame,) = Parser(packed).frames()
        (self.bridge.asked if member == BRIDGE else self.sent.get(member, [])).append(frame)
        return True

    def say(self, member, kind, name=b"", number=0, payload=b""):
        self.hub.receive(member, Frame(kind, number, name, payload))

    def hear(self):
        """Have the hub hear one frame."""
        self.hub.receive(BRIDGE, self.bridge.told.popleft())

    def join_unanswered(self):
        """Join on a connection that breaks before the answer comes."""
        self.bridge.connect()
        self.hear()
        while self.bridge.session is None:
            self.bridge.step()
        self.bridge.cut()

    def reload(self):
        """Have another hub take over; its bridge is another one, too."""
        state = self.hub.state()
        self.bridge.cut()
        self.bridge.asked.clear()
        self.bridge.told.clear()
        self.hub = self.make(b"other")
        sent, self.sent = self.sent, {}  # the members have no channels yet
        self.hub.restore(state)
        self.sent = sent
        for member in self.sent:
            self.hub.join(member)
        self.loop.advance(self.loop.now)

    def settle(self):
        """Go on until nothing is under way."""
        if not self.bridge.is_up:
            self.bridge.connect()
        while self.bridge.told or self.bridge.asked:
            if self.bridge.told:
                self.hear()
            else:
                self.bridge.step()
            if not self.bridge.is_up:
                self.bridge.connect()

    def of(self, member, kind):
        return [frame for frame in self.sent[member] if frame.kind == kind]

    def heard(self, member):
        return [
            (frame.name, *split_sender(frame.payload)) for frame in self.of(member, Kind.MESSAGE)
        ]

    def answers(self, member):
        found = {}
        for frame in self.of(member, Kind.ANSWER):
            assert frame.number not in found
            found[frame.number] = Answer.unpack(frame.payload).done
        return found

    def claims(self, member):
        return [frame.number == 1 for frame in self.of(member, Kind.OWNED)]


@pytest.fixture
def broker():
    return ModelBroker()


@pytest.fixture
def site(broker):
    return Site(broker, b"a", 1, 2)


@pytest.fixture
def other(broker):
    return Site(broker, b"b", 3)


def settle(*sites):
    while any(not each.bridge.is_up or each.bridge.told or each.bridge.asked for each in sites):
        for each in sites:
            each.settle()


def test_a_message_is_heard_on_all_hosts_when_it_comes_back(site, other):
    settle(site, other)
    site.say(2, Kind.SUBSCRIBE, b"t", 1)
    other.say(3, Kind.SUBSCRIBE, b"t", 1)
    settle(site, other)
    site.say(1, Kind.PUBLISH, b"t", payload=b"x")
    assert site.heard(2) == []
    settle(site, other)
    assert site.heard(2) == other.heard(3) == [(b"t", "a:1", b"x")]
    assert site.heard(1) == []


def test_what_is_said_before_there_is_a_connection_waits(site):
    site.say(1, Kind.SUBSCRIBE, b"t", 7)
    site.say(1, Kind.PUBLISH_TOLD, b"t", payload=b"x")
    site.say(1, Kind.OWN, b"k")
    assert site.of(1, Kind.SUBSCRIBED) == site.of(1, Kind.ORDERED) == []
    settle(site)
    assert [frame.number for frame in site.of(1, Kind.SUBSCRIBED)] == [7]
    assert [frame.number for frame in site.of(1, Kind.ORDERED)] == [1]
    assert site.claims(1) == [True]
    assert site.stages[-1] == (Stage.READY, "")


def test_a_question_to_a_table_does_not_wait(site):
    question = Request(Op.GET, b"k").pack()
    site.say(1, Kind.TABLE, b"t", 5, question)
    assert [frame.number for frame in site.of(1, Kind.NO_ANSWER)] == [5]
    settle(site)
    site.say(1, Kind.TABLE, b"t", 6, question)
    site.bridge.cut()
    while site.bridge.told:
        site.hear()
    assert [frame.number for frame in site.of(1, Kind.NO_ANSWER)] == [5, 6]


def change(site, number, value, expected=None):
    request = Request(Op.COMPARE_AND_SET, b"k", value, expected)
    site.say(next(iter(site.sent)), Kind.TABLE, b"t", number, request.pack())


def test_changes_of_a_table_wait_their_turn_behind_messages_and_are_done_once(site, broker):
    change(site, 5, b"1")
    assert site.of(1, Kind.ANSWER) == []
    settle(site)
    site.say(1, Kind.PUBLISH, b"t", payload=b"before")
    change(site, 6, b"2", b"1")
    change(site, 7, b"3", b"1")
    for _ in range(3):
        site.bridge.step()
    site.bridge.cut()  # with the answers
    change(site, 8, b"4", b"2")
    settle(site)
    assert site.answers(1) == {5: True, 6: True, 7: False, 8: True}
    assert broker.history == [b"1", b"before", b"2", b"4"]


def test_answers_are_remembered_over_another_hub_and_only_as_long_as_they_may_be_missing(
    site, broker
):
    settle(site)
    for number in range(20):
        change(site, number, b"x", b"other")
    settle(site)
    assert len(broker.refused[b"a"]) == 20  # all of them may have been under way
    change(site, 20, b"x", b"other")
    site.bridge.step()
    assert len(broker.refused[b"a"]) == 1
    site.reload()
    settle(site)
    assert site.answers(1) == dict.fromkeys(range(21), False)


def test_changes_that_a_broker_has_forgotten_are_not_known(site, broker):
    settle(site)
    change(site, 5, b"1")
    site.bridge.step()
    site.bridge.cut()
    site.hear()
    change(site, 6, b"2")
    broker.forget()
    settle(site)
    assert [frame.number for frame in site.of(1, Kind.NO_ANSWER)] == [5]
    assert site.answers(1) == {6: True}


def test_changes_beyond_the_limit_are_not_known(broker):
    site = Site(broker, b"a", 1, queued_bytes=10_000)
    for number in range(30):
        change(site, number, b"x" * 1000, None)
    assert [frame.number for frame in site.of(1, Kind.FULL)] == [1]
    refused = [frame.number for frame in site.of(1, Kind.NO_ANSWER)]
    assert 12 < refused[0] < 20  # twice of what messages may take
    assert refused == list(range(refused[0], 30))
    settle(site)
    assert site.answers(1) == {number: number == 0 for number in range(refused[0])}


@pytest.mark.parametrize("has_forgotten", [False, True])
def test_there_is_room_again_when_all_that_waited_is_known_with_a_new_connection(
    broker, has_forgotten
):
    site = Site(broker, b"a", 1, queued_bytes=10_000)
    settle(site)
    for _ in range(12):
        site.say(1, Kind.PUBLISH, b"t", payload=b"x" * 1000)
    while site.bridge.asked:
        site.bridge.step()
    site.bridge.cut()
    if has_forgotten:
        broker.forget()
    settle(site)
    assert [frame.number for frame in site.of(1, Kind.FULL)] == [1, 0]


def test_a_hub_that_takes_over_tells_whether_there_is_room(broker):
    site = Site(broker, b"a", 1, queued_bytes=10_000)
    for _ in range(12):
        site.say(1, Kind.PUBLISH, b"t", payload=b"x" * 1000)
    site.reload()
    assert [frame.number for frame in site.of(1, Kind.FULL)] == [1, 1]
    settle(site)
    site.reload()
    assert [frame.number for frame in site.of(1, Kind.FULL)] == [1, 1, 0, 0]


def test_what_the_hub_before_was_asked_is_answered_when_its_members_are_there(site):
    settle(site)
    site.say(1, Kind.TABLE, b"t", 5, Request(Op.GET, b"k").pack())
    site.say(1, Kind.OWN, b"k")
    site.loop.advance(site.loop.now + site.limits.claim_seconds - 0.01)
    site.reload()
    assert [frame.number for frame in site.of(1, Kind.NO_ANSWER)] == [5]


def test_who_has_left_is_told_nothing_of_its_changes(site, broker):
    settle(site)
    change(site, 5, b"1")
    site.hub.leave(1)
    settle(site)
    assert broker.history == [b"1"]
    assert site.answers(1) == {}


def test_questions_are_bounded(site):
    settle(site)
    question = Request(Op.GET, b"k" * 60_000).pack()
    for number in range(200):
        site.say(1, Kind.TABLE, b"t", number, question)
    refused = site.of(1, Kind.NO_ANSWER)
    waiting = sum(frame.kind == Ask.TABLE for frame in site.bridge.asked)
    assert waiting + len(refused) == 200
    assert waiting * len(question) <= site.limits.queued_bytes < (waiting + 1) * len(question)


def test_beyond_the_limit_members_are_told_that_nothing_more_can_be_published(broker):
    site = Site(broker, b"a", 1, queued_bytes=10_000)
    for _ in range(12):
        site.say(1, Kind.PUBLISH, b"t", payload=b"x" * 1000)
    assert [frame.number for frame in site.of(1, Kind.FULL)] == [1]
    site.sent[2] = []
    site.hub.join(2)
    assert [frame.number for frame in site.of(2, Kind.FULL)] == [1]
    settle(site)
    assert [frame.number for frame in site.of(1, Kind.FULL)] == [1, 0]
    assert len(broker.log) == 12  # none of what was taken is lost


def test_a_claim_that_is_not_answered_in_time_is_refused_and_given_back_if_granted(site, broker):
    settle(site)
    site.say(1, Kind.OWN, b"k")
    site.bridge.step()  # it is granted, but the answer is under way
    site.loop.advance(site.loop.now + site.limits.claim_seconds)
    assert site.claims(1) == [False]
    assert broker.owners
    settle(site)
    assert site.claims(1) == [False]
    assert broker.owners == {}


@pytest.mark.parametrize("is_granted", [True, False])
def test_what_was_granted_too_late_is_given_back_after_a_broken_connection(
    site, broker, is_granted
):
    settle(site)
    site.say(1, Kind.OWN, b"k")
    if is_granted:
        site.bridge.step()
    site.loop.advance(site.loop.now + site.limits.claim_seconds)
    site.bridge.cut()
    settle(site)
    assert site.claims(1) == [False]
    assert broker.owners == {}


def test_a_claim_survives_a_broken_connection(site, broker):
    settle(site)
    site.say(1, Kind.OWN, b"k")
    site.bridge.step()
    site.bridge.cut()
    settle(site)
    assert site.claims(1) == [True]
    assert broker.owners == {b"k": (1, b"a:1")}


def test_of_two_claims_of_one_host_one_is_granted_and_the_owner_is_refused(site, broker):
    site.say(1, Kind.OWN, b"k")
    site.say(2, Kind.OWN, b"k")
    site.say(1, Kind.OWN, b"k")
    settle(site)
    site.say(1, Kind.OWN, b"k")
    settle(site)
    assert site.claims(1) == [True, False, False]
    assert site.claims(2) == [False]


def test_a_key_that_is_given_up_before_it_is_granted_is_free(site, broker):
    site.say(1, Kind.OWN, b"k")
    site.say(1, Kind.RELEASE, b"k")
    site.say(2, Kind.OWN, b"k")
    settle(site)
    assert site.claims(1) == [True]
    assert site.claims(2) == [True]
    assert [owner for _, owner in broker.owners.values()] == [b"a:2"]


def test_a_member_that_has_left_owns_nothing_of_what_it_claimed(site, broker):
    site.say(2, Kind.SUBSCRIBE, b"bus.left", 1)
    settle(site)
    site.say(1, Kind.OWN, b"k")
    site.say(1, Kind.OWN, b"l")
    site.bridge.step()
    site.hub.leave(1)
    settle(site)
    assert broker.owners == {}
    assert site.heard(2) == [(b"bus.left", "a:1", b"a:1")]


def test_owners_trust_as_long_as_they_are_told_and_new_members_hear_of_it(site):
    settle(site)
    site.bridge.beat(100.5)
    settle(site)
    site.sent[9] = []
    site.hub.join(9)
    for member in (1, 9):
        assert TIME.unpack(site.of(member, Kind.TRUST)[-1].payload) == (100.5,)


def test_who_was_taken_for_dead_trusts_no_more_and_hears_whose_keys_are_taken(site, other, broker):
    settle(site, other)
    for key in (b"k", b"l"):
        site.say(1, Kind.OWN, key)
    settle(site, other)
    site.bridge.beat(100.5)
    settle(site, other)
    site.bridge.cut()
    broker.reap(b"a")
    other.say(3, Kind.OWN, b"k")
    settle(other)
    assert other.claims(3) == [True]
    before = len(site.sent[1])
    settle(site)
    after = [frame for frame in site.sent[1][before:] if frame.kind != Kind.MESSAGE]
    kinds = [frame.kind for frame in after]
    assert kinds == [Kind.TRUST, Kind.TAKEN, Kind.FENCE]
    assert TIME.unpack(after[0].payload) == (0.0,)
    assert (after[1].name, after[2].name) == (b"k", b"l")
    assert FENCE.unpack(after[2].payload)[0] == broker.owners[b"l"][0] > 2


@pytest.mark.parametrize("cut_after", [None, 1, 2])
@pytest.mark.parametrize("forgets", [False, True])
def test_keys_are_asked_for_again_some_at_a_time_before_all_that_waits(
    site, broker, cut_after, forgets
):
    """A hundred thousand at once would take the supervisor the time of a second."""
    settle(site)
    keys = [b"k%d" % number for number in range(5 * site.limits.asked_at_once // 2)]
    for key in keys:
        site.say(1, Kind.OWN, key)
    settle(site)
    site.sent[1] = []
    if forgets:
        broker.forget()
    else:
        broker.reap(b"a")
    broker.own(b"b:3", keys[-1])
    site.bridge.cut()
    while site.bridge.told:
        site.hear()
    site.say(1, Kind.PUBLISH, b"t", payload=b"waits")
    site.bridge.connect()
    again = []
    while site.bridge.told or site.bridge.asked:
        if site.bridge.told:
            site.hear()
            asked = [each.kind for each in site.bridge.asked]
            assert asked.count(Ask.OWN_AGAIN) <= 1
            assert len(asked) < 10
            continue
        again += [each for each in site.bridge.asked if each.kind == Ask.OWN_AGAIN]
        if len(again) == cut_after:
            site.bridge.cut()
            site.bridge.connect()
            cut_after = None
        site.bridge.step()
    assert [frame.name for frame in site.of(1, Kind.TAKEN)] == keys[-1:]
    assert len(site.hub.state().owned) == len(broker.owners) - 1 == len(keys) - 1
    assert [split_sender(whole)[1] for topic, whole in broker.log if topic == b"t"] == [b"waits"]
    assert not site.hub._claims.is_unsure


def test_who_was_taken_for_dead_hears_of_it_even_if_the_first_answer_is_lost(site, other, broker):
    settle(site, other)
    site.say(1, Kind.OWN, b"k")
    settle(site, other)
    site.bridge.beat(100.5)
    settle(site, other)
    site.bridge.cut()
    broker.reap(b"a")
    other.say(3, Kind.OWN, b"k")
    settle(other)
    site.hear()
    site.join_unanswered()
    settle(site)
    assert [frame.name for frame in site.of(1, Kind.TAKEN)] == [b"k"]


def test_nothing_is_said_twice_to_a_broker_that_has_forgotten_all_if_the_first_answer_is_lost(
    site, broker
):
    site.say(2, Kind.SUBSCRIBE, b"t", 1)
    settle(site)
    site.say(1, Kind.PUBLISH_TOLD, b"t", payload=b"under way")
    site.bridge.step()
    site.bridge.cut()
    site.hear()
    broker.forget()
    site.join_unanswered()
    settle(site)
    assert [frame.number for frame in site.of(1, Kind.ORDERED)] == [0]
    assert site.heard(2) == []


def test_a_broker_that_has_forgotten_all(site, broker):
    site.say(2, Kind.SUBSCRIBE, b"t", 1)
    settle(site)
    site.say(1, Kind.OWN, b"k")
    settle(site)
    site.say(1, Kind.PUBLISH_TOLD, b"t", payload=b"under way")
    site.bridge.step()
    site.bridge.cut()
    site.hear()
    site.say(1, Kind.PUBLISH_TOLD, b"t", payload=b"never sent")
    broker.forget()
    settle(site)
    told = [frame.number for frame in site.of(1, Kind.ORDERED)]
    assert told == [0, 1]  # what was under way is not said twice
    assert [payload for _, _, payload in site.heard(2)] == [b"never sent"]
    assert len(site.of(2, Kind.LOST)) == 1
    assert broker.owners[b"k"][1] == b"a:1"
    assert len(site.of(1, Kind.FENCE)) == 1


def test_what_is_retained_is_passed_on_whole(site, broker):
    settle(site)
    for number in range(3):
        site.say(1, Kind.PUBLISH, b"room.a", 2, b"%d" % number)
        site.say(1, Kind.PUBLISH, b"room.b", 2, b"%d" % number)
    settle(site)
    site.say(2, Kind.SUBSCRIBE_PREFIX, b"room.", 4)
    site.bridge.step()  # LISTEN
    site.bridge.step()
    site.hear()  # the first of four
    site.bridge.cut()
    assert site.of(2, Kind.RETAINED) == []
    settle(site)
    found = [(each.number, each.name) for each in site.of(2, Kind.RETAINED)]
    assert found == [(4, b"room.a")] * 2 + [(4, b"room.b")] * 2


def test_many_topics_are_said_in_few_frames(site, other):
    """The supervisor has connections to hand out: it must not be held up by each topic."""
    settle(site, other)
    for number in range(2500):
        site.say(1, Kind.SUBSCRIBE, b"t%d" % number, number)
        site.say(1, Kind.SUBSCRIBE_PREFIX, b"p%d" % number, number)
    settle(site, other)
    site.bridge.cut()
    site.bridge.connect()
    while site.hub.stage is not Stage.CATCHING_UP:
        if site.bridge.told:
            site.hear()
        else:
            site.bridge.step()
    kinds = Counter(frame.kind for frame in site.bridge.asked)
    assert kinds[Ask.LISTEN] == kinds[Ask.LISTEN_PREFIX] == 3
    settle(site, other)
    for topic in (b"t0", b"t2499", b"p2499.x"):
        other.say(3, Kind.PUBLISH, topic, payload=b"x")
    settle(site, other)
    assert [topic for topic, *_ in site.heard(1)] == [b"t0", b"t2499", b"p2499.x"]
    site.hub.leave(1)
    kinds = Counter(frame.kind for frame in site.bridge.asked)
    assert kinds[Ask.UNLISTEN] == kinds[Ask.UNLISTEN_PREFIX] == 3
    settle(site, other)
    assert not site.bridge.topics
    assert not site.bridge.prefixes


@pytest.mark.parametrize("reloads", [False, True])
def test_what_waits_is_said_and_asked_in_its_order(site, reloads):
    site.say(1, Kind.PUBLISH, b"t", number=5, payload=b"0")
    site.say(1, Kind.SUBSCRIBE, b"t", 7)
    site.say(1, Kind.PUBLISH, b"t", number=5, payload=b"1")
    site.say(1, Kind.READ_PREFIX, b"", 8)
    site.say(1, Kind.PUBLISH, b"t", number=5, payload=b"2")
    if reloads:
        site.reload()
    settle(site)
    said = [
        frame.number if frame.kind == Kind.SUBSCRIBED else split_sender(frame.payload)[1]
        for frame in site.sent[1]
        if frame.kind in (Kind.RETAINED, Kind.SUBSCRIBED, Kind.MESSAGE)
    ]
    live = said.index(7)
    assert said[live - 1 :] == [b"0", 7, b"1", b"0", b"1", 8, b"2"]


def test_what_is_retained_is_read_without_a_subscription(site, broker):
    broker.publish(b"t", b"\x03b:1x", 1)
    site.say(2, Kind.READ, b"t", 7)
    site.say(2, Kind.READ_PREFIX, b"", 8)
    site.say(2, Kind.UNSUBSCRIBE, b"t")
    settle(site)
    assert [each.number for each in site.of(2, Kind.RETAINED)] == [7, 8]
    assert [each.number for each in site.of(2, Kind.SUBSCRIBED)] == [7, 8]
    site.say(1, Kind.PUBLISH, b"t", payload=b"live")
    settle(site)
    assert site.heard(2) == []


class Anywhere(RuleBasedStateMachine):
    """Two hosts, connections that break anywhere, reloads: each message once, in one order."""

    def __init__(self):
        super().__init__()
        self.broker = ModelBroker()
        one = Site(self.broker, b"a", 1, 2, asked_at_once=1)
        self.sites = [one, Site(self.broker, b"b", 3)]
        self.sent, self.changes = 0, {0: [], 1: []}
        self.said = {0: [], 1: []}
        for site in self.sites:
            for member in site.sent:
                site.say(member, Kind.SUBSCRIBE_PREFIX, b"t", 1)
        settle(*self.sites)

    sites_ = st.integers(0, 1)

    @rule(which=sites_, topic=st.sampled_from([b"t1", b"t2"]), keep=st.integers(0, 2))
    def publish(self, which, topic, keep):
        site = self.sites[which]
        member = next(iter(site.sent))
        self.sent += 1
        site.say(member, Kind.PUBLISH_TOLD, topic, keep, b"p%d" % self.sent)
        self.said[which].append(b"p%d" % self.sent)

    @rule(which=sites_, last=st.integers(0, 3))
    def change(self, which, last):
        """Try to take the place of one of the last values that were tried."""
        value = b"c%d" % sum(map(len, self.changes.values()))
        known = (
            [each for changes in self.changes.values() for each in changes][-last:] if last else []
        )
        change(self.sites[which], len(self.changes[which]), value, known[0] if known else None)
        self.changes[which].append(value)
        self.said[which].append(value)

    @rule(which=sites_, key=st.sampled_from([b"k1", b"k2"]))
    def claim(self, which, key):
        site = self.sites[which]
        site.say(next(iter(site.sent)), Kind.OWN, key)

    @rule(which=sites_, key=st.sampled_from([b"k1", b"k2"]))
    def release(self, which, key):
        site = self.sites[which]
        site.say(next(iter(site.sent)), Kind.RELEASE, key)

    @rule(which=sites_, steps=st.integers(1, 6))
    def go_on(self, which, steps):
        site = self.sites[which]
        for _ in range(steps):
            if site.bridge.asked:
                site.bridge.step()
            if site.bridge.told:
                site.hear()

    @rule(which=sites_)
    def cut(self, which):
        self.sites[which].bridge.cut()

    @precondition(lambda self: not all(each.bridge.is_up for each in self.sites))
    @rule()
    def connect(self):
        for site in self.sites:
            if not site.bridge.is_up:
                site.bridge.connect()

    @rule(which=sites_)
    def reload(self, which):
        self.sites[which].reload()

    @rule(which=sites_)
    def time_passes(self, which):
        site = self.sites[which]
        site.loop.advance(site.loop.now + site.limits.claim_seconds)

    @rule(which=sites_)
    def die(self, which):
        node = b"ab"[which : which + 1]
        self.sites[which].bridge.cut()
        if self.broker.nodes[node][0] is not None:
            self.broker.reap(node)

    @rule()
    def look(self):
        settle(*self.sites)
        log = [(topic, split_sender(whole)) for topic, whole in self.broker.log]
        wanted = [(topic, *rest) for topic, rest in log if topic.startswith(b"t")]
        assert max(Counter(payload for _, _, payload in wanted).values(), default=0) <= 1
        assert len(wanted) == self.sent
        told = 0
        for site in self.sites:
            assert site.hub.queued == 0
            for member in site.sent:
                assert site.heard(member) == wanted
                assert site.of(member, Kind.LOST) == []
                orders = site.of(member, Kind.ORDERED)
                assert all(frame.number == 1 for frame in orders)
                told += len(orders)
        assert told == self.sent
        done = self.broker.history
        assert len(set(done)) == len(done)
        for which, changes in self.changes.items():
            assert self.sites[which].of(1 if which == 0 else 3, Kind.NO_ANSWER) == []
            answers = self.sites[which].answers(1 if which == 0 else 3)
            assert answers == {at: value in done for at, value in enumerate(changes)}
            mine = [each for each in done if each in self.said[which]]
            assert mine == [each for each in self.said[which] if each in done]
        for key, (_, owner) in self.broker.owners.items():
            site = self.sites[0 if owner.startswith(b"a") else 1]
            assert site.hub.state().owned.count((key, int(owner[2:]), self.broker.owners[key][0]))
        owned = [each for site in self.sites for each in site.hub.state().owned]
        assert len(owned) == len(self.broker.owners)

    def teardown(self):
        self.look()


TestAnywhere = Anywhere.TestCase
TestAnywhere.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
