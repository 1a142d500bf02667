"""Becomes the host: nothing that a test starts outlives it, whatever happens to the test.

Usage: launcher.py OPTIONS COMMAND…, with OPTIONS a JSON object:

    alarm         seconds after which SIGALRM ends the process (alarm(2) survives exec)
    blocked       signals that are blocked, by number: that survives exec, too
    ignored       signals that are ignored, by number: so does that
    passed        path of a Unix socket over which sockets come, with their names, to be passed as a
                  service manager does (sd_listen_fds(3))
    nofile        [soft, hard] limit of file descriptors
    streams       what becomes of standard streams, by number: "closed"; "full", a disk that is;
                  "stalled", a pipe that is full; "broken", a pipe without a reader; or the path
                  of a terminal or of a pipe
    uid           the user, and the group, to become
    unprivileged  true to be unable to do what needs CAPABILITIES, as root too
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import resource
import signal
import socket
import sys

PR_SET_PDEATHSIG = 1
PR_CAPBSET_DROP = 24
CAPABILITIES = {
    "CAP_DAC_OVERRIDE": 1,
    "CAP_NET_BIND_SERVICE": 10,
    "CAP_NET_ADMIN": 12,
    "CAP_SYS_RESOURCE": 24,
}


def spoil(number: int, state: str) -> None:
    """Make a standard stream unusable, in one of the ways that the module's docstring has."""
    if state == "closed":
        os.close(number)
    elif state == "full" or state.startswith("/"):
        path = "/dev/full" if state == "full" else state
        os.dup2(os.open(path, (os.O_WRONLY if number else os.O_RDONLY) | os.O_NOCTTY), number)
    else:
        reader, writer = os.pipe()
        os.dup2(writer, number)
        os.close(writer)
        if state == "broken":
            os.close(reader)
            return
        os.set_inheritable(reader, True)  # it stays open, and nobody ever reads
        os.set_blocking(number, False)
        try:
            while True:
                os.write(number, bytes(65_536))
        except BlockingIOError:
            os.set_blocking(number, True)


def receive(path: str) -> None:
    """Become a process that was passed sockets: their descriptors and the variables."""
    with socket.socket(socket.AF_UNIX) as giver:
        giver.connect(path)
        names, received, _flags, _address = socket.recv_fds(giver, 4096, 16)
    # Out of the way first: one of them may have the number that another is to get.
    above = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, 100) for each in received]
    for each in received:
        os.close(each)
    for number, each in enumerate(above, 3):
        os.dup2(each, number)
    os.environ |= {
        "LISTEN_PID": str(os.getpid()),
        "LISTEN_FDS": str(len(above)),
        "LISTEN_FDNAMES": names.decode(),
    }


def main() -> None:
    options, *command = sys.argv[1:]
    chosen = json.loads(options)
    parent = os.getppid()
    signal.alarm(chosen["alarm"])
    if "nofile" in chosen:
        resource.setrlimit(resource.RLIMIT_NOFILE, tuple(chosen["nofile"]))
    libc = ctypes.CDLL(None)
    if chosen.get("unprivileged"):
        # exec gives root all capabilities of the bounding set (capabilities(7)). Others have none.
        for number in CAPABILITIES.values():
            libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0)
    if "uid" in chosen:
        os.setgroups([])
        os.setgid(chosen["uid"])
        os.setuid(chosen["uid"])
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # kept across exec
    if os.getppid() != parent:
        sys.exit("launcher: the test has gone")
    if chosen.get("passed"):
        receive(chosen["passed"])
    for number, state in chosen.get("streams", {}).items():
        spoil(int(number), state)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests themselves may run under nohup(1)
    for number in chosen.get("ignored", ()):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, chosen.get("blocked", ()))
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
