"""The chat protocol: rooms and nicknames, over all workers."""

from host.plugins.chat.options import Options
from host.plugins.chat.plugin import Chat

__all__ = ["Chat", "Options"]
