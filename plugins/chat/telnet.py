r"""Telnet's own bytes (RFC 854): taken out of what a client sends, its requests refused. Sans-I/O.

A client that is no telnet client sends none of them: the byte that they begin with (255) is in no
UTF-8 text.
"""

from __future__ import annotations

from enum import Enum, auto

_SE, _AYT, _SB, _WILL, _WONT, _DO, _DONT, _IAC = 240, 246, 250, 251, 252, 253, 254, 255
_IAC_BYTE = bytes((_IAC,))
_MAX_SUBNEGOTIATION = 1024
"""Bytes after which a subnegotiation without end is given up; real ones have a few dozen."""
_REFUSALS = {_WILL: _DONT, _DO: _WONT}


class _State(Enum):
    TEXT = auto()
    COMMAND = auto()  # after IAC
    OPTION = auto()  # after IAC and WILL, WONT, DO or DONT
    INSIDE = auto()  # in a subnegotiation
    INSIDE_COMMAND = auto()  # after IAC in it


class Telnet:
    """Takes telnet commands out of a stream, in whatever pieces it comes."""

    __slots__ = ("_cr", "_size", "_state", "_verb")

    def __init__(self) -> None:
        self._state = _State.TEXT
        self._verb = 0
        self._size = 0
        self._cr = False  # the last byte of text was a CR

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Take in `data`; return its text, and what is to be answered.

        A line end that telnet writes as CR NUL becomes LF. Every option is refused, which RFC 854
        always allows; clients wait for the refusal, for example after an interrupt.
        """
        reply = b""
        if self._state is not _State.TEXT or _IAC_BYTE in data:
            data, reply = self._strip(data)
        if not data:
            return data, reply
        if self._cr and data[0] == 0:
            data = b"\n" + data[1:]
        self._cr = data[-1] == 0x0D
        return data.replace(b"\r\0", b"\n"), reply

    def _strip(self, data: bytes) -> tuple[bytes, bytes]:
        text, reply = bytearray(), bytearray()
        at = 0
        while at < len(data):
            if self._state is not _State.TEXT:
                self._take(data[at], text, reply)
                at += 1
                continue
            found = data.find(_IAC_BYTE, at)
            if found < 0:
                text += data[at:]
                break
            text += data[at:found]
            at = found + 1
            self._state = _State.COMMAND
        return bytes(text), bytes(reply)

    def _take(self, byte: int, text: bytearray, reply: bytearray) -> None:
        """Take the next byte of a command."""
        match self._state:
            case _State.COMMAND:
                self._command(byte, text, reply)
            case _State.OPTION:
                if self._verb in _REFUSALS:
                    reply += bytes((_IAC, _REFUSALS[self._verb], byte))
                self._state = _State.TEXT
            case _State.INSIDE:
                self._size += 1
                if byte == _IAC:
                    self._state = _State.INSIDE_COMMAND
                elif self._size > _MAX_SUBNEGOTIATION:
                    self._state = _State.TEXT
            case _State.INSIDE_COMMAND:
                self._state = _State.INSIDE if byte == _IAC else _State.TEXT

    def _command(self, byte: int, text: bytearray, reply: bytearray) -> None:
        self._state = _State.TEXT
        if _WILL <= byte <= _DONT:
            self._verb, self._state = byte, _State.OPTION
        elif byte == _SB:
            self._size, self._state = 0, _State.INSIDE
        elif byte == _AYT:
            reply += b"[yes]\r\n"
        elif byte == _IAC or byte < _SE:  # below 240 are no commands: the client is no telnet
            text.append(byte)
