"""Runs the Autobahn test suite for WebSockets against the plugin `asgi`.

`python -m judges.autobahn FOLDER WSTEST...` (in `tests`) starts a host whose app sends back what it
gets, has `WSTEST...`, the command of the suite, try all its cases on it, and prints how each group
of them has ended. It ends with 1 if a case has failed that did not before. The suite's report is in
the folder.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

from host.testing import RunningHost

APPS = Path(__file__).parent / "apps"
AGENT = "prefork"
GOOD = {"OK", "INFORMATIONAL", "NON-STRICT"}
"""What the suite says of a case that has not failed."""
KNOWN = {"7.1.5"}
"""The library websockets answers a close in the middle of a message with 1002, not with 1000."""
MESSAGE_BYTES = 20_000_000


def start() -> RunningHost:
    """Start a host that sends back what WebSockets get."""
    options = {"app": "of_websockets:app", "app_folder": APPS, "max_message_bytes": MESSAGE_BYTES}
    flags = ["--plugin", "asgi", "--listen", "tcp://127.0.0.1:0", "--workers", "1"]
    for name, value in options.items():
        flags += ["--set", f"options.asgi.{name}={value}"]
    return RunningHost(["--log-format", "json", *flags])


def tried(folder: Path, command: list[str], port: int) -> dict[str, str]:
    """Have the suite try its cases; return how each has ended."""
    server = {"agent": AGENT, "url": f"ws://127.0.0.1:{port}"}
    plan = {"outdir": str(folder / "report"), "servers": [server], "cases": ["*"]}
    path = folder / "plan.json"
    path.write_text(json.dumps(plan | {"exclude-cases": [], "exclude-agent-cases": {}}))
    subprocess.run([*command, "-m", "fuzzingclient", "-s", str(path)], check=True)
    found = json.loads((folder / "report" / "index.json").read_text())[AGENT]
    return {case: each["behavior"] for case, each in found.items()}


def main(folder: Path, command: list[str]) -> int:
    """Try all cases; return the exit code."""
    folder.mkdir(parents=True, exist_ok=True)
    with start() as host:
        host.wait_for("host_ready")
        behaviours = tried(folder, command, host.port)
        host.stop()
    groups: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for case, behaviour in behaviours.items():
        groups[int(case.partition(".")[0])][behaviour] += 1
    for group, counted in sorted(groups.items()):
        print(f"{group:3}", ", ".join(f"{number} {kind}" for kind, number in counted.items()))
    failed = sorted(case for case, behaviour in behaviours.items() if behaviour not in GOOD)
    print(f"{len(behaviours)} cases, {len(failed)} failed: {' '.join(failed)}")
    return int(bool(set(failed) - KNOWN) or not behaviours)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
