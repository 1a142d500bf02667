"""The tests themselves, for everybody who may run them, on a machine with other things to do."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from everybody import PYTHONS, ROOT, USERS, WHOLE, Place, Run, interpreter, prepared, run
from storm.rows import SkippedError, Trial, row

TIMES = BESIDE = 3
A_FEW = ("tests/process/test_resting.py",)


@row(
    44,
    "the whole test run: CPython 3.11 to 3.14, as root and as nobody with 1,024 descriptors, under"
    " nohup, beside three other runs (in the short form a few tests, as who runs the storm)",
    "green, three times each",
)
def everybody(trial: Trial) -> str:
    runs: dict[str, list[Run]] = {}
    if trial.quick:
        place = Place(trial.folder, ROOT, Path(sys.executable), os.geteuid())
        runs["here"] = [run(place, A_FEW, BESIDE)]
    elif os.geteuid():
        raise SkippedError("only root can run tests as somebody else")
    else:
        for version in filter(interpreter, PYTHONS):
            for user, uid in USERS.items():
                with prepared(interpreter(version), uid) as place:
                    runs[f"{version} {user}"] = [run(place, WHOLE, BESIDE) for _ in range(TIMES)]
    for who, each in runs.items():
        for one in each:
            trial.must(one.green, f"{who}: {one.last}: {'; '.join(one.failed)}")
    everyone = [one for each in runs.values() for one in each]
    return (
        f"{sum(one.green for one in everyone)} of {len(everyone)} green ({', '.join(runs)}), the"
        f" last one: {everyone[-1].last}"
    )
