"""A protocol reads its connections, and writes bytes to them."""

import pytest

from host.doctor.connection_use import check_connections


@pytest.mark.parametrize(
    ("hook", "codes"),
    [
        ("@hookimpl\ndef on_readable(connection): print(connection)", []),
        ("@hookimpl\ndef on_readable(connection): ...", ["reads-nothing"]),
        ("@hookimpl\ndef on_readable(): ...", ["reads-nothing"]),
        ("@hookimpl(wrapper=True)\ndef on_readable(): yield", []),
        ("@hookimpl\ndef on_accept(): ...", []),
    ],
)
def test_a_protocol_that_does_nothing_with_the_connection(plugin, hook, codes):
    assert [each.code for each in check_connections(plugin(hook))] == codes


@pytest.mark.parametrize(
    ("written", "count"),
    [
        ("'text'", 1),
        ("f'{1}'", 1),
        ("b'', 'text'", 1),
        ("b'bytes'", 0),
        ("f'{1}'.encode()", 0),
        ("text", 0),
    ],
)
def test_what_is_written_is_bytes(plugin, written, count):
    text = f"@hookimpl\ndef on_accept(connection): connection.write({written})\n"
    found = list(check_connections(plugin(text)))
    assert [each.code for each in found] == ["writes-text"] * count
    method = f"class P:\n    def answer(self, connection): connection.write({written})\n"
    hook = "    @hookimpl\n    def on_accept(self, connection): self.answer(connection)\n"
    assert len(list(check_connections(plugin(method + hook)))) == count


def test_what_is_written_elsewhere_is_not_looked_at(plugin):
    text = "@hookimpl\ndef on_accept(file): file.write('text')\n"
    assert list(check_connections(plugin(text))) == []
