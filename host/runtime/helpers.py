"""How a helper process begins: one that the supervisor starts beside the workers."""

from __future__ import annotations

import signal
from contextlib import suppress

from host.runtime import early_signals
from host.runtime.processes import die_with_parent, offer_to_oom_killer
from host.runtime.signal_table import SIGNALS


def begin_helper(parent: int) -> bool:
    """Be one, just after the fork: it ends with its parent, and hears of the end from that alone.

    Args:
        parent: the supervisor's pid.

    Returns:
        False if the supervisor has ended already.
    """
    if not die_with_parent(parent):
        return False
    offer_to_oom_killer()
    for number in SIGNALS:  # a service manager or a terminal tells all processes: the host decides
        with suppress(ValueError):
            signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    early_signals.unblock()  # a fork begins with all of them blocked
    return True
