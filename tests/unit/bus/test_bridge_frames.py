"""Frames between the hub and the bridge: what is written at once is read one by one."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from host.bus.bridge_frames import pack_names, unpack_names
from host.bus.frames import MAX_NAME_BYTES, MAX_PAYLOAD_BYTES

NAMES = st.lists(st.binary(min_size=1, max_size=MAX_NAME_BYTES), max_size=30)


@given(NAMES)
def test_names_are_read_as_they_were_written(names):
    pieces = list(pack_names(names))
    assert list(itertools.chain.from_iterable(map(unpack_names, pieces))) == names
    assert len(pieces) == bool(names)


def test_many_names_are_in_few_frames_each_of_which_is_short_enough():
    names = [b"%d." % number + bytes(MAX_NAME_BYTES - 6) for number in range(10_000)]
    pieces = list(pack_names(names))
    assert list(itertools.chain.from_iterable(map(unpack_names, pieces))) == names
    assert len(pieces) <= 10
    assert max(map(len, pieces)) <= MAX_PAYLOAD_BYTES
