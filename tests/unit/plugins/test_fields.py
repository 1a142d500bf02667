"""Fields come as they were written, and what does not fit is an error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.plugins.framing import FieldReader, FrameSyntaxError

ENDS = "ends within"


def test_fields_come_one_after_the_other():
    fields = FieldReader(b"\x07\x00\x03ann\x00\x00\x01\x02\x02\xff\x00rest", 0)
    assert fields.number(1) == 7
    assert fields.text(2) == "ann"
    assert fields.number(4) == 0x0102
    assert fields.data(1) == b"\xff\x00"
    assert fields.more()
    assert fields.rest() == b"rest"
    assert fields.rest() == b"rest"
    assert fields.take(4) == b"rest"
    assert not fields.more()
    assert fields.rest() == b""
    fields.end()


def test_the_first_field_begins_where_it_was_said():
    assert FieldReader(b"abc", 1).rest() == b"bc"
    fields = FieldReader(b"abc", 2)
    assert fields.take(1) == b"c"
    fields.end()


@pytest.mark.parametrize(
    ("frame", "read"),
    [
        (b"", lambda fields: fields.number(1)),
        (b"\x01", lambda fields: fields.number(2)),
        (b"ab", lambda fields: fields.take(3)),
        (b"", lambda fields: fields.data(1)),
        (b"\x00", lambda fields: fields.data(2)),
        (b"\x03ab", lambda fields: fields.data(1)),
        (b"", lambda fields: fields.text(2)),
        (b"\x00\x03ab", lambda fields: fields.text(2)),
    ],
)
def test_a_frame_that_ends_within_a_field_is_an_error(frame, read):
    with pytest.raises(FrameSyntaxError, match=ENDS):
        read(FieldReader(frame))


def test_after_the_end_nothing_more_is_read():
    fields = FieldReader(b"abc")
    with pytest.raises(FrameSyntaxError, match=ENDS):
        fields.take(4)
    with pytest.raises(FrameSyntaxError, match=ENDS):
        fields.take(1)
    assert not fields.more()
    assert fields.rest() == b""


@pytest.mark.parametrize("text", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"a\x80"])
def test_a_text_that_is_not_in_utf_8_is_an_error(text):
    fields = FieldReader(len(text).to_bytes(2, "big") + text)
    with pytest.raises(FrameSyntaxError, match="UTF-8"):
        fields.text(2)


def test_more_than_the_fields_is_an_error():
    fields = FieldReader(b"\x01x")
    fields.number(1)
    with pytest.raises(FrameSyntaxError, match="more bytes"):
        fields.end()
    fields.take(1)
    fields.end()


def read_texts(fields, texts):
    return [fields.text(size) for size, _ in texts]


@given(
    st.lists(st.tuples(st.sampled_from([1, 2, 4]), st.text(max_size=50)), max_size=5), st.binary()
)
def test_what_is_written_is_read_and_each_shorter_frame_is_an_error(texts, rest):
    frame = b"".join(
        len(text.encode()).to_bytes(size, "big") + text.encode() for size, text in texts
    )
    fields = FieldReader(frame + rest)
    assert read_texts(fields, texts) == [text for _, text in texts]
    assert fields.rest() == rest
    assert fields.more() == bool(rest)
    for end in range(len(frame)):
        with pytest.raises(FrameSyntaxError):
            read_texts(FieldReader(frame[:end]), texts)
