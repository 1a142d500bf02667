"""The chat protocol: rooms and nicknames, over all workers."""

from plugins.chat.options import Options
from plugins.chat.plugin import Chat

__all__ = ["Chat", "Options"]
