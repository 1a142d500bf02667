"""A plugin for the judges: one filter is refused, as they ask for."""

from host import hookimpl

REFUSED = "test/nosubscribe"


@hookimpl
def check_topic(topic: str) -> bool:
    """Refuse one filter."""
    return topic != REFUSED
