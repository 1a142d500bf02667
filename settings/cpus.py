"""How many CPUs this process may use: those that there are, or the share that a cgroup grants."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def usable_cpus(proc: Path = Path("/proc/self"), root: Path = Path("/")) -> int:
    """Return how many CPUs this process may use, at least 1.

    A container can be given fewer than there are in two ways: by a set of CPUs
    (sched_getaffinity(2)), and by a quota of time of its cgroup or one above it. A quota is rounded
    up: with 1.5 CPUs two processes can be busy.

    Args:
        proc: the directory that tells of this process (proc(5)).
        root: the directory in which the mounts of cgroups are.
    """
    cpus = len(os.sched_getaffinity(0))
    quotas = [math.ceil(quota) for quota in _quotas(proc, root)]
    return max(1, min([cpus, *quotas]))


def _quotas(proc: Path, root: Path) -> Iterator[float]:
    """Yield the quotas, in CPUs, of this process's cgroup and of those above it."""
    for folder in _folders(proc, root):
        with suppress(OSError, ValueError):  # no such file; "max", -1 and 0 are no limit
            yield _quota(folder)


def _quota(folder: Path) -> float:
    """Return how many CPUs a cgroup grants.

    Version 2 has `cpu.max` (cgroup-v2 in the kernel's documentation), version 1 two files
    (sched-bwc there). Times are in microseconds.

    Raises:
        OSError, ValueError: it says nothing, or that there is no limit.
    """
    file = folder / "cpu.max"
    if file.exists():
        quota, period = file.read_text(encoding="ascii").split()
    else:
        quota = (folder / "cpu.cfs_quota_us").read_text(encoding="ascii")
        period = (folder / "cpu.cfs_period_us").read_text(encoding="ascii")
    if int(quota) <= 0 or int(period) <= 0:
        raise ValueError("no limit")
    return int(quota) / int(period)


def _folders(proc: Path, root: Path) -> Iterator[Path]:
    """Yield the directories of the cgroups that may limit this process, the nearest first.

    Where a container sees a mount of its own cgroup alone, but the path from the host's root, the
    directory of that path does not exist in it: the mount itself is the cgroup then.
    """
    with suppress(OSError, ValueError):
        groups = dict(_groups((proc / "cgroup").read_text(encoding="utf-8")))
        for line in (proc / "mountinfo").read_text(encoding="utf-8").splitlines():
            # number, parent, device, root, mount point, options …, "-", type, source, options
            before, _, after = line.partition(" - ")
            kind, _, options = after.split(" ", 2)
            if kind == "cgroup2":
                group = groups.get("")
            elif kind == "cgroup" and "cpu" in options.split(","):
                group = groups.get("cpu")
            else:
                continue
            top, mount = before.split()[3:5]
            if group is not None:
                yield from _upward(root / mount.lstrip("/"), top, group)


def _groups(text: str) -> Iterator[tuple[str, str]]:
    """Yield each controller, "" for version 2, with the path of its cgroup (cgroups(7))."""
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            yield controller, path


def _upward(mount: Path, top: str, group: str) -> Iterator[Path]:
    """Yield the directory of a cgroup and those above it, up to the mount of the hierarchy."""
    below = Path(group.removeprefix(top).lstrip("/")) if group.startswith(top) else Path()
    for part in (below, *below.parents):
        yield mount / part
