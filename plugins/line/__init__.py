"""The line protocol: one request a line, one reply a line; the base of other text protocols."""

from host.plugins.line.options import Options
from host.plugins.line.plugin import Line, error
from host.plugins.line.session import Session, session

__all__ = ["Line", "Options", "Session", "error", "session"]
