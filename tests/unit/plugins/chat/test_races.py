"""Whatever overtakes whatever on the bus: one owner a nick, one roster, one order, no leftovers."""

from itertools import pairwise

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from host.plugins.chat.names import fold
from support.parley import Client, Parley

NICKS = st.sampled_from(["ada", "ADA", "bob", "Carl"])
ROOMS = st.sampled_from(["#a", "#A", "#b"])
ANY = st.integers(0, 1000)
MEMBERS_LIMIT = 3


class Races(RuleBasedStateMachine):
    """Users of several workers do anything at any moment; the bus delivers when the test says."""

    ordered = False

    def __init__(self):
        super().__init__()
        self.parley = Parley(
            3,
            ordered=self.ordered,
            history=3,
            burst=10_000,
            max_room_members=MEMBERS_LIMIT,
            max_rooms_per_user=2,
        )
        self.clients, self.said, self.has_parted = [], 0, False

    def open_ones(self):
        return [client for client in self.clients if not client.closed]

    def pick(self, choice):
        clients = self.open_ones()
        return clients[choice % len(clients)]

    @rule(choice=ANY)
    def connect(self, choice):
        if len(self.open_ones()) < 8:
            self.clients.append(Client(self.parley[choice % len(self.parley.places)]))

    @precondition(open_ones)
    @rule(choice=ANY, nick=NICKS)
    def nick(self, choice, nick):
        self.pick(choice).send(f"/nick {nick}")

    @precondition(open_ones)
    @rule(choice=ANY, room=ROOMS)
    def join(self, choice, room):
        self.pick(choice).send(f"/join {room}")

    @precondition(open_ones)
    @rule(choice=ANY, room=ROOMS)
    def leave(self, choice, room):
        self.pick(choice).send(f"/leave {room}")

    @precondition(open_ones)
    @rule(choice=ANY)
    def say(self, choice):
        self.said += 1
        self.pick(choice).send(f"message {self.said}")

    @precondition(open_ones)
    @rule(choice=ANY, how=st.booleans())
    def go(self, choice, how):
        client = self.pick(choice)
        if how:
            client.send("/quit")
        else:
            client.leave()
        if client.closed:
            client.leave()

    @rule(choices=st.lists(ANY, min_size=1, max_size=12))
    def deliver(self, choices):
        for choice in choices:
            self.parley.net.step(choice)
        for client in tuple(self.clients):
            if client.closed:
                client.leave()

    @rule()
    def a_worker_begins(self):
        if len(self.parley.places) < 4 and not self.parley.net.full:  # it would fail to start
            self.parley.begin()

    @precondition(lambda self: len(self.parley.places) > 2)
    @rule(choice=ANY)
    def a_worker_dies(self, choice):
        number = choice % len(self.parley.places)
        place = self.parley[number]
        self.clients = [client for client in self.clients if client.worker is not place]
        self.parley.kill(number)

    @rule(choice=ANY)
    def messages_are_lost(self, choice):
        self.parley.lose(choice % len(self.parley.places))

    @rule(choice=ANY, for_long=st.booleans())
    def a_host_is_cut_off(self, choice, for_long):
        number = choice % len(self.parley.places)
        if self.parley[number].bus.member in self.parley.net.cut_off:
            return
        self.parley.cut_off(number)
        if for_long:
            self.has_parted = True
            self.parley.tell_left(number)

    @rule(choice=ANY)
    def a_host_is_connected_again(self, choice):
        self.parley.connect(choice % len(self.parley.places))

    @rule(full=st.booleans())
    def the_bus_is_full(self, full):
        self.parley.net.full = full

    @rule(seconds=st.sampled_from([0.05, 0.2, 3.0]))
    def time_passes(self, seconds):
        for place in list(self.parley.places.values()):
            place.advance(seconds)

    @rule()
    def quiet(self):
        """Let everything that is under way come to its end, then look."""
        self.parley.net.full = False
        for number in range(len(self.parley.places)):
            self.parley.connect(number)
        self.parley.settle(15.0)
        for client in tuple(self.clients):
            if client.closed:
                client.leave()
        self.parley.settle(3.0)
        self.check_nicks()
        self.check_rosters()
        self.check_rooms()
        self.check_order()

    def check_nicks(self):
        users, owners = self.parley.users, self.parley.net.owners
        keys = [fold(user.nick) for user in users]
        assert len(set(keys)) == len(keys)
        held = {
            key.removeprefix("chat.nick."): member
            for key, member in owners.items()
            if member in self.parley.places
        }
        assert set(held) == set(keys), "a nick is owned by nobody, or nobody's nick is owned"
        for user in users:
            assert user.nick
            assert user.wait is None
            assert held[fold(user.nick)] == user.connection.worker.bus.member

    def check_rosters(self):
        actual = {
            (user.connection.worker.bus.member, user.uid, user.nick, tuple(sorted(user.rooms)))
            for user in self.parley.users
        }
        for roster in self.parley.rosters():
            assert roster == actual
        for place in self.parley.places.values():
            roster = place.chat._membership.presence.roster
            assert not roster._asking
            assert len(roster._nicks) == len(actual)
            assert not roster._shadowed
            if not self.has_parted:  # who comes back is in its rooms, whoever has entered meanwhile
                assert all(count <= MEMBERS_LIMIT for count in roster.rooms.values())

    def check_rooms(self):
        for place in self.parley.places.values():
            membership = place.chat._membership
            inside = {}
            for user in membership.users.values():
                for room in user.rooms:
                    inside.setdefault(room, set()).add(user.uid)
            known = membership.rooms._rooms
            assert {name: set(room.writers) for name, room in known.items()} == inside
            assert {name: room.interest for name, room in known.items()} == inside
            topics = {topic for topic in place.bus.callbacks if topic.startswith("chat.room.")}
            assert topics == {f"chat.room.{name}" for name in inside}
            for name, room in known.items():
                kept = self.parley.net.rings.get(f"chat.room.{name}", ())
                lines = [message.payload.partition(b" ")[2] for message in kept]
                assert [line for _, _, line in room.ring] == lines, "history"

    def check_order(self):
        """Messages come in the order of their room; only who enters it again sees some again."""
        for topic, payloads in self.parley.net.log.items():
            room = topic.removeprefix("chat.room.")
            order = {
                payload.partition(b" ")[2].decode().rstrip(): number
                for number, payload in enumerate(payloads)
            }
            for client in self.clients:
                seen = []
                for line in client.lines:
                    if line in order:
                        seen.append(order[line])
                    elif line.endswith(f" has left {room}"):
                        seen.clear()  # perhaps its own leaving
                assert all(last < each for last, each in pairwise(seen))

    def teardown(self):
        self.quiet()


class OrderedRaces(Races):
    """The same with the order of the embedded bus."""

    ordered = True


TestRaces = Races.TestCase
TestOrderedRaces = OrderedRaces.TestCase
TestRaces.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
TestOrderedRaces.settings = TestRaces.settings
