"""`status --ready` says the same as the whole command line, and takes a fifth of it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import host as host_package
from host.cli import probe
from host.control import client
from host.settings.models import HOST_NAME
from support.fake_host import new_name
from support.hosting import environment

READY = {"ready": True, "not_ready": ""}
STOPPING = {"ready": False, "not_ready": "the host is stopping \x1b[2J"}


def host_program(*arguments, python=(), env=None):
    """Run `python -m host`; return how it ended."""
    return subprocess.run(
        [sys.executable, *python, "-m", "host", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment(env),
    )


@pytest.mark.parametrize(("found", "code"), [(READY, 0), (STOPPING, 1)])
def test_it_says_what_the_whole_command_line_says(host, found, code):
    fake = host(status=found)
    quick = host_program("status", "--ready", "--name", fake.name)
    whole = host_program("status", "--ready", "--name", fake.name, "--timeout", "10")
    assert (quick.returncode, quick.stdout) == (whole.returncode, whole.stdout)
    assert quick.returncode == code
    assert "\x1b" not in quick.stdout
    assert fake.asked == [("status", {"ready": True})] * 2
    by_name = host_program("status", "--ready", env={"PREFORK_NAME": fake.name})
    assert by_name.stdout == quick.stdout


OTHERS = {
    *("pydantic", "click", "host.settings", "host.cli.main", "asyncio", "ssl", "ctypes"),
    *("pluggy", "dataclasses", "inspect", "traceback", "pathlib", "host.interfaces"),
    *("typing", "threading"),
}
"""What takes some milliseconds each to import, and is for other commands."""


def test_it_imports_no_settings_and_no_command_line(host):
    fake = host(status=READY)
    # Without `site`, whose finders of packages in development import much themselves.
    alone = ["-S", "-X", "importtime"]
    path = {"PYTHONPATH": str(Path(host_package.__file__).parents[1])}
    loud = host_program("status", "--ready", "--name", fake.name, python=alone, env=path)
    assert loud.returncode == 0
    imported = {line.rpartition("|")[2].strip() for line in loud.stderr.splitlines()}
    assert "host.control.client" in imported
    assert not imported & OTHERS


def test_who_is_not_there_is_not_ready():
    found = host_program("status", "--ready", "--name", new_name())
    assert (found.returncode, found.stdout.partition(":")[0]) == (1, "not ready")


@pytest.mark.parametrize("more", [[], ["--timeout", "10"]])
def test_what_the_screen_cannot_show_is_an_escape(more):
    coding = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    found = host_program("status", "--ready", "--name", "\xe9", *more, env=coding)
    assert (found.returncode, found.stderr) == (1, "")
    assert found.stdout.startswith('not ready: no host named "\\xe9" runs here')


@pytest.mark.parametrize(
    "arguments",
    [
        ["--json"],
        ["--name"],
        ["--name", "a", "b"],
        ["--timeout", "3"],
        ["--timeout", "3", "--name", "a"],
        ["x"],
    ],
)
def test_what_else_is_typed_is_left_to_the_command_line(arguments):
    assert probe.answer(arguments) is None


def test_an_answer_that_is_none_is_left_to_it_too(host):
    fake = host(status={"state": "serving"})
    found = host_program("status", "--ready", "--name", fake.name)
    assert "is it of another version?" in found.stderr
    assert found.returncode == 10


def test_nobody_has_to_read_what_it_says(host):
    fake = host(status=READY)
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "host", "status", "--ready", "--name", fake.name]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_names_are_what_the_settings_take():
    assert re.compile(HOST_NAME).pattern == f"^{client._NAME.pattern}$"
