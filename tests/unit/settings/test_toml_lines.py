"""The line of each key in a TOML text."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.settings.keys import join
from host.settings.origins import values
from host.settings.toml_lines import find


def lines(text):
    return {join(path): line for path, line in find(text).items()}


TEXT = '''\
# name = "no"
name = "a # [b]"   # [c]

plugins = [ # first
  "echo",
  'x = 1', # ]
  """
  y = 1
  """, "z",
]
limits.max_events = 5
[connection]
"read size" = 1
'quoted.key' . inner = 2
[options.chat]
rooms = { a = [1, { b = "}" }], c . d = 2 }
text = """
[limits]
max = "x" \\""" still """
after = 1979-05-27 07:32:00
[[listen]]
address = "unix:/a"
[listen.extra]
deep = 1
[[listen]]
address = 'unix:/b'
[[listen.item]]
v = 1
[[listen.item]]
v = 2
[last]
'''


def test_finds_every_form():
    found = lines(TEXT)
    expected = {
        "name": 2,
        "plugins": 4,
        "plugins[0]": 5,
        "plugins[1]": 6,
        "plugins[2]": 7,
        "plugins[3]": 9,
        "limits": 11,
        "limits.max_events": 11,
        "connection": 12,
        'connection."read size"': 13,
        'connection."quoted.key"': 14,
        'connection."quoted.key".inner': 14,
        "options": 15,
        "options.chat": 15,
        "options.chat.rooms": 16,
        "options.chat.rooms.a": 16,
        "options.chat.rooms.a[0]": 16,
        "options.chat.rooms.a[1]": 16,
        "options.chat.rooms.a[1].b": 16,
        "options.chat.rooms.c": 16,
        "options.chat.rooms.c.d": 16,
        "options.chat.text": 17,
        "options.chat.after": 20,
        "listen": 21,
        "listen[0]": 21,
        "listen[0].address": 22,
        "listen[0].extra": 23,
        "listen[0].extra.deep": 24,
        "listen[1]": 25,
        "listen[1].address": 26,
        "listen[1].item": 27,
        "listen[1].item[0]": 27,
        "listen[1].item[0].v": 28,
        "listen[1].item[1]": 29,
        "listen[1].item[1].v": 30,
        "last": 31,
    }
    assert found == expected
    tomllib.loads(TEXT)


def test_counts_windows_line_ends_once():
    assert lines("a = 1\r\n\r\nb = 2\r\n") == {"a": 1, "b": 3}


@pytest.mark.parametrize("text", ["", "\n\n", "# only", "a = 1", "[a]", "a = ''''x'''''"])
def test_small_texts(text):
    assert set(find(text)) == ({("a",)} if "a" in text else set())


KEYS = st.text("abc-_. \"'#[]=é\n", max_size=4)


SCALARS = st.one_of(
    st.integers(),
    st.booleans(),
    st.text("ab\"'\\#[]{}=,\n é", max_size=8),
    st.floats(allow_nan=False),
)


VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3)
)


def quote(text):
    escaped = "".join(c if c.isprintable() and c not in '"\\' else f"\\u{ord(c):04x}" for c in text)
    return f'"{escaped}"'


def inline(value):
    match value:
        case bool():
            return str(value).lower()
        case str() if "\n" in value and "'''" not in value and not value.endswith("'"):
            return f"'''\n{value}'''"
        case str():
            return quote(value)
        case list():
            return "[" + ", ".join(f"\n{inline(item)} # ]\n" for item in value) + "]"
        case dict():
            return "{" + ", ".join(f"{quote(k)} = {inline(v)}" for k, v in value.items()) + "}"
        case _:
            return repr(value)


@given(st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, max_size=3), max_size=3))
def test_every_key_of_any_text_is_found_where_it_stands(tables):
    text, expected = "", {}
    for name, table in tables.items():
        expected[name,] = text.count("\n") + 1
        text += f"[{quote(name)}] # [x]\n"
        for key, value in table.items():
            expected[name, key] = text.count("\n") + 1
            text += f"{quote(key)} = {inline(value)}\n"
    loaded = tomllib.loads(text)
    found = find(text)
    assert {path: found[path] for path in expected} == expected
    assert {path for path, _ in values(loaded, ())} <= set(found)
