"""A host that is told no address listens on the default one, with whatever limits."""

import json
import shutil
import signal
import subprocess
import sys

import pytest

from host.settings.listen import DEFAULT_ADDRESS
from support.asking import fresh_name

pytestmark = pytest.mark.process

# In a network of its own, where nobody else can have the port.
ALONE = ["unshare", "--user", "--map-root-user", "--net", "--kill-child", "--fork", "sh", "-c"]
UP = "ip link set lo up && "


def can_be_alone() -> bool:
    """Tell whether a network may be made here."""
    tried = shutil.which("unshare") and subprocess.run(
        [*ALONE, UP + "true"], stderr=subprocess.DEVNULL, check=False
    )
    return bool(tried) and tried.returncode == 0


@pytest.mark.skipif(not can_be_alone(), reason="no network may be made here")
@pytest.mark.parametrize(
    "settings", [[], ["--set", "limits.max_per_client=3", "--set", "limits.rate_per_client=9"]]
)
def test_a_host_that_is_told_no_address_serves(settings):
    flags = ["--plugin", "echo", "--workers", "2", "--log-format", "json", "--name", fresh_name()]
    script = f'{UP}exec "$@"'
    command = [*ALONE, script, "sh", sys.executable, "-m", "host", *flags, *settings]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            seen = {}
            for line in process.stderr:
                event = json.loads(line)
                seen[event["event"]] = event
                if event["event"] in ("host_ready", "host_stopped"):
                    break
            assert "host_ready" in seen, seen
            assert seen["listening"]["address"] == DEFAULT_ADDRESS
        finally:
            process.send_signal(signal.SIGKILL)
