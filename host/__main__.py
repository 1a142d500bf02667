"""`python -m host`, and the console script `prefork`."""

from __future__ import annotations

import gc


def main() -> None:
    """Import the command line and run it.

    What is imported stays for good. The collector would look through it again and again, and once
    more before the first fork: 27 of the 260 ms that a start would take.
    """
    gc.disable()
    from host.cli.main import main as run  # noqa: PLC0415  (for that)

    gc.freeze()
    gc.enable()
    run()


if __name__ == "__main__":
    main()
