"""Runs a command as a shell at a terminal does, in the foreground or in the background.

Usage: terminal.py OPTIONS COMMAND…, with the terminal as standard streams, and OPTIONS:

    foreground  whether the command is in the foreground: Ctrl-C and Ctrl-Z reach it
    tostop      whether the terminal stops who writes in the background (stty(1))

This process leads the session. When the terminal closes, it passes SIGHUP on, as shells do. At
SIGUSR1 it puts the command into the background and lets it go on, as `bg` does. It ends with the
command's exit code.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import sys
import termios

PR_SET_PDEATHSIG = 1


def main() -> None:
    options, *command = sys.argv[1:]
    chosen = json.loads(options)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    attributes = termios.tcgetattr(0)
    attributes[1] &= ~termios.OPOST  # lines come as they were written
    if chosen["tostop"]:
        attributes[3] |= termios.TOSTOP
    termios.tcsetattr(0, termios.TCSANOW, attributes)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])  # or tcsetpgrp(3) would stop it
    job = os.fork()
    if job == 0:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        os.setpgid(0, 0)
        if chosen["foreground"]:
            os.tcsetpgrp(0, os.getpid())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTTOU])
        os.execv(command[0], command)

    def continue_in_background(*_: object) -> None:
        os.tcsetpgrp(0, os.getpgrp())
        os.killpg(job, signal.SIGCONT)

    signal.signal(signal.SIGUSR1, continue_in_background)
    signal.signal(signal.SIGHUP, lambda *_: os.killpg(job, signal.SIGHUP))
    _, status = os.waitpid(job, 0)
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
