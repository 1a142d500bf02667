"""What descriptors are open for tells what somebody else has done with them."""

import errno
import os

import pytest

from host.runtime.descriptors import close_each, fill, identities, opened


def test_what_is_open_is_found():
    with open(os.devnull, "rb") as one, open(__file__, "rb") as other:
        both = {one.fileno(), other.fileno()}
        assert both <= opened()
        found = identities(both)
        assert found[one.fileno()] != found[other.fileno()]
        os.dup2(one.fileno(), other.fileno())
        assert identities(both)[other.fileno()] == found[one.fileno()]
    assert identities(both) == {}


def test_what_is_closed_is_open_for_nothing_then():
    kept = [os.open(__file__, os.O_RDONLY) for _ in range(3)]
    for number in kept:
        os.close(number)
    before = opened()
    fill(kept)
    assert opened() - before == set(kept)
    for number in kept:
        assert os.read(number, 1) == b""
        assert not os.get_inheritable(number)
        os.close(number)


def test_what_somebody_has_closed_by_its_number_keeps_nothing_else_from_being_closed():
    closed = []

    def fail(number):
        raise OSError(number, os.strerror(number))

    close_each(lambda: fail(errno.EBADF), lambda: closed.append(1))
    assert closed == [1]
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        close_each(lambda: fail(errno.EIO))
