"""The process that tries new settings and plugins before a reload: how it knows that it is that."""

from __future__ import annotations

import os

REHEARSAL = "_PREFORK_REHEARSAL"
"""The environment variable that has the supervisor's pid in that process."""
KEPT = "_PREFORK_KEPT"
"""The number of what root has read of certificates, there and after the exec of a reload."""


def hide_what_is_kept() -> None:
    """Hide the memory of a supervisor at once that an exec has left with keys: it is seen again.

    A rehearsal does so when it has offered itself to the kernel, which it could not do any more.
    """
    if KEPT in os.environ and REHEARSAL not in os.environ:
        from host.runtime.processes import hide_memory  # noqa: PLC0415  (as below)

        hide_memory()


def end_with_supervisor() -> None:
    """Have this process end with its supervisor, if it is that one; call it first of all.

    The supervisor has seen to it, but an interpreter with capabilities of its own has lost it
    (prctl(2), PR_SET_PDEATHSIG). If the supervisor has died already, the parent is another one
    (host.supervisor.reload.handover).
    """
    if REHEARSAL in os.environ:
        from host.runtime.processes import die_with_parent  # noqa: PLC0415  (for nobody else yet)

        die_with_parent(os.getppid())
