"""Forks of the host's processes are known by what they have mapped, and nothing else is."""

import subprocess
import sys

import pytest

FORKS = """
import os, signal, sys
from host.runtime import lineage, processes

signal.alarm(60)

def waits():
    signal.alarm(60)
    os.write(1, b".")
    signal.pause()

def plain(child):
    pid = os.fork()
    if pid == 0:
        child()
        os._exit(0)
    return pid

def of_a_pool():
    os.dup2(lineage.descriptor(), lineage.POOL_DESCRIPTOR)
    os.execv("/bin/sh", ["sh", "-c", "echo .; exec sleep 60"])

def check(pid, kin):
    found = lineage.kin(pid)
    assert found is kin, found
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)

def started(start, child):
    reader, writer = os.pipe()
    def told():
        os.dup2(writer, 1)
        child()
        return 0
    pid = start(told)
    os.read(reader, 1)
    return pid
"""
CASES = {
    "a fork of a plugin in the supervisor": """
lineage.begin()
check(started(plain, waits), lineage.Kin.SUPERVISOR)
""",
    "a process that the supervisor has forked": """
lineage.begin()
check(started(processes.fork, waits), lineage.Kin.CHILD)
""",
    "a program that a fork has executed": """
lineage.begin()
def program():
    os.execv("/bin/sh", ["sh", "-c", "echo .; exec sleep 60"])
check(started(processes.fork, program), lineage.Kin.STRANGER)
""",
    "a process that has ended": """
lineage.begin()
pid = processes.fork(lambda: 0)
os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
check(pid, lineage.Kin.GONE)
""",
    "a process of a pool": """
lineage.begin()
pid = started(processes.fork, of_a_pool)
check(pid, lineage.Kin.POOL)
""",
    "a process of a pool that ends while it is looked at": """
lineage.begin()
pid = started(processes.fork, of_a_pool)
look = lineage._has_descriptor
def ends(pid):
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return look(pid)
lineage._has_descriptor = ends
check(pid, lineage.Kin.GONE)
""",
    "a fork of a supervisor before an exec": """
if len(sys.argv) == 1:
    lineage.begin()
    pid = started(processes.fork, waits)
    os.set_inheritable(lineage.descriptor(), True)
    again = [*sys.orig_argv, str(lineage.descriptor()), str(pid)]
    os.execv(sys.executable, again)
lineage.begin(int(sys.argv[1]))
check(int(sys.argv[2]), lineage.Kin.CHILD)
""",
    "a fork of a rehearsal": """
if len(sys.argv) == 1:
    lineage.begin()
    def rehearsal():
        os.execve(sys.executable, [*sys.orig_argv, "again"], {**os.environ, **lineage.passed()})
    check(started(processes.fork, rehearsal), lineage.Kin.CHILD)
else:
    lineage.take()
    assert lineage.descriptor() is None
    waits()
""",
    "a variable that is not of the host's making": """
os.environ["_PREFORK_LINEAGE"] = "nonsense"
lineage.take()
os.environ["_PREFORK_LINEAGE"] = "999"
lineage.take()
assert lineage.descriptor() is None
assert "_PREFORK_LINEAGE" not in os.environ
check(started(plain, waits), lineage.Kin.STRANGER)
""",
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_told_what_it_is(case):
    command = [sys.executable, "-c", FORKS + CASES[case]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
