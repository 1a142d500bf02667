"""`python -m host`, and the console script `prefork`."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from contextlib import suppress

from host.runtime import early_signals, rehearsal, streams

TYPE_CHECKING = False  # see host/__init__.py
if TYPE_CHECKING:
    from typing import NoReturn

COMPLETION = "_PREFORK_COMPLETE"
"""The environment variable by which a shell asks what can be typed."""


def main() -> None:
    """Import the command line and run it.

    What is imported stays for good. The collector would look through it again and again, and once
    more before the first fork: 27 of the 260 ms that a start would take.
    """
    early_signals.block()
    gc.disable()
    rehearsal.end_with_supervisor()
    rehearsal.hide_what_is_kept()
    streams.begin()
    _look_last_in_the_working_directory()
    if sys.argv[1:2] == ["status"] and "--ready" in sys.argv:
        from host.cli.probe import answer  # noqa: PLC0415  (which nothing else needs)

        if (code := answer([each for each in sys.argv[2:] if each != "--ready"])) is not None:
            sys.exit(code)
    from host.cli.main import main as run  # noqa: PLC0415  (for that)

    if asked := os.environ.get(COMPLETION):
        from host.cli import completion  # noqa: PLC0415  (which nobody else needs)

        early_signals.unblock()
        sys.exit(completion.answer(run, asked))
    import host.startup.launch  # noqa: F401, PLC0415  (which a completion does not need)

    gc.freeze()
    gc.enable()
    try:
        run()
    except SystemExit as end:
        streams.drop_unusable()
        if isinstance(end.code, int) and _threads_are_left():
            _end_now(end.code)
        raise


def _threads_are_left() -> bool:
    """Tell whether there are threads that the interpreter would wait for, perhaps for ever."""
    threading = sys.modules.get("threading")
    if threading is None:
        return False
    main_thread = threading.main_thread()
    return any(not each.daemon for each in threading.enumerate() if each is not main_thread)


def _end_now(code: int) -> NoReturn:
    """End as the interpreter does, but for threads: they are plugins', and their work is over."""
    atexit._run_exitfuncs()
    if not streams.flush():
        streams.forget()
    os._exit(code)


def _look_last_in_the_working_directory() -> None:
    """Have the user's own modules found, after all that is installed and never instead of it.

    `python -m host` would look there first, and `prefork` not at all. With `-P` or PYTHONSAFEPATH
    nobody looks there.
    """
    if sys.flags.safe_path:
        return
    with suppress(FileNotFoundError):  # it has been removed
        here = os.getcwd()
        sys.path[:] = [*(folder for folder in sys.path if folder not in ("", here)), here]


if __name__ == "__main__":
    main()
