import pytest
from prefork_keyvalue.replies import RefusedError
from prefork_keyvalue.words import int32, split, uint32, uint64


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"get a", [b"get", b"a"]),
        (b"  get   a  ", [b"get", b"a"]),
        (b"get a\tb", [b"get", b"a\tb"]),
        (b"get a\0b c", [b"get", b"a"]),
        (b"", [b""]),
        (b"   ", [b""]),
    ],
)
def test_words(line, words):
    assert split(line) == words


@pytest.mark.parametrize(
    ("word", "as_int32", "as_uint32", "as_uint64"),
    [
        (b"0", 0, 0, 0),
        (b"12", 12, 12, 12),
        (b"+7", 7, 7, 7),
        (b" 7", 7, 7, 7),
        (b"7\t8", 7, 7, 7),
        (b"-0", 0, 0, 0),
        (b"-1", -1, None, None),
        (b"0" * 40 + b"5", 5, 5, 5),
        (b"2147483647", 2**31 - 1, 2**31 - 1, 2**31 - 1),
        (b"2147483648", -(2**31), 2**31, 2**31),
        (b"4294967295", -1, 2**32 - 1, 2**32 - 1),
        (b"4294967301", 5, 5, 2**32 + 5),
        (b"9223372036854775807", -1, 2**32 - 1, 2**63 - 1),
        (b"9223372036854775808", None, 0, 2**63),
        (b"18446744073709551615", None, 2**32 - 1, 2**64 - 1),
        (b"18446744073709551616", None, None, None),
        (b"1" * 21, None, None, None),
        (b"-9223372036854775809", None, None, None),
        (b"", None, None, None),
        (b"x", None, None, None),
        (b"7x", None, None, None),
        (b"--7", None, None, None),
        (b"+", None, None, None),
        ("\u0661".encode(), None, None, None),
    ],
)
def test_numbers(word, as_int32, as_uint32, as_uint64):
    for read, expected in ((int32, as_int32), (uint32, as_uint32), (uint64, as_uint64)):
        if expected is None:
            with pytest.raises(RefusedError) as refused:
                read(word, b"otherwise")
            assert refused.value.reply == b"otherwise"
        else:
            assert read(word) == expected
