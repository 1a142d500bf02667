"""How many CPUs count as usable: those that there are, or what cgroups grant of them."""

import os

import pytest

from host.settings import cpus
from host.settings.cpus import usable_cpus

THERE_ARE = len(os.sched_getaffinity(0))
V2 = "30 23 0:27 {top} /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n"
V1 = "32 31 0:29 {top} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
OTHERS = (
    "23 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
    "33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
)


@pytest.fixture
def quotas(tmp_path):
    """Returns the quotas that are found: given what /proc says, and files below /sys/fs/cgroup."""

    def find(cgroup, mounts, files):
        (tmp_path / "cgroup").write_text(cgroup)
        (tmp_path / "mountinfo").write_text(mounts)
        for name, text in files.items():
            file = tmp_path / "sys/fs/cgroup" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return list(cpus._quotas(tmp_path, tmp_path))

    return find


def test_version_2_counts_the_cgroup_and_those_above_it(quotas):
    files = {
        "cpu.max": "max 100000\n",
        "a/cpu.max": "350000 100000\n",
        "a/b/cpu.max": "150000 100000\n",
        "c/cpu.max": "10000 100000\n",
    }
    assert quotas("0::/a/b\n", OTHERS + V2.format(top="/"), files) == [1.5, 3.5]


def test_version_1_has_two_files(quotas):
    folder = "cpu,cpuacct/a"
    files = {
        f"{folder}/cpu.cfs_quota_us": "50000\n",
        f"{folder}/cpu.cfs_period_us": "100000\n",
        "cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
        "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        "memory/a/cpu.cfs_quota_us": "10000\n",
    }
    cgroup = "4:memory:/a\n2:cpu,cpuacct:/a\n1:name=systemd:/a\n0::/\n"
    assert quotas(cgroup, OTHERS + V1.format(top="/"), files) == [0.5]


@pytest.mark.parametrize("top", ["/docker/1", "/"])
def test_a_container_may_see_its_own_cgroup_alone(quotas, top):
    """Without a namespace for cgroups the path is the host's, and the mount is the container's."""
    files = {"cpu.max": "200000 100000\n"}
    assert quotas("0::/docker/1\n", V2.format(top=top), files) == [2.0]


@pytest.mark.parametrize(
    ("cgroup", "mounts", "files"),
    [
        ("0::/\n", V2.format(top="/"), {}),
        ("0::/\n", V2.format(top="/"), {"cpu.max": "max 100000\n"}),
        ("0::/\n", V2.format(top="/"), {"cpu.max": "nonsense\n"}),
        ("0::/\n", V2.format(top="/"), {"cpu.max": "0 0\n"}),
        ("1:cpu:/a\n", V2.format(top="/"), {"a/cpu.max": "200000 100000\n"}),
        ("nonsense", V2.format(top="/"), {"cpu.max": "200000 100000\n"}),
        ("0::/\n", "nonsense\n", {"cpu.max": "200000 100000\n"}),
        ("", "", {}),
    ],
)
def test_what_is_no_quota_limits_nothing(quotas, cgroup, mounts, files):
    assert quotas(cgroup, mounts, files) == []


def test_a_quota_is_rounded_up_and_counts_if_it_is_less(tmp_path):
    (tmp_path / "cgroup").write_text("0::/\n")
    (tmp_path / "mountinfo").write_text(V2.format(top="/"))
    file = tmp_path / "sys/fs/cgroup/cpu.max"
    file.parent.mkdir(parents=True)
    for quota, expected in [(20_000, 1), (100_001, min(2, THERE_ARE)), (10**12, THERE_ARE)]:
        file.write_text(f"{quota} 100000\n")
        assert usable_cpus(tmp_path, tmp_path) == expected


def test_without_cgroups_all_cpus_are_usable(tmp_path):
    assert usable_cpus(tmp_path, tmp_path) == THERE_ARE
