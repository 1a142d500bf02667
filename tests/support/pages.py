"""The tables of the pages that people read."""

import re
from pathlib import Path


def table(page: Path, first: str) -> list[list[str]]:
    """Return the rows of the table whose first column has that heading."""
    text = page.read_text(encoding="utf-8")
    found = re.search(rf"^\| {first} \|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert found, f"{page.name} has no table that begins with {first!r}"
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in found[1].splitlines()]
