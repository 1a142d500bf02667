import itertools
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.plugins.framing import (
    DelimiterFramer,
    FrameSyntaxError,
    FrameTooLongError,
    HeaderFramer,
    LengthFramer,
    LineFramer,
    NetstringFramer,
    RespFramer,
    VarintFramer,
    encode_varint,
)
from support.frames import four_bytes, headed, request

LIMIT = 8
TOO_LONG = "too long"
LOST = "lost"


def collect(framer, *pieces):
    """Feed pieces; return messages and errors in order, as somebody who goes on after errors."""
    found = []
    for piece in pieces:
        data = piece
        while True:
            try:
                found.extend(framer.feed(data))
                break
            except FrameTooLongError:
                found.append(TOO_LONG)
                data = b""
    return found


def split(data, cuts):
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(places)]


cuts = st.lists(st.integers(0, 200), max_size=12)


streams = st.lists(
    st.one_of(st.sampled_from([b"\n", b"\r\n", b"\r", b"\r\r\n"]), st.binary(max_size=LIMIT + 2)),
    max_size=12,
).map(b"".join)


def lines_of(stream):
    """The model: what a stream of lines holds."""
    *lines, rest = stream.split(b"\n")
    found = []
    for line in lines:
        bare = line[:-1] if line.endswith(b"\r") else line
        found.append(bare if len(bare) <= LIMIT else TOO_LONG)
    if len(rest) > LIMIT and not (len(rest) == LIMIT + 1 and rest.endswith(b"\r")):
        found.append(TOO_LONG)
    return found


@given(streams, cuts)
def test_lines_are_the_same_however_they_are_cut(stream, cuts):
    assert collect(LineFramer(LIMIT), *split(stream, cuts)) == lines_of(stream)


@given(streams)
def test_lines_byte_by_byte(stream):
    framer = LineFramer(LIMIT)
    found = []
    for place in range(len(stream)):
        found += collect(framer, stream[place : place + 1])
        assert framer.waiting <= LIMIT + 1
    assert found == lines_of(stream)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("pieces", ["whole", "bytes", "end apart"])
@pytest.mark.parametrize(
    ("size", "fits"), [(LIMIT - 1, True), (LIMIT, True), (LIMIT + 1, False), (LIMIT * 9, False)]
)
def test_the_limit_of_a_line(end, pieces, size, fits):
    line = b"x" * size
    stream = line + end + b"next\n"
    fed = {
        "whole": [stream],
        "bytes": [stream[place : place + 1] for place in range(len(stream))],
        "end apart": [line, end, b"next\n"],
    }[pieces]
    assert collect(LineFramer(LIMIT), *fed) == [line if fits else TOO_LONG, b"next"]


def test_a_line_too_long_is_told_before_its_end():
    framer = LineFramer(LIMIT)
    assert collect(framer, b"x" * LIMIT) == []
    assert collect(framer, b"x") == [TOO_LONG]
    assert collect(framer, b"x" * 1000) == []
    assert framer.waiting == 0
    assert collect(framer, b"xx\nnext\n") == [b"next"]


@pytest.mark.parametrize("line", [b"a\rb", b"\ra", b"a\r", b"\r"])
def test_a_carriage_return_elsewhere_belongs_to_the_line(line):
    assert collect(LineFramer(LIMIT), line + b"\r\n") == [line]


def test_a_line_counts_as_taken_only_when_it_has_been_handed_out():
    framer = LineFramer()
    assert next(framer.feed(b"one\ntwo\nrest")) == b"one"
    assert framer.waiting == 8
    assert framer.take(2) == b"tw"
    assert list(framer.feed(b"\n")) == [b"o", b"rest"]


def test_what_follows_is_taken_as_it_came_even_beyond_the_limit():
    framer = LineFramer(LIMIT)
    block = b"x" * 1000 + b"\r\n\r" + b"y" * 1000
    assert next(framer.feed(b"go\r\n" + block + b"next\n")) == b"go"
    assert framer.take(len(block)) == block
    assert list(framer.feed(b"")) == [b"next"]


def test_the_same_generator_goes_on_after_something_was_taken_or_fed():
    framer = LineFramer()
    lines = framer.feed(b"one\n12two\nthree\n")
    assert next(lines) == b"one"
    assert framer.take(2) == b"12"
    assert next(lines) == b"two"
    framer.feed(b"four\n")
    assert list(lines) == [b"three", b"four"]


@given(streams, cuts, st.lists(st.integers(0, 4), max_size=40))
def test_cutting_gives_what_feeding_gives_however_many_are_taken_of_each_cut(stream, cuts, taken):
    """Whoever breaks off gets the rest with the next cut, even if more was fed meanwhile."""
    framer, found, counts = LineFramer(LIMIT), [], iter(taken)
    for piece in [*split(stream, cuts), *[b""] * 60]:
        try:
            lines = framer.cut(piece)
        except FrameTooLongError:
            found.append(TOO_LONG)
            continue
        found += itertools.islice(lines, next(counts, None))
    assert found == lines_of(stream)
    assert not framer.uncut


@given(streams, st.integers(0, 4), st.integers(0, 40))
def test_what_was_cut_and_not_handed_out_is_taken_as_it_came(stream, handed_out, limit):
    whole = LineFramer(1000)
    lines = whole.cut(stream)
    for _ in itertools.islice(lines, handed_out):
        pass
    rest = stream
    for _ in range(min(handed_out, stream.count(b"\n"))):
        rest = rest.partition(b"\n")[2]
    assert whole.waiting == len(rest)
    assert whole.take(limit) == rest[:limit]
    assert list(lines) == [], "what was taken back is handed out no more"
    assert whole.take() == rest[limit:]


def test_long_input_is_not_cut_all_at_once():
    framer = LineFramer()
    data = b"x" * 9 + b"\n"
    assert len(list(framer.cut(data * 10_000))) < 1000
    assert framer.uncut
    assert sum(len(list(framer.cut())) for _ in range(1000)) > 9000
    assert not framer.uncut


def test_unread_comes_first():
    framer = LineFramer()
    assert next(framer.feed(b"one\nthree\n")) == b"one"
    framer.unread(b"two\n")
    assert list(framer.feed(b"")) == [b"two", b"three"]


def test_whoever_takes_gets_the_rest_of_a_line_that_was_skipped():
    framer = LineFramer(LIMIT)
    assert collect(framer, b"x" * 100) == [TOO_LONG]
    framer.feed(b"abc")
    assert framer.take() == b"abc"
    assert collect(framer, b"next\n") == [b"next"]


def end_line(message):
    return message.replace(b"\n", b"").rstrip(b"\r") + b"\n"


FRAMERS = {
    "line": (lambda: LineFramer(20), end_line, lambda frame: frame[:-1]),
    "length": (lambda: LengthFramer(2, 20), LengthFramer(2, 20).frame, lambda frame: frame[2:]),
    "netstring": (
        lambda: NetstringFramer(20),
        NetstringFramer(20).frame,
        lambda frame: frame[frame.index(b":") + 1 : -1],
    ),
}

mixtures = st.lists(
    st.tuples(st.just("message"), st.binary(max_size=20))
    | st.tuples(st.just("block"), st.binary(min_size=1, max_size=60)),
    max_size=8,
)


@pytest.mark.parametrize("kind", FRAMERS)
@given(parts=mixtures, cuts=cuts)
def test_messages_and_blocks_in_turn_however_they_are_cut(kind, parts, cuts):
    make, frame, content = FRAMERS[kind]
    whole = [data if what == "block" else frame(data) for what, data in parts]
    framer, found, ahead = make(), [], list(zip((what for what, _ in parts), whole, strict=True))
    block = b""
    for piece in split(b"".join(whole), cuts):
        framer.feed(piece)
        while ahead:
            what, data = ahead[0]
            if what == "message":
                message = next(framer.feed(b""), None)
                if message is None:
                    break
                found.append(message)
            else:
                block += framer.take(len(data) - len(block))
                if len(block) < len(data):
                    break
                found.append(block)
                block = b""
            ahead.pop(0)
    assert found == [
        data if what == "block" else content(data)
        for (what, _), data in zip(parts, whole, strict=True)
    ]
    assert framer.take() == b""


def test_a_line_that_does_not_end_costs_no_more_memory_than_the_limit():
    framer, piece = LineFramer(1000), b"x" * 10_000
    tracemalloc.start()
    try:
        collect(framer, piece)
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(1000):
            assert list(framer.feed(piece)) == []
        assert tracemalloc.get_traced_memory()[0] - before < 20_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [1, 2, 4])
@given(messages=st.lists(st.binary(max_size=255), max_size=6), cuts=cuts)
def test_length_frames_however_they_are_cut(size, messages, cuts):
    framer = LengthFramer(size)
    stream = b"".join(map(framer.frame, messages))
    assert collect(framer, *split(stream, cuts)) == messages
    assert framer.waiting == 0


@given(messages=st.lists(st.binary(max_size=300), max_size=6), cuts=cuts)
def test_netstrings_however_they_are_cut(messages, cuts):
    framer = NetstringFramer()
    stream = b"".join(map(framer.frame, messages))
    assert collect(framer, *split(stream, cuts)) == messages
    assert framer.waiting == 0


def outcome(framer, *pieces):
    """Feed pieces until the stream is lost; return the messages, and how it was."""
    found = []
    for piece in pieces:
        try:
            found.extend(framer.feed(piece))
        except (FrameTooLongError, FrameSyntaxError) as error:
            return [*found, type(error)]
    return found


def plus_three(header):
    if header == b"!!":
        raise FrameSyntaxError("no header")
    return header[0] - 3


MAKERS = {
    "length": lambda: LengthFramer(2, 1000),
    "netstring": lambda: NetstringFramer(1000),
    "varint": lambda: VarintFramer(0, 2, 1000),
    "varint within": lambda: VarintFramer(2, 3, 90),
    "header": lambda: HeaderFramer(2, plus_three, 40),
    "delimiter": lambda: DelimiterFramer(b",,:", 9),
    "resp": lambda: RespFramer(30, 4),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@given(
    stream=st.binary(max_size=60)
    | st.from_regex(rb"\A([0-9]{1,2}:[a-z,]{0,12},?){0,5}")
    | st.from_regex(rb"\A([*$][0-4]\r?\n|[a-c ]{0,5}\r?\n){0,9}"),
    cuts=cuts,
)
def test_junk_has_the_same_outcome_however_it_is_cut(make, stream, cuts):
    pieces = split(stream, cuts)
    each = [stream[place : place + 1] for place in range(len(stream))]
    assert outcome(make(), *pieces) == outcome(make(), stream) == outcome(make(), *each)


@pytest.mark.parametrize("cut", ["whole", "bytes"])
@pytest.mark.parametrize(("size", "fits"), [(99, True), (100, True), (101, False)])
@pytest.mark.parametrize(
    ("make", "frame"),
    [
        (lambda: LengthFramer(2, 100), LengthFramer(2).frame),
        (lambda: NetstringFramer(100), NetstringFramer().frame),
        (lambda: VarintFramer(max_bytes=100), VarintFramer().frame),
        (lambda: VarintFramer(before=3, max_bytes=100), VarintFramer(before=3).frame),
        (lambda: DelimiterFramer(b"end", 100), DelimiterFramer(b"end").frame),
    ],
)
def test_the_limit_of_a_frame(make, frame, size, fits, cut):
    message = b"x" * size
    stream = frame(message)
    pieces = [stream] if cut == "whole" else [stream[at : at + 1] for at in range(len(stream))]
    assert outcome(make(), *pieces) == ([message] if fits else [FrameTooLongError])


def test_a_frame_too_long_is_told_by_its_length_alone():
    assert outcome(LengthFramer(4), b"\xff\xff\xff\xff") == [FrameTooLongError]
    assert outcome(NetstringFramer(99), b"100") == [FrameTooLongError]


@pytest.mark.parametrize(
    "framer",
    [
        *(LengthFramer(1), LengthFramer(2, 255), NetstringFramer(255)),
        *(VarintFramer(0, 4, 255), DelimiterFramer(b"--", 255)),
    ],
)
def test_what_cannot_be_framed_is_refused(framer):
    assert framer.frame(b"x" * 255)
    with pytest.raises(FrameTooLongError, match="message longer than 255 bytes"):
        framer.frame(b"x" * 256)


@pytest.mark.parametrize(
    "stream",
    [b":,", b"x", b"01:a,", b"00:,", b"-1:a,", b" 1:a,", b"1 :a,", b"1:ab", b"\n", b"1;a,"],
)
def test_no_netstring(stream):
    assert outcome(NetstringFramer(), stream) == [FrameSyntaxError]


def test_the_empty_netstring():
    assert list(NetstringFramer(0).feed(b"0:,0:,")) == [b"", b""]


@pytest.mark.parametrize(
    "make",
    [lambda: LengthFramer(2), NetstringFramer, VarintFramer, lambda: DelimiterFramer(b"\0\0")],
)
def test_many_small_frames_at_once(make):
    framer = make()
    messages = [b"%d" % number for number in range(20_000)]
    assert list(framer.feed(b"".join(map(framer.frame, messages)))) == messages


@given(number=st.integers(0, 2**40))
def test_varints_have_seven_bits_a_byte_the_lowest_first(number):
    written = encode_varint(number)
    assert sum((byte & 0x7F) << 7 * place for place, byte in enumerate(written)) == number
    assert [byte >= 0x80 for byte in written] == [True] * (len(written) - 1) + [False]
    assert len(written) == max(1, -(-number.bit_length() // 7))


def test_negative_numbers_are_no_varints():
    with pytest.raises(ValueError, match="not -1"):
        encode_varint(-1)


@given(messages=st.lists(st.binary(min_size=1, max_size=300), max_size=6), cuts=cuts)
def test_mqtt_packets_however_they_are_cut(messages, cuts):
    framer = VarintFramer(before=1, longest=4)
    stream = b"".join(map(framer.frame, messages))
    assert collect(framer, *split(stream, cuts)) == messages
    assert framer.waiting == 0


@pytest.mark.parametrize("size", [0, 127, 128, 300, 16_383, 16_384, 2_097_152])
def test_lengths_of_one_byte_and_more(size):
    framer = VarintFramer(before=1, longest=4, max_bytes=2**22)
    message = b"0" + b"x" * size
    data = framer.frame(message) * 2
    found = [each for place in range(6) for each in framer.feed(data[place : place + 1])]
    assert [*found, *framer.feed(data[6:])] == [message] * 2


def test_a_length_of_more_bytes_than_there_may_be():
    with pytest.raises(FrameSyntaxError):
        list(VarintFramer(longest=1).feed(b"\x80\x01" + bytes(128)))


def test_the_longest_length_of_mqtt():
    framer = VarintFramer(before=1, longest=4, max_bytes=2**30)
    assert outcome(framer, b"0" + b"\xff\xff\xff\x7f") == []
    assert outcome(VarintFramer(1, 4, 2**30), b"0" + b"\xff\xff\xff\xff") == [FrameSyntaxError]
    assert outcome(VarintFramer(1, 4, 1000), b"0" + b"\xff\xff\xff\x7f") == [FrameTooLongError]


@pytest.mark.parametrize("stream", [b"\x80\x00", b"\x85\x80\x00", b"\x80" * 5])
def test_no_varint(stream):
    assert outcome(VarintFramer(), stream) == [FrameSyntaxError]


def test_what_comes_before_the_length_has_to_be_there():
    with pytest.raises(FrameSyntaxError, match="3 bytes before its length"):
        VarintFramer(before=3).frame(b"ab")
    with pytest.raises(FrameTooLongError, match="longer than 128 bytes"):
        VarintFramer(before=1, longest=1).frame(b"x" * 129)


@given(bodies=st.lists(st.binary(max_size=300), max_size=6), cuts=cuts)
def test_headers_however_they_are_cut(bodies, cuts):
    framer = HeaderFramer(4, four_bytes)
    messages = [*map(headed, bodies)]
    assert collect(framer, *split(b"".join(messages), cuts)) == messages
    assert framer.waiting == 0


def test_a_header_that_makes_no_sense_is_refused():
    assert outcome(HeaderFramer(2, plus_three), b"\x00\x00") == [FrameSyntaxError]
    assert outcome(HeaderFramer(2, plus_three), b"\x04\x00x!!") == [b"\x04\x00x", FrameSyntaxError]
    assert outcome(HeaderFramer(2, plus_three, 9), b"\xff\x00") == [FrameTooLongError]
    with pytest.raises(ValueError, match="at least 1 byte"):
        HeaderFramer(0, len)


@given(
    messages=st.lists(
        st.binary(max_size=20).map(lambda each: each.replace(b"\r", b"")), max_size=6
    ),
    cuts=cuts,
)
def test_delimited_messages_however_they_are_cut(messages, cuts):
    framer = DelimiterFramer(b"\r\n.\r\n")
    stream = b"".join(map(framer.frame, messages))
    assert collect(framer, *split(stream, cuts)) == messages
    assert framer.waiting == 0


def test_what_ends_a_message_must_not_be_in_it():
    with pytest.raises(FrameSyntaxError, match="holds what ends it"):
        DelimiterFramer(b"--").frame(b"a--b")
    with pytest.raises(FrameSyntaxError, match="holds what ends it"):
        DelimiterFramer(b"--").frame(b"a-")  # it would end one byte too early
    with pytest.raises(ValueError, match="must not be empty"):
        DelimiterFramer(b"")


@given(
    requests=st.lists(
        st.one_of(
            st.lists(st.binary(max_size=30), min_size=1, max_size=5).map(
                lambda words: (request(*words), words)
            ),
            st.lists(st.sampled_from([b"GET", b"a", b"*", b"x$"]), min_size=1, max_size=3)
            .filter(lambda words: words[0] != b"*")
            .map(lambda words: (b" ".join(words) + b"\r\n", words)),
            st.sampled_from([b"\r\n", b"\n", b"  \r\n", b"*0\r\n", b"*-1\r\n"]).map(
                lambda nothing: (nothing, None)
            ),
            st.just((b"PING\n", [b"PING"])),
            st.integers(0, 3000).map(
                lambda size: (request(b"SET", bytes(size)), [b"SET", bytes(size)])
            ),
        ),
        max_size=12,
    ),
    cuts=st.lists(st.integers(0, 4000), max_size=12),
)
def test_requests_of_redis_clients_however_they_are_cut(requests, cuts):
    stream = b"".join(data for data, _ in requests)
    wanted = [words for _, words in requests if words is not None]
    pieces = split(stream, cuts)
    assert collect(RespFramer(), *pieces) == wanted
    framer, found = RespFramer(), []
    for piece in pieces:
        data = piece
        while batch := framer.cut(data):
            found += batch
            data = b""
    assert found == wanted
    assert framer.waiting == 0


@pytest.mark.parametrize(
    ("stream", "error"),
    [
        (b"*x\r\n", FrameSyntaxError),
        (b"*01\r\n", FrameSyntaxError),
        (b"*-2\r\n", FrameSyntaxError),
        (b"*5\r\n", FrameTooLongError),
        (b"*99999999999", FrameTooLongError),
        (b"*1\r\n+OK\r\n", FrameSyntaxError),
        (b"*1\r\n$-1\r\n", FrameSyntaxError),
        (b"*1\r\n$31\r\n", FrameTooLongError),
        (b"*2\r\n$20\r\n" + b"x" * 20 + b"\r\n$11\r\n", FrameTooLongError),
        (b"*1\r\n$2\r\nabc\r\n", FrameSyntaxError),
        (b"x" * 32, FrameTooLongError),
    ],
)
def test_no_requests(stream, error):
    good = request(b"PING")
    assert outcome(RespFramer(30, 4), good + stream) == [[b"PING"], error]
    framer = RespFramer(30, 4)
    assert framer.cut(good + stream) == [[b"PING"]]
    with pytest.raises(error):
        framer.cut()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'SET k "a b"', [b"SET", b"k", b"a b"]),
        (b"SET k 'a b'  ", [b"SET", b"k", b"a b"]),
        (b'  ECHO k="a b"', [b"ECHO", b"k=a b"]),
        (b"ECHO \"\"  ''", [b"ECHO", b"", b""]),
        (rb'ECHO "\x00\xfF\n\r\t\b\a\"\\\q\x0g"', [b"ECHO", b'\0\xff\n\r\t\b\a"\\qx0g']),
        (rb"ECHO 'it\'s \n \x41 \\ '", [b"ECHO", rb"it's \n \x41 \\ "]),
        (rb"ECHO '' \n a\b", [b"ECHO", b"", rb"\n", rb"a\b"]),
        (rb"'*1'", [b"*1"]),
        (b'ECHO "a', None),
        (b"ECHO 'a", None),
        (b'ECHO "a"b', None),
        (b"ECHO ''''", None),
        (rb'ECHO "a\"', None),
        (rb"ECHO 'a\'", None),
        (rb"ECHO 'a\\'", None),
        (b'"', None),
    ],
)
@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_words_in_quotes(line, words, end):
    framer = RespFramer()
    assert framer.cut(b"PING\r\n" + line + end) == [[b"PING"]]
    if words is not None:
        assert framer.cut() == [words]
        assert framer.waiting == 0
    else:
        with pytest.raises(FrameSyntaxError, match="unbalanced quotes in request"):
            framer.cut()


@pytest.mark.parametrize(
    ("stream", "text"),
    [
        (b"*x\r\n", "invalid multibulk length"),
        (b"*5\r\n", "invalid multibulk length"),
        (b"*1\r\n+OK\r\n", r"expected '\$', got '\+'"),
        (b"*1\r\n\x00\r\n", r"expected '\$', got '\?'"),
        (b"*1\r\n$x\r\n", "invalid bulk length"),
        (b"*1\r\n$31\r\n", "invalid bulk length"),
        (b"x" * 32, "too big inline request"),
    ],
)
def test_errors_are_in_the_words_of_redis(stream, text):
    with pytest.raises(ValueError, match=rf"^{text}$"):
        RespFramer(30, 4).cut(stream)


ODD = [b"*2\r\n$1\r\na\r\n", b"*1\r\n$1\r\nab\r\n", b"*1\r\n$3\r\na\r\n"]


@given(
    groups=st.lists(
        st.tuples(
            st.lists(st.binary(max_size=4), min_size=1, max_size=3),
            st.integers(1, 20),
            st.just(b"") | st.sampled_from(ODD),
        ),
        max_size=6,
    )
)
def test_many_requests_of_one_form_are_cut_as_in_pieces(groups):
    stream = b"".join(request(*words) * times + odd for words, times, odd in groups)

    def cut(pieces):
        framer, found = RespFramer(), []
        try:
            for piece in pieces:
                data = piece
                while batch := framer.cut(data):
                    found += batch
                    data = b""
        except FrameSyntaxError:
            found.append(LOST)
        return found

    assert cut([stream]) == cut([stream[at : at + 1] for at in range(len(stream))])
