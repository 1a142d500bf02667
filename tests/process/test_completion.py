"""Real shells complete what is typed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.hosting import Start
from support.shells import Shell

pytestmark = pytest.mark.process

PROGRAM = Path(sys.executable).parent

LINES = [
    ("prefork stat", "prefork status "),
    ("prefork simul", "prefork simulate "),
    ("prefork --plug", "prefork --plugin "),
    ("prefork run --plugin ech", "prefork run --plugin echo "),
    ("prefork run --plugin no:rou", "prefork run --plugin no:round_robin "),
    ("prefork check --set limits.max_ev", "prefork check --set limits.max_events="),
    ("prefork check --set log.level=deb", "prefork check --set log.level=debug "),
    ("prefork --listen tcp://127.0.0.1:0=ech", "prefork --listen tcp://127.0.0.1:0=echo "),
    ("prefork scheduler weigh", "prefork scheduler weighted "),
    ("prefork plugins order choose_w", "prefork plugins order choose_worker "),
    ("prefork --config ho", "prefork --config host.toml "),
]
"""What is typed, and what a tab makes of it."""


def needs(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not on this machine")
    assert (PROGRAM / "prefork").exists()


@pytest.fixture(params=["bash", "zsh"])
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shell]:
    needs(request.param)
    (tmp_path / "host.toml").touch()
    with Shell(request.param, PROGRAM, tmp_path) as shell:
        yield shell


def test_a_tab_completes(shell: Shell) -> None:
    for typed, expected in LINES:
        shell.completes(typed, expected)


def test_a_tab_completes_the_names_of_running_hosts(shell: Shell, start: Start) -> None:
    name = f"completed-{os.getpid()}"
    start("--name", name, plugin="echo")
    shell.completes(f"prefork status --name {name[:-1]}", f"prefork status --name {name} ")


def test_a_program_that_is_typed_with_its_folder_is_completed(shell: Shell) -> None:
    shell.type(f"PATH={Path(sys.base_prefix) / 'bin'}:/usr/bin:/bin\n")
    shell.completes(f"{PROGRAM}/prefork stat", "/prefork status ")


def test_fish_completes(tmp_path: Path) -> None:
    needs("fish")
    (tmp_path / "host.toml").touch()
    script = tmp_path / "prefork.fish"
    with script.open("wb") as file:
        subprocess.run([PROGRAM / "prefork", "completion", "fish"], stdout=file, check=True)
    for typed, expected in LINES:
        command = ["fish", "--no-config", "-C", f"source {script}", "-c", 'complete -C "$argv[1]"']
        found = subprocess.run(
            [*command, typed.replace("prefork", str(PROGRAM / "prefork"), 1)],
            cwd=tmp_path,
            env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        last = expected.strip().rpartition(" ")[2]
        assert last in [line.partition("\t")[0] for line in found.splitlines()], (typed, found)


def test_an_empty_variable_asks_nothing() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "host", "--version"],
        env={"_PREFORK_COMPLETE": "", "PATH": os.environ["PATH"]},
        check=True,
        capture_output=True,
        text=True,
    )
    assert told.stdout.startswith("prefork, version ")


@pytest.mark.parametrize("typed", ["prefork st", "prefork --plu", "prefork status --name x"])
def test_what_serves_is_not_imported_to_complete(typed: str) -> None:
    asked = {"COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" ")), "PATH": os.environ["PATH"]}
    told = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "host"],
        env={**asked, "_PREFORK_COMPLETE": "bash_complete"},
        check=True,
        capture_output=True,
        text=True,
    ).stderr
    imported = set(re.findall(r"\| +([\w.]+)$", told, re.MULTILINE))
    assert "host.cli.completion" in imported
    serving = {"host.startup", "host.supervisor", "host.worker", "host.net.listeners", "asyncio"}
    assert imported & (serving | {"rich", "pydantic_settings"}) == set()
