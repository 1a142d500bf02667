"""The plugins that pages show can be loaded as they stand."""

import pytest

from host import settings
from host.plugin.loading import load
from walkthrough import ROOT, blocks

PAGES = ["docs/bus.md", "docs/line.md"]
PLUGINS = [
    pytest.param(block.text, id=f"{page}:{block.line}")
    for page in PAGES
    for block in blocks(ROOT / page)
    if block.language == "python" and "hookimpl" in block.text
]


@pytest.mark.parametrize("text", PLUGINS)
def test_a_plugin_that_is_shown_can_be_loaded(text, tmp_path):
    path = tmp_path / "shown.py"
    path.write_text(text, encoding="utf-8")
    flags = {"plugins": (["line", str(path)], "--plugin")}
    registry = load(settings.load(flags=flags, environ={}))
    assert "shown" in [plugin.name for plugin in registry.plugins]
