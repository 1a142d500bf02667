"""Runs uvicorn's own tests of protocols with those of the plugin `asgi`, served as the host serves.

`python -m judges.uvicorn_tests FOLDER [WORD...]` (in `tests`) takes the tests of the version that
is installed from its source distribution, which pip fetches into the folder. Words go to pytest.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import uvicorn

TESTS = ("protocols/test_http.py", "protocols/test_websocket.py", "middleware", "test_lifespan.py")
# One test looks at how uvicorn warns of wsproto, which the plugin does not use.
CHOSEN = "not h11 and not wsproto and not zttp and not test_supported_upgrade_request"


def sources(folder: Path) -> Path:
    """Return where the sources of uvicorn are, with its tests."""
    name = f"uvicorn-{uvicorn.__version__}"
    wanted = ["--no-deps", "--no-binary", "uvicorn", f"uvicorn=={uvicorn.__version__}"]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(folder), *wanted]
    subprocess.run(pip, check=True)
    with tarfile.open(folder / f"{name}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder / name


def main(folder: Path, words: list[str]) -> int:
    """Run the tests; return pytest's exit code."""
    folder.mkdir(parents=True, exist_ok=True)
    flags = ["-q", "-c", os.devnull, "-W", "ignore", "-p", "no:cacheprovider", "-k", CHOSEN]
    for name in ("loop_of_tests", "uvicorn_protocols"):
        flags += ["-p", f"judges.{name}"]
    command = [sys.executable, "-m", "pytest", *flags, *words, *(f"tests/{each}" for each in TESTS)]
    own = Path(__file__).resolve().parents[1]
    environment = {**os.environ, "PYTHONPATH": str(own)}
    return subprocess.run(command, cwd=sources(folder), env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
