"""Runs eclipse paho's interoperability tests for MQTT 3.1.1 against the plugin, or another server.

    python -m judges FOLDER [--port PORT]

FOLDER is a checkout of https://github.com/eclipse/paho.mqtt.testing. Each test is run against hosts
with 1, 2 and 4 workers, or against a server that listens at PORT.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import sys
import unittest
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from host.testing import RunningHost
from judges.refusing import REFUSED

WORKERS = (1, 2, 4)
TOPICS = ("TopicA", "TopicA/B", "Topic/C", "TopicA/C", "/TopicA")
WILDCARDS = ("TopicA/+", "+/C", "#", "/#", "/+", "+/+", "TopicA/#")


def load(folder: Path) -> ModuleType:
    """Return the module with the tests."""
    path = folder / "interoperability" / "client_test.py"
    sys.path.insert(0, str(path.parent))
    specification = importlib.util.spec_from_file_location("client_test", path)
    if specification is None or specification.loader is None or not path.exists():
        raise SystemExit(f"{path} is not there: see the README")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def judge(module: ModuleType, port: int) -> dict[str, str]:
    """Run all tests against a server; return how each went."""
    vars(module).update(
        host="127.0.0.1",
        port=port,
        topics=TOPICS,
        wildtopics=WILDCARDS,
        nosubscribe_topics=(REFUSED,),
    )
    suite = unittest.defaultTestLoader.loadTestsFromModule(module)
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        result = unittest.TextTestRunner(stream=said).run(suite)
    failed = {case.id().rpartition(".")[2] for case, _ in (*result.failures, *result.errors)}
    if failed:
        print(said.getvalue(), file=sys.stderr)
    names = sorted(name for name in dir(module.Test) if name.startswith("test"))
    return {name: "fails" if name in failed else "passes" for name in names}


@contextlib.contextmanager
def serving(workers: int) -> Iterator[int]:
    """Run a host; give its port."""
    refusing = Path(__file__).with_name("refusing.py")
    flags = ["--log-format", "json", "--workers", str(workers), "--plugin", "mqtt"]
    flags += ["--plugin", str(refusing), "--set", 'options.mqtt.permissions=["refusing"]']
    with RunningHost([*flags, "--listen", "tcp://127.0.0.1:0=mqtt"]) as host:
        host.wait_for("host_ready")
        yield host.port
        host.stop()


def main() -> None:
    """Run the tests; print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int)
    arguments = parser.parse_args()
    module = load(arguments.folder)
    if arguments.port:
        columns = {f"port {arguments.port}": judge(module, arguments.port)}
    else:
        columns = {}
        for workers in WORKERS:
            with serving(workers) as port:
                columns[f"{workers} workers" if workers > 1 else "1 worker"] = judge(module, port)
    print(f"| test | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for name in next(iter(columns.values())):
        print(f"| `{name}` | {' | '.join(each[name] for each in columns.values())} |")
    if any("fails" in each.values() for each in columns.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
