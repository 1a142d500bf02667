"""The files of the page on deployment are right as far as that can be told without running them."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from host.testing.machine import patience
from support.asking import fresh_name
from support.scraping import get
from walkthrough import ROOT, blocks

FILES = {block.file: block.text for block in blocks(ROOT / "docs/deployment.md") if block.file}
KUBERNETES = ROOT / "contrib/kubernetes/service.yaml"


def manifests() -> dict[str, dict]:
    """Return what is asked of Kubernetes, by kind."""
    return {each["kind"]: each for each in yaml.safe_load_all(KUBERNETES.read_text())}


def pod() -> dict:
    """Return the specification of the pods."""
    return manifests()["Deployment"]["spec"]["template"]["spec"]


def settings_of_pods() -> str:
    """Return the settings of the host in a pod."""
    return manifests()["ConfigMap"]["data"]["host.toml"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with all the files."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def run(folder: Path, *command: str) -> str:
    """Run a command that must find nothing wrong; return what it has said."""
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=patience(60), check=False
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


def tool(name: str) -> str:
    """Return the path of a tool that is installed beside the interpreter."""
    found = shutil.which(name, path=str(Path(sys.executable).parent))
    assert found, f"{name} is not installed: it is in the dependency group docs"
    return found


def test_the_host_takes_the_settings(folder):
    run(folder, sys.executable, "-m", "host", "check", "--config", "host.toml")


def test_docker_takes_the_image(folder):
    assert run(folder, tool("hadolint"), "Dockerfile") == ""


def test_docker_takes_the_composition(folder):
    run(folder, tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", "compose.yaml")


def test_the_container_has_as_long_as_a_stop_may_take():
    lifecycle = tomllib.loads(FILES["host.toml"])["lifecycle"]
    longest = lifecycle["shutdown_delay_seconds"] + lifecycle["drain_timeout_seconds"]
    assert int(re.findall(r"stop_grace_period: (\d+)s", FILES["compose.yaml"])[0]) > longest


def test_the_commands_of_the_image_work(folder, host_server):
    probe, entry = [
        re.findall(r'"([^"]*)"', line)[1:]
        for line in FILES["Dockerfile"].splitlines()
        if line.startswith(("HEALTHCHECK", "ENTRYPOINT"))
    ]
    assert entry[:4] == ["-m", "host", "--config", "host.toml"]
    name = fresh_name()  # another run of the tests may be under way
    host = host_server(flags=["--config", str(folder / "host.toml"), "--name", name])
    run(folder, sys.executable, *[word.replace("service", name) for word in probe])
    assert host.stop() == 0


def test_kubernetes_takes_the_files():
    said = run(ROOT, tool("kubernetes-validate"), "--strict", str(KUBERNETES))
    assert said.count(" passed for resource ") == len(manifests()) == 4


def test_what_kubernetes_does_not_know_is_found(tmp_path):
    wrong = KUBERNETES.read_text().replace("terminationGracePeriodSeconds", "gracePeriodSeconds")
    (tmp_path / "wrong.yaml").write_text(wrong)
    command = [tool("kubernetes-validate"), "--strict", str(tmp_path / "wrong.yaml")]
    done = subprocess.run(command, capture_output=True, timeout=patience(60), check=False)
    assert done.returncode != 0


def test_a_pod_has_as_long_as_a_stop_may_take():
    lifecycle = tomllib.loads(settings_of_pods())["lifecycle"]
    [container] = pod()["containers"]
    longest = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    longest += lifecycle.get("shutdown_delay_seconds", 0) + lifecycle["drain_timeout_seconds"]
    assert pod()["terminationGracePeriodSeconds"] > longest


def test_all_that_is_for_the_pods_names_their_label():
    found = manifests()
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert found["Service"]["spec"]["selector"] == labels
    for kind in ("Deployment", "PodDisruptionBudget"):
        assert found[kind]["spec"]["selector"] == {"matchLabels": labels}
    [spread] = pod()["topologySpreadConstraints"]
    assert spread["labelSelector"] == {"matchLabels": labels}
    # Otherwise no node could ever be drained.
    assert (
        found["Deployment"]["spec"]["replicas"]
        > found["PodDisruptionBudget"]["spec"]["maxUnavailable"]
    )


def test_ports_and_workers_of_the_pod_are_those_of_its_settings():
    settings = tomllib.loads(settings_of_pods())
    [container] = pod()["containers"]
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    addresses = [settings["listen"][0]["address"], *settings["ops"]["listen"]]
    assert addresses == [f"tcp://0.0.0.0:{ports[name]}" for name in ("service", "ops")]
    assert settings["workers"] == int(container["resources"]["requests"]["cpu"])
    mounted = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    assert settings["ops"]["token_file"] == f"{mounted['ops']}/token"
    assert container["command"][-1] == f"{mounted['settings']}/host.toml"
    assert {each["name"] for each in pod()["volumes"]} == set(mounted)


def test_the_probes_of_the_pod_are_answered(host_server, tmp_path):
    text = settings_of_pods().replace("0.0.0.0:7000", "127.0.0.1:0")
    text = text.replace("0.0.0.0:9180", "127.0.0.1:0")
    (tmp_path / "token").write_text("a" * 64)
    (tmp_path / "token").chmod(0o440)  # as the volume has it
    text = text.replace("/etc/service-ops/token", str(tmp_path / "token"))
    (tmp_path / "host.toml").write_text(text)
    host = host_server(listen=(), flags=["--config", "host.toml", "--name", fresh_name()])
    [listening] = host.events("ops_listening")
    [container] = pod()["containers"]
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert get(listening["address"], container[kind]["httpGet"]["path"]).status == 200
    assert get(listening["address"], "/metrics").status == 401
    assert host.stop() == 0
