"""A hub that takes over sends what the one before would have sent."""

from hypothesis import given
from hypothesis import strategies as st

from host.bus.frames import Frame, Kind
from host.bus.hub import Hub, HubLimits
from host.bus.tables import Op, Request, TableLimits

MEMBERS = st.integers(1, 3)
NAMES = st.sampled_from([b"a", b"b", b"bus.left"])
PAYLOADS = st.binary(max_size=3) | st.just(bytes(1500))
ASKED = st.builds(
    Request,
    st.sampled_from(list(Op)),
    NAMES,
    st.none() | PAYLOADS,
    st.none() | PAYLOADS,
)
STEPS = st.lists(
    st.tuples(st.just("join") | st.just("leave"), MEMBERS)
    | st.tuples(
        MEMBERS,
        st.builds(
            Frame,
            st.sampled_from(
                [
                    Kind.SUBSCRIBE,
                    Kind.SUBSCRIBE_PREFIX,
                    Kind.UNSUBSCRIBE,
                    Kind.UNSUBSCRIBE_PREFIX,
                    Kind.OWN,
                    Kind.RELEASE,
                ]
            ),
            st.integers(0, 9),
            NAMES,
        ),
    )
    | st.tuples(
        MEMBERS,
        st.builds(
            Frame,
            st.sampled_from([Kind.PUBLISH, Kind.PUBLISH_TOLD]),
            st.integers(0, 3),
            NAMES,
            PAYLOADS,
        ),
    )
    | st.tuples(
        MEMBERS,
        st.builds(Frame, st.just(Kind.TABLE), st.just(7), NAMES, ASKED.map(Request.pack)),
    ),
    max_size=30,
)


class Recorded:
    """A hub, and what it sends."""

    def __init__(self, **limits):
        self.sent, self.members = [], set()
        self.hub = Hub(self.take, HubLimits(**limits))

    def take(self, *sent):
        self.sent.append(sent)
        return True

    def do(self, steps):
        for step in steps:
            match step:
                case ("join", member):
                    self.hub.join(member)
                    self.members.add(member)
                case ("leave", member):
                    self.hub.leave(member)
                    self.members.discard(member)
                case (member, frame) if member in self.members:
                    self.hub.receive(member, frame)

    def ask_everything(self):
        """Have a new member ask for all that can be asked for."""
        self.do([("join", 9)])
        for name in (b"a", b"b", b"bus.left"):
            self.do([(9, Frame(Kind.SUBSCRIBE, 1, name)), (9, Frame(Kind.OWN, 0, name))])
            self.do([(9, Frame(Kind.PUBLISH, 0, name, b"who hears?"))])
            self.do([(9, Frame(Kind.TABLE, 0, name, Request(Op.ITEMS).pack()))])
            for size in (1, 1500):  # how much room there is
                request = Request(Op.SET, b"new", bytes(size))
                self.do([(9, Frame(Kind.TABLE, 0, name, request.pack()))])


SMALL = {"retained": 2, "retained_bytes": 6_000, "keys": 2, "tables": TableLimits(2_000, 4_000)}
"""Limits so low that what is retained and what is owned meets them."""


@given(STEPS, STEPS, st.booleans())
def test_a_hub_that_takes_over_sends_what_the_one_before_would_have_sent(before, after, join_first):
    one, other = Recorded(**SMALL), Recorded(**SMALL)
    one.do([("join", 1), ("join", 2), *before])
    joins = [("join", member) for member in sorted(one.members)]
    if join_first:
        other.do(joins)
    other.hub.restore(one.hub.state())
    if not join_first:
        other.do(joins)
    one.sent.clear()
    for each in (one, other):
        each.do(after)
        each.ask_everything()
    assert other.sent == one.sent
    assert other.hub.state() == one.hub.state()


def test_a_state_is_no_part_of_the_hub():
    one = Recorded()
    one.do([("join", 1), (1, Frame(Kind.SUBSCRIBE, 1, b"a")), (1, Frame(Kind.OWN, 0, b"k"))])
    state = one.hub.state()
    one.do([(1, Frame(Kind.PUBLISH, 2, b"a", b"x")), (1, Frame(Kind.UNSUBSCRIBE, 0, b"a"))])
    one.do([("leave", 1)])
    assert (state.hearers, state.owners, state.rings) == ([(b"a", [1])], [(b"k", 1)], [])
