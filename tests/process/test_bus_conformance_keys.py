"""What the page on the bus promises of keys, of members that end, and of tables, on each bus."""

from __future__ import annotations

import random

import pytest

from support.bus_world import Member, claimed, live, more_members, subscribed

pytestmark = [
    pytest.mark.process,
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),
]


def test_a_key_has_one_owner_whose_fencing_number_is_greater_than_those_before(bus_world):
    one, other = bus_world.members
    fences = []
    for turn in range(10):
        owner, rival = (one, other) if turn % 2 else (other, one)
        assert claimed(bus_world, owner, "k")
        assert not claimed(bus_world, rival, "k")
        assert not claimed(bus_world, owner, "k")
        fences.append(owner.bus.fence("k"))
        assert rival.bus.fence("k") is None
        rival.bus.release("k")  # it is not its own
        assert not claimed(bus_world, rival, "k")
        owner.bus.release("k")
        assert owner.bus.fence("k") is None
        bus_world.settle()
    assert fences == sorted(set(fences))


def test_the_fencing_number_is_known_when_the_claim_is_answered(bus_world):
    member = bus_world.add(bus_world.hosts[0])
    known = []
    member.bus.claim("k", lambda owned: known.append((owned, member.bus.fence("k"))))
    bus_world.until(lambda: known)
    [(owned, fence)] = known
    assert owned
    assert fence is not None


def test_of_many_who_claim_at_once_one_gets_it(bus_world):
    more_members(bus_world, 6)
    answers = []
    for key in range(30):
        for member in random.Random(key).sample(bus_world.members, 8):
            tell = lambda owned, who=(key, member.number): answers.append((who, owned))  # noqa: E731
            member.bus.claim(f"k{key}", tell)
    bus_world.until(lambda: len(answers) == 240)
    bus_world.settle()
    owners = [who for who, owned in answers if owned]
    assert sorted(key for key, _ in owners) == list(range(30))
    assert len(answers) == 240
    for key, number in owners:
        fences = {each.number: each.bus.fence(f"k{key}") for each in bus_world.members}
        assert [who for who, fence in fences.items() if fence is not None] == [number]


def test_claims_and_releases_of_one_member_are_done_in_their_order(bus_world):
    one, other = bus_world.members
    answers = []
    for _ in range(20):
        one.bus.claim("k", answers.append)
        one.bus.claim("k", answers.append)
        one.bus.release("k")
    bus_world.until(lambda: len(answers) == 40)
    assert answers == [True, False] * 20
    assert one.bus.fence("k") is None
    bus_world.settle()
    assert claimed(bus_world, other, "k")


def test_what_a_member_owned_is_free_when_it_has_ended_and_others_hear_it_after_its_last_message(
    bus_world,
):
    more_members(bus_world, 1)
    one, other, ends = bus_world.members
    heard = []
    for topic in ("t", "bus.left"):
        other.bus.subscribe(topic, lambda each: heard.append((each.topic, each.payload)))
    bus_world.settle()
    for key in range(5):
        assert claimed(bus_world, ends, f"k{key}")
    for number in range(200):
        assert ends.bus.publish("t", b"%d" % number)
    host = next(host for host in bus_world.hosts if ends.number in host.members)
    host.kill(ends)
    name = ends.bus.member
    bus_world.until(lambda: name in one.left and name in other.left)
    for key in range(5):
        assert claimed(bus_world, other, f"k{key}")
    bus_world.settle()
    wanted = [("t", b"%d" % number) for number in range(200)]
    assert heard == [*wanted, ("bus.left", name.encode())]
    assert one.left == other.left == [name]


def test_a_table_is_the_same_for_all(bus_world):
    one, other = (member.bus.table("flags") for member in bus_world.members)
    said = []
    one.get("a", lambda *answer: said.append(answer))
    one.set("a", b"1", said.append)
    one.set("b", b"")
    one.set("ä b", bytes(range(256)), said.append)
    one.delete("no", said.append)
    one.get("a", lambda *answer: said.append(answer))
    bus_world.until(lambda: len(said) == 5)
    assert said == [(True, None), True, True, True, (True, b"1")]
    said.clear()
    other.get("b", lambda *answer: said.append(answer))
    other.items(said.append)
    other.delete("a", said.append)
    other.get("a", lambda *answer: said.append(answer))
    other.items(lambda items: said.append(sorted(items)))
    bus_world.members[1].bus.table("others").items(said.append)
    bus_world.until(lambda: len(said) == 6)
    assert said == [
        (True, b""),
        {"a": b"1", "b": b"", "ä b": bytes(range(256))},
        True,
        (True, None),
        ["b", "ä b"],
        {},
    ]


def test_compare_and_set_is_done_if_the_value_is_the_expected_one(bus_world):
    table = bus_world.members[1].bus.table("t")
    said = []
    for expected, value in (
        (b"", b"no"),
        (None, b""),
        (None, b"no"),
        (b"no", b"no"),
        (b"", b"1"),
        (b"1", None),
        (b"1", b"no"),
        (None, None),
    ):
        table.compare_and_set("k", expected, value, said.append)
    table.get("k", lambda *answer: said.append(answer))
    bus_world.until(lambda: len(said) == 9)
    assert said == [False, True, False, False, True, True, False, True, (True, None)]


class Counter:
    """Raises a number in a table so many times, against others that do as well."""

    def __init__(self, member: Member, times: int) -> None:
        self._table, self.left, self.tries = member.bus.table("counters"), times, 0
        self.go_on()

    def go_on(self) -> None:
        if self.left:
            self._table.get("n", self._raise)

    def _raise(self, known: bool, value: bytes | None) -> None:
        assert known
        self.tries += 1
        self._table.compare_and_set("n", value, b"%d" % (int(value or b"0") + 1), self._note)

    def _note(self, done: bool) -> None:
        self.left -= done
        self.go_on()


def test_a_number_that_all_raise_at_once_ends_exact(bus_world):
    more_members(bus_world, 4)
    counters = [Counter(member, 40) for member in bus_world.members]
    bus_world.until(lambda: not any(counter.left for counter in counters))
    found = []
    bus_world.members[0].bus.table("counters").get("n", lambda *answer: found.append(answer))
    bus_world.until(lambda: found)
    assert found == [(True, b"240")]
    assert sum(counter.tries for counter in counters) > 240


def test_a_table_has_limits_and_what_is_beyond_them_is_refused(bus_world):
    one, other = (member.bus.table("big") for member in bus_world.members)
    with pytest.raises(ValueError, match="65536 at most"):
        one.set("k", bytes(65_537))
    said = []
    for number in range(70):
        one.set(f"{number:03}", bytes(65_536), said.append)
        bus_world.turn()
    bus_world.until(lambda: len(said) == 70)
    most = 4_194_304 // (65_536 + 3 + 200)
    assert said == [True] * most + [False] * (70 - most)
    found = []
    other.items(found.append)
    bus_world.until(lambda: found)
    assert found == [{f"{number:03}": bytes(65_536) for number in range(most)}]
    said.clear()
    one.set("000", b"small", said.append)
    one.set("new", bytes(65_000), said.append)
    bus_world.until(lambda: len(said) == 2)
    assert said == [True, True]


def test_what_is_set_stays_when_its_member_ends(bus_world):
    one, other = bus_world.members
    said = []
    one.bus.table("t").set("k", b"kept", said.append)
    bus_world.until(lambda: said)
    bus_world.hosts[0].kill(one)
    bus_world.until(lambda: other.left)
    other.bus.table("t").get("k", lambda *answer: said.append(answer))
    bus_world.until(lambda: len(said) == 2)
    assert said[1] == (True, b"kept")


def test_a_host_that_hears_only_prefixes_hears_who_has_left(bus_world):
    more_members(bus_world, 1)
    hearers = subscribed(bus_world, "bus.", prefix=True)
    ends = bus_world.members[-1]
    host = next(host for host in bus_world.hosts if ends.number in host.members)
    host.kill(ends)
    bus_world.until(lambda: all(live(each) for each in hearers[:2]))
    bus_world.settle()  # nothing more comes
    for hearer in hearers[:2]:
        assert [payload for payload in hearer.payloads if payload != "ready"] == [
            ends.bus.member.encode()
        ]
