"""The generator of the reference pages, and the manual of each hook as it reads it."""

import importlib.util
import sys
from pathlib import Path

from host import hookspecs

GENERATOR = Path(__file__).resolve().parents[2] / "docs" / "generate.py"


def _load():
    spec = importlib.util.spec_from_file_location("docs_generate", GENERATOR)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


generate = _load()


def doc_of(hook):
    """Return a hook's docstring in its parts."""
    return generate.parse(getattr(hookspecs, hook).__doc__)
