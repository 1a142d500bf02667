"""The reference page: made from the models, so that it cannot go stale."""

from host import settings
from host.settings import Listen
from host.settings.variables import variables


def test_reference_has_a_row_for_every_key():
    page = settings.reference()
    for name, key in variables().items():
        assert f"`{name}`" in page
        assert f"| `{key.rpartition('.')[2]}` |" in page
    for name in Listen.model_fields:
        assert f"| `{name}` |" in page
    assert "| `workers` | integer | number of usable CPUs | 1 to 1024 | `PREFORK_WORKERS` |" in page
    assert "| `mode` | integer | `0o600` | up to 0o777 |" in page
    assert "## [limits]\n" in page
    assert page.endswith("`PREFORK_OPTIONS__NAME__KEY`.\n")


def test_reference_tables_have_six_cells_in_every_row():
    rows = [line for line in settings.reference().splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in rows} == {7}
