"""A user's token bucket gives no more than its burst and its rate."""

from hypothesis import given
from hypothesis import strategies as st

from host.plugins.chat.users import Bucket


@given(st.floats(0.1, 100), st.integers(1, 20), st.lists(st.floats(0, 3), max_size=60))
def test_a_bucket_gives_no_more_than_burst_and_rate(rate, burst, pauses):
    now, bucket, taken = 100.0, Bucket(rate, burst, 100.0), 0
    for pause in pauses:
        now += pause
        taken += bucket.take(now)
        assert taken <= burst + (now - 100.0) * rate + 1e-6


def test_a_bucket_is_full_again_after_a_while():
    bucket = Bucket(2.0, 3, 0.0)
    assert [bucket.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(0.5), bucket.take(0.5)] == [True, False]
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
