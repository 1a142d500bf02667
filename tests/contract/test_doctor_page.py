"""The page of the doctor has a table of the rules, as they are."""

from pathlib import Path

from host.doctor.rules import GROUPS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "doctor.md"


def written():
    """Return the rows of each table, by the heading above it."""
    _, _, after = PAGE.read_text(encoding="utf-8").partition("\n## Codes\n")
    _, *sections = after.split("\n### ")
    parts = [section.partition("\n\n") for section in sections]
    return {title: table.strip().splitlines()[2:] for title, _, table in parts}


def test_each_rule_has_its_row():
    rows = {
        title: [
            f"| `{rule.code}` | {rule.severity} | {rule.meaning} | {rule.cure} |" for rule in rules
        ]
        for title, rules in GROUPS.items()
    }
    assert written() == rows
