"""Traces of others: the identifiers that a plugin gives a connection, for the lines of the log.

The form is that of the header `traceparent` (W3C Trace Context, 3.2.2).
"""

from __future__ import annotations

import re

TRACE_FIELDS = ("trace_id", "span_id")
"""The names that log lines have for it: those of OpenTelemetry for logs that are no OTLP."""

_FORM = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-[!-~]*)?")
_FIRST_VERSION, _NO_VERSION = "00", "ff"


def check_traceparent(text: str) -> str:
    """Return a `traceparent` as it is, if it is one.

    Raises:
        ValueError: it is none; the text of the error does not show it.
    """
    match = _FORM.fullmatch(text)
    if match is None or text.startswith(_NO_VERSION):
        raise ValueError("this is no traceparent, such as 00-{32 digits}-{16 digits}-01 (hex)")
    if match[3] is not None and text.startswith(_FIRST_VERSION):
        raise ValueError("a traceparent of version 00 has nothing after its flags")
    if not (int(match[1], 16) and int(match[2], 16)):
        raise ValueError("a traceparent whose trace or span is all zeros means none")
    return text


def trace_fields(subject: object) -> dict[str, str | None]:
    """Return the fields of a log line about a connection, None in each if it has no trace."""
    text = getattr(subject, "trace", None)
    if not isinstance(text, str):
        return dict.fromkeys(TRACE_FIELDS)
    _version, trace_id, span_id, *_rest = text.split("-")
    return {"trace_id": trace_id, "span_id": span_id}
