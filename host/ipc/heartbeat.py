"""How often a worker's loop turns, so that the supervisor sees that it can. No I/O, no clock."""

BEAT_SECONDS = 1.0
"""How often an idle worker's loop turns at the least."""
_BEATS = 4


def beat_seconds(hang_seconds: float) -> float:
    """Return how often a loop shall turn that is found to hang after `hang_seconds`; 0 is never."""
    return min(BEAT_SECONDS, hang_seconds / _BEATS) if hang_seconds else BEAT_SECONDS
