"""Brings the pages of the repository's root into the site, and turns the links from and to them.

A hook of MkDocs (https://www.mkdocs.org/user-guide/configuration/#hooks). Links are written as they
work in the repository: `docs/hooks.md` in the README, `../README.md` in a page of docs/.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]

PAGES: Mapping[str, str] = {
    "README.md": "overview.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
    "LICENSE": "license.txt",
}
"""Each file of the root that is in the site, and its name there."""

_NAMES = "|".join(map(re.escape, PAGES))
_FROM_ROOT = re.compile(rf"\]\((?:docs/|({_NAMES})(?=[)#]))")
_TO_ROOT = re.compile(rf"\]\(\.\./({_NAMES})(?=[)#])")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files of the root to those of docs/."""
    for name, target in PAGES.items():
        files.append(File.generated(config, target, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the page's text with its links as the site needs them."""
    of_root = page.file.src_uri in PAGES.values()
    return turned(markdown, _FROM_ROOT if of_root else _TO_ROOT)


def turned(markdown: str, links: re.Pattern[str]) -> str:
    """Return the text with each of `links` leading to where its target is in the site."""
    return links.sub(lambda found: f"]({PAGES.get(found[1], '')}", markdown)
