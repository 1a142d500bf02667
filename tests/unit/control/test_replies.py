"""Long answers go out in short pieces and in pages, and nothing of them is lost."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.control.replies import pieces, write_items
from host.control.wire import MAX_PAGE_BYTES
from support.admin_scene import request

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(st.dictionaries(st.text(), JSON, max_size=4), st.lists(JSON, max_size=3))
def test_pieces_make_lines_of_the_same_json(values, items):
    response = {**values, "result": {"long": items * 700, "short": items}}
    response.pop("next", None)
    found = {"long": [], "short": []}
    for number, line in enumerate(b"".join(pieces(response)).splitlines(), 2):
        assert len(line) < MAX_PAGE_BYTES
        page = json.loads(line)
        assert page.pop("next", number) == number
        for key, value in page["result"].items():
            found[key] += value
        assert page.keys() == response.keys()
        assert all(page[key] == value for key, value in response.items() if key != "result")
    assert found == response["result"]


@given(st.lists(st.lists(JSON, max_size=5), max_size=20), st.integers(0, 100))
def test_items_that_are_written_before_make_the_same_list(parts, count):
    items = [item for part in parts for item in part]
    written = [each for part in parts for each in write_items(part)]
    assert sum(each.count for each in written) == len(items)
    assert read(written) == items
    cut = [each for part in write_items(items) for each in part.first(count)]
    assert read(cut) == items[:count]


def test_long_items_are_written_one_by_one_and_no_page_is_too_long():
    items = [{"number": number, "text": "x" * 100_000} for number in range(30)]
    written = write_items(items)
    assert [each.count for each in written] == [1] * 30
    lines = b"".join(pieces({"result": {"list": written}})).splitlines()
    assert max(map(len, lines)) <= MAX_PAGE_BYTES
    assert read(written) == items


def read(items):
    """Return a list of a result as a client reads it."""
    lines = b"".join(pieces({"result": {"list": items}})).splitlines()
    return [item for line in lines for item in json.loads(line)["result"]["list"]]


def long(texts=3000, size=1000):
    """A result that takes several pages."""
    return {"first": 1, "long": ["x" * size + str(n) for n in range(texts)], "empty": [], "last": 2}


def test_a_response_longer_than_a_page_comes_page_by_page(scene):
    scene.answers["connections"] = long()
    client, result, number = scene.client(), {}, 1
    client.send(request("connections", id=7))
    while number is not None:
        scene.until(lambda: client.take().endswith(b"\n"))
        assert len(client.received) <= MAX_PAGE_BYTES
        page = json.loads(client.received)
        client.received = b""
        assert (page["v"], page["id"], page["ok"]) == (1, 7, True)
        for key, value in page["result"].items():
            result[key] = result.get(key, []) + value if isinstance(value, list) else value
        expected, number = number + 1, page.get("next")
        assert number in (expected, None)
        client.send(json.dumps({"v": 1, "next": number}).encode() + b"\n")
    assert result == long()
    assert expected == 4
    assert client.error() == '"next" must be the number in the last response, not null'


def test_a_page_is_there_once_and_another_command_ends_it(scene):
    scene.answers["connections"] = long()
    client, other = scene.client(), scene.client()
    for number in (1, 3, -1):
        assert client.ask("connections")["next"] == 2
        client.send(b'{"v": 1, "next": %d}\n' % number)
        assert client.error() == f"the last response has no page {number} that comes next"
    assert client.ask("connections")["next"] == 2
    other.send(b'{"v": 1, "next": 2}\n')
    assert other.error() == "the last response has no page 2 that comes next"
    client.send(b'{"v": 1, "next": 2}\n')
    assert client.response()["next"] == 3
    client.send(b'{"v": 1, "next": 2}\n')
    assert "no page 2" in client.error()
    assert client.ask()["ok"]
    client.send(b'{"v": 1, "next": 3}\n')
    assert "no page 3" in client.error()
    client.send(b'{"v": 1, "next": 3, "command": "status"}\n')
    assert "takes no command" in client.error()


@pytest.mark.parametrize(("count", "size"), [(1, 5_000_000), (40, 120_000), (200, 131_000)])
def test_whatever_its_items_are_a_page_is_no_longer_than_that(count, size):
    result = {"text": "t" * size, "long": ["x" * size] * count, "deep": [{"a": ["y" * size]}]}
    lines = b"".join(pieces({"v": 1, "ok": True, "result": result})).splitlines(keepends=True)
    assert max(map(len, lines)) <= MAX_PAGE_BYTES
    assert sum(len(json.loads(line)["result"].get("long", [])) for line in lines) == count


def test_pieces_of_a_long_list_are_short():
    response = {"v": 1, "result": {"connections": [{"id": f"1-{n}"} for n in range(10_000)]}}
    written = list(pieces(response))
    assert len(written) > 3
    assert max(map(len, written)) < 10_000
    assert json.loads(b"".join(written)) == response
