"""Framers: cut a stream of bytes into messages. Sans-I/O, one interface, for any protocol.

    framer = LineFramer(max_bytes=16_384)
    for message in framer.feed(connection.read()):
        ...

`feed` returns a lazy iterator: a message counts as taken only when it has been handed out. So a
handler can stop in the middle of what has arrived, `take` the rest as raw bytes, and go on framing
later. The time is linear in what was fed, however it arrives and whatever is taken of it: each byte
is searched and copied a bounded number of times.

A `Receiver` does that for a connection, in turn with others, and a `FieldReader` reads what is in a
message of a binary protocol.
"""

from host.plugins.framing.base import Framer, FrameSyntaxError, FrameTooLongError
from host.plugins.framing.counted import (
    HeaderFramer,
    LengthFramer,
    NetstringFramer,
    VarintFramer,
    encode_varint,
)
from host.plugins.framing.delimited import DelimiterFramer
from host.plugins.framing.fields import FieldReader
from host.plugins.framing.lines import LineFramer, lines_left
from host.plugins.framing.receiver import FrameError, Receiver
from host.plugins.framing.resp import RespFramer

__all__ = [
    "DelimiterFramer",
    "FieldReader",
    "FrameError",
    "FrameSyntaxError",
    "FrameTooLongError",
    "Framer",
    "HeaderFramer",
    "LengthFramer",
    "LineFramer",
    "NetstringFramer",
    "Receiver",
    "RespFramer",
    "VarintFramer",
    "encode_varint",
    "lines_left",
]
