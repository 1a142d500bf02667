"""A real Prometheus on the loopback, and its API."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from host.testing.machine import patience
from support.hosting import eventually

CONTRIB = Path(__file__).resolve().parents[2] / "contrib"
SCRAPE_SECONDS = 1
START_SECONDS = 20


def promtool(*arguments: str, text: str = "") -> tuple[int, str]:
    """Run promtool; return its exit code and all that it has said."""
    done = subprocess.run(
        ["promtool", *arguments],
        cwd=CONTRIB / "prometheus",
        input=text,
        capture_output=True,
        text=True,
        timeout=patience(60),
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


class Prometheus:
    """A Prometheus with the settings and rules that ship; `close` ends it.

    Args:
        folder: an empty folder for its files.
        target: the host, as `127.0.0.1:9180`.
        token_file: the file of the host's token; None for none.
    """

    def __init__(self, folder: Path, target: str, token_file: Path | None = None) -> None:
        text = (CONTRIB / "prometheus/prometheus.yml").read_text(encoding="utf-8")
        text = text.replace("127.0.0.1:9180", target).replace(": 15s", f": {SCRAPE_SECONDS}s")
        if token_file is not None:
            text = text.replace("#authorization", "authorization")
            text = text.replace("/etc/prometheus/prefork-token", str(token_file))
        (folder / "prometheus.yml").write_text(text, encoding="utf-8")
        shutil.copy(CONTRIB / "prometheus/rules.yml", folder)
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={folder}/prometheus.yml",
                    f"--storage.tsdb.path={folder}/data",
                    "--web.listen-address=127.0.0.1:0",
                ],
                stdout=log,
                stderr=log,
                env={"PATH": os.environ["PATH"], "HOME": str(folder)},
            )
        try:
            eventually(lambda: self._has_said("is ready"), "Prometheus starts", START_SECONDS)
        except BaseException:
            self.close()
            raise
        [port] = re.findall(r'msg="Listening on" address=127\.0\.0\.1:(\d+)', self._said)
        self._home = f"http://127.0.0.1:{port}/api/v1/"

    @property
    def _said(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def _has_said(self, words: str) -> bool:
        assert self._process.poll() is None, self._said
        return words in self._said

    def ask(self, page: str, **arguments: str) -> Any:
        """Return the data of a page of its API; a refusal raises `HTTPError`."""
        asked = f"{self._home}{page}?{urllib.parse.urlencode(arguments)}"
        with urllib.request.urlopen(asked, timeout=patience(20)) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str, at: float | None = None) -> list[dict[str, Any]]:
        """Return the series that an expression has, now or at a time since the epoch."""
        when = {} if at is None else {"time": str(at)}
        found: list[dict[str, Any]] = self.ask("query", query=expression, **when)["result"]
        return found

    def value(self, expression: str, at: float | None = None) -> float | None:
        """Return the value of the only series that an expression has; None if there is none."""
        found = self.query(expression, at)
        assert len(found) < 2, found
        return float(found[0]["value"][1]) if found else None

    def target(self) -> Mapping[str, Any]:
        """Return how the scrapes of the host go."""
        [found] = self.ask("targets")["activeTargets"]
        return dict(found)

    def rules(self) -> dict[str, Mapping[str, Any]]:
        """Return each rule with its state, by its name."""
        groups = self.ask("rules")["groups"]
        return {rule["name"]: rule for group in groups for rule in group["rules"]}

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
