"""The files for containers of `examples/cluster` are right as far as that can be told here."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from host.testing.machine import patience
from walkthrough import ROOT

FOLDER = ROOT / "examples" / "cluster"
COMPOSED = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
HOSTS = {name: each for name, each in COMPOSED["services"].items() if name.startswith("host")}


@pytest.mark.parametrize(
    "command",
    [
        ("hadolint", "Dockerfile"),
        ("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml"),
    ],
    ids=["the image", "the composition"],
)
def test_docker_takes(command):
    tool = shutil.which(command[0], path=str(Path(sys.executable).parent))
    assert tool, f"{command[0]} is not installed: it is in the dependency group docs"
    done = subprocess.run(
        [tool, *command[1:]], cwd=FOLDER, capture_output=True, timeout=patience(60), check=False
    )
    assert done.returncode == 0, done


@pytest.mark.parametrize("name", HOSTS)
def test_the_host_takes_its_settings(name):
    done = subprocess.run(
        [sys.executable, "-m", "host", "check", "--config", str(FOLDER / "chat.toml")],
        env=HOSTS[name]["environment"] | {"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=patience(60),
        check=False,
    )
    assert done.returncode == 0, done


def test_hosts_differ_in_name_and_port_and_find_the_broker():
    variables = [each["environment"] for each in HOSTS.values()]
    assert [each["PREFORK_BUS__NODE"] for each in variables] == list(HOSTS) == ["host1", "host2"]
    assert {each["PREFORK_BUS__URL"] for each in variables} == {"redis://redis:6379"}
    assert "redis" in COMPOSED["services"]
    ports = [port for each in HOSTS.values() for port in each["ports"]]
    exposed = re.findall(r"^EXPOSE (\d+)$", (FOLDER / "Dockerfile").read_text(), re.MULTILINE)
    assert ports == [f"127.0.0.1:{number}:{exposed[0]}" for number in (7001, 7002)]


def test_a_container_has_as_long_as_a_stop_may_take():
    settings = tomllib.loads((FOLDER / "chat.toml").read_text(encoding="utf-8"))
    for each in HOSTS.values():
        grace = int(each["stop_grace_period"].removesuffix("s"))
        assert grace > settings["lifecycle"]["drain_timeout_seconds"]
