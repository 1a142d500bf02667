"""Tables: a mapping that all members share, within its limits, and each question answered once."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.bus.frames import BadFrameError, Frame, Kind
from host.bus.tables import (
    MAX_VALUE_BYTES,
    Answer,
    Op,
    Request,
    TableLimits,
    Tables,
    pack_items,
    unpack_items,
)
from support.buses import connected

KEYS = st.sampled_from([b"a", b"b", b"c"])
VALUES = st.none() | st.binary(max_size=3)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"t", b"u"]),
            st.builds(Request, st.sampled_from(list(Op)[:4]), KEYS, VALUES, VALUES),
        )
    )
)
def test_a_table_is_a_dictionary(steps):
    tables, model = Tables(), {b"t": {}, b"u": {}}
    for name, (op, key, value, expected) in steps:
        before = model[name].get(key)
        answer = tables.do(name, Request(op, key, value, expected))
        if op == Op.GET:
            assert answer == Answer(True, before)
            continue
        assert answer == Answer(op != Op.COMPARE_AND_SET or before == expected)
        if answer.done and value is not None:
            model[name][key] = value
        elif answer.done:
            model[name].pop(key, None)
    for name, items in model.items():
        found = [each for piece in tables.items(name) for each in unpack_items(piece)]
        assert found == list(items.items())
    assert tables.state() == [(name, found) for name, found in listed(tables) if found]


def listed(tables):
    return [
        (name, [each for piece in tables.items(name) for each in unpack_items(piece)])
        for name, _ in tables.state()
    ]


def test_what_is_beyond_the_limits_is_refused_and_what_is_there_stays():
    tables = Tables(TableLimits(table_bytes=1_000, bytes=1_500))
    assert tables.do(b"t", Request(Op.SET, b"k", bytes(700))).done
    assert not tables.do(b"t", Request(Op.SET, b"l", bytes(700))).done
    assert not tables.do(b"t", Request(Op.SET, b"k", bytes(900))).done
    assert tables.do(b"t", Request(Op.GET, b"k")).value == bytes(700)
    assert not tables.do(b"u", Request(Op.SET, b"k", bytes(700))).done
    assert tables.do(b"t", Request(Op.SET, b"k", b"less")).done
    assert tables.do(b"u", Request(Op.SET, b"k", bytes(700))).done
    assert tables.do(b"u", Request(Op.DELETE, b"k")).done
    assert tables.do(b"v", Request(Op.SET, b"k", bytes(700))).done


@given(st.builds(Request, st.sampled_from(list(Op)), KEYS, VALUES, VALUES))
def test_requests_are_read_as_they_were_written(request):
    assert Request.unpack(request.pack()) == request


@pytest.mark.parametrize("op", [0, max(Op) + 1, 255])
def test_a_request_for_what_tables_do_not_do_is_an_error(op):
    with pytest.raises(BadFrameError, match=f"request {op} "):
        Request.unpack(Request(op, b"k", b"v").pack())


@given(st.binary(max_size=40))
def test_what_is_no_request_is_an_error(data):
    with suppress(BadFrameError):
        assert Request.unpack(data).pack()[:3] == data[:3]


def test_items_come_in_pieces():
    items = [(b"%d" % number, bytes(MAX_VALUE_BYTES)) for number in range(20)]
    pieces = list(pack_items(iter(items)))
    assert len(pieces) == 5
    assert [each for piece in pieces for each in unpack_items(piece)] == items


class Heard(list):
    """What callbacks are called with."""

    def hear(self, *values):
        self.append(values)


def test_members_share_a_table():
    with connected() as scene:
        one, other = (scene.buses[member].table("flags") for member in (1, 2))
        heard = Heard()
        one.set("a", b"1", heard.hear)
        one.set("b", b"")
        scene.run()
        other.get("a", heard.hear)
        other.get("b", heard.hear)
        other.get("c", heard.hear)
        scene.run()
        other.items(heard.hear)
        scene.buses[2].table("others").items(heard.hear)
        other.delete("a", heard.hear)
        scene.run()
        one.get("a", heard.hear)
        scene.run()
    assert heard == [
        (True,),
        (True, b"1"),
        (True, b""),
        (True, None),
        ({"a": b"1", "b": b""},),
        ({},),
        (True,),
        (True, None),
    ]


def test_of_many_who_compare_and_set_one_does_it():
    members = range(1, 9)
    with connected(*members) as scene:
        heard = Heard()
        for member, bus in scene.buses.items():
            bus.table("t").compare_and_set("k", None, b"%d" % member, heard.hear)
        scene.run()
        assert sorted(heard) == [(False,)] * 7 + [(True,)]
        scene.buses[1].table("t").get("k", heard.hear)
        scene.run()
        owner = heard[-1][1]
        scene.buses[1].table("t").compare_and_set("k", owner, None, heard.hear)
        scene.run()
        scene.buses[2].table("t").get("k", heard.hear)
        scene.run()
        assert heard[-2:] == [(True,), (True, None)]


def test_what_is_set_stays_when_its_member_ends():
    with connected() as scene:
        heard = Heard()
        scene.buses[1].table("t").set("k", b"v")
        scene.buses[1].flush()
        scene.kill(1)
        scene.buses[2].table("t").get("k", heard.hear)
        scene.run()
    assert heard == [(True, b"v")]


def test_each_question_has_an_answer_however_much_waits():
    with connected() as scene:
        heard = Heard()
        table = scene.buses[1].table("t")
        for number in range(60):
            table.set(str(number), bytes(MAX_VALUE_BYTES))
            scene.run(2)
        fd = scene.sockets[1].fileno()
        scene.loop.modify(fd, 0)  # it does not read
        for _ in range(8):
            table.items(heard.hear)
            table.get("0", heard.hear)
            scene.run(2)
        assert heard == []
        scene.loop.modify(fd, 1)
        scene.run(800)
        assert len(heard) == 16
        assert heard[0][0].keys() == {str(number) for number in range(60)}
        assert heard[-1] == (False, None)


def test_a_question_that_cannot_be_sent_is_answered_later():
    with connected(1, max_queued=200) as scene:
        heard, table = Heard(), scene.buses[1].table("t")
        table.set("k", bytes(300), heard.hear)  # not to be queued
        while not heard:
            table.get("k", heard.hear)
            table.items(heard.hear)
            scene.loop.run_once(0)  # without `flush`: nothing is sent
        assert all(each in ((False,), (False, None), (None,)) for each in heard)


def test_what_is_too_long_is_an_error():
    with connected(1) as scene:
        table = scene.buses[1].table("t")
        with pytest.raises(ValueError, match="1 to 512 bytes"):
            table.get("", print)
        with pytest.raises(ValueError, match="65536 at most"):
            table.set("k", bytes(MAX_VALUE_BYTES + 1))
        with pytest.raises(ValueError, match="65536 at most"):
            table.compare_and_set("k", bytes(MAX_VALUE_BYTES + 1), b"", print)
        with pytest.raises(ValueError, match="1 to 512 bytes"):
            scene.buses[1].table("x" * 513)


def test_a_question_that_is_none_cuts_its_member_off():
    with connected() as scene:
        heard = Heard()
        scene.sockets[1].send(Frame(Kind.TABLE, 1, b"t", b"\xff" * 20).pack())
        scene.run()
        assert scene.router.state(1) is None
        scene.buses[2].table("t").items(heard.hear)
        scene.run()
        assert heard == [({},)]
