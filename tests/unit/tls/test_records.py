"""Where records begin is known, however they are cut and however many are followed at once."""

from itertools import accumulate

from hypothesis import example, given
from hypothesis import strategies as st

from host.tls.records import RecordBoundaries


def record(size):
    return b"\x17\x03\x03" + size.to_bytes(2) + bytes(size)


@given(
    sizes=st.lists(st.sampled_from([0, 1, 4, 22, 250, 256, 300, 16_640]), max_size=40),
    segments=st.lists(st.integers(1, 400) | st.just(20_480), min_size=1, max_size=8),
    most=st.sampled_from([1, 2, 32, 1000]),
)
@example(sizes=[0, 0], segments=[1], most=1)
@example(sizes=[22] * 3, segments=[27 + 3, 2, 27 + 22], most=1)
def test_each_record_is_seen_once_where_it_begins(sizes, segments, most):
    stream = b"".join(map(record, sizes))
    begins = [0, *accumulate(size + 5 for size in sizes)]
    ends = begins[1:]
    boundaries, found, at, turn = RecordBoundaries(), 0, 0, 0
    while at < len(stream):
        data = stream[at : at + segments[turn % len(segments)]]
        turn += 1
        while data:
            size, count = boundaries.follow(data, most)
            assert count <= most
            assert size == len(data) or at + size in ends
            at, data, found = at + size, data[size:], found + count
            assert boundaries.inside is (at not in ends)
            assert found == sum(begin + 5 <= at for begin in begins[:-1])
    assert found == len(sizes)


@given(st.lists(st.binary(max_size=2000)), st.integers(1, 40))
def test_what_makes_no_sense_is_followed_too(pieces, most):
    boundaries = RecordBoundaries()
    for piece in pieces:
        left = piece
        while left:
            size, _ = boundaries.follow(left, most)
            assert size > 0
            left = left[size:]
