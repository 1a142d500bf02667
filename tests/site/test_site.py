"""The site in a real browser: nothing is cut off, nothing comes from elsewhere, and all works."""

import re
from pathlib import Path

import pytest

import host
import host.plugins.coordination
import host.plugins.delivery
import host.plugins.framing
import host.testing

OVERFLOWING = (Path(__file__).parent / "overflowing.js").read_text(encoding="utf-8")
DESK, PHONE = 1280, 390


def pages(site: Path) -> list[str]:
    return sorted(str(path.relative_to(site)) for path in site.rglob("*.html"))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [DESK, PHONE])
def test_every_page_fits_and_is_complete_in_itself(visit, site, width, scheme):
    visitor = visit(width, scheme)
    cut = {}
    for page in pages(site):
        visitor.open(page)
        if found := visitor.page.evaluate(OVERFLOWING):
            cut[page] = found
    assert (cut, visitor.faults) == ({}, [])


@pytest.mark.timeout(600)
def test_the_site_can_be_read_from_the_disk(visit, site):
    visitor = visit(from_disk=True)
    # The page for what is not there has links from the root of a server.
    for page in set(pages(site)) - {"404.html"}:
        visitor.open(page)
    assert visitor.faults == []


@pytest.mark.parametrize("from_disk", [False, True])
@pytest.mark.parametrize("width", [DESK, PHONE])
@pytest.mark.parametrize(
    ("words", "title", "target"),
    [
        ("backlog", "Settings", "settings.html"),
        ("call_later", "Connection", "reference/host.html"),
        ("on_readable", "on_readable", "hooks.html"),
    ],
)
def test_search_finds_settings_names_and_hooks(visit, width, from_disk, words, title, target):
    visitor = visit(width, from_disk=from_disk)
    visitor.open("index.html")
    visitor.page.keyboard.press("s")
    visitor.page.keyboard.type(words)
    found = visitor.page.locator(f".md-search-result__link[href*='{target}']").first
    found.wait_for()
    found.click()
    visitor.page.wait_for_url(f"**/{target}*")
    assert title in visitor.page.locator("article").inner_text()
    assert visitor.faults == []


@pytest.mark.parametrize(("scheme", "name"), [("light", "default"), ("dark", "slate")])
def test_the_scheme_is_that_of_the_system_until_another_is_chosen(visit, scheme, name):
    visitor = visit(scheme=scheme)
    visitor.open("index.html")
    shown = "document.body.getAttribute('data-md-color-scheme')"
    assert visitor.page.evaluate(shown) == name
    visitor.page.get_by_title("Switch to light mode").click()
    visitor.page.get_by_title("Switch to dark mode").click()
    assert visitor.page.evaluate(shown) == "slate"
    visitor.open("tutorial.html")
    assert visitor.page.evaluate(shown) == "slate"
    assert visitor.faults == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_picture_has_the_colours_of_the_scheme(visit, scheme):
    visitor = visit(scheme=scheme)
    visitor.open("index.html")
    text, page = visitor.page.evaluate(
        "[getComputedStyle(document.querySelector('.picture text')).fill,"
        " getComputedStyle(document.body).backgroundColor]"
        ".map((colour) => colour.match(/[\\d.]+/g).slice(0, 3).map(Number))"
    )
    assert (sum(text) < sum(page)) == (scheme == "light")
    assert abs(sum(text) - sum(page)) > 300


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("def on_readable", ["from host import Connection, hookimpl", "@hookimpl"]),
        ("served by my_protocol", [".venv/bin/python -m host --plugin ./my_protocol.py"]),
    ],
    ids=["program", "session"],
)
def test_what_the_button_copies_is_what_is_typed(visit, text, lines):
    visitor = visit()
    visitor.allow("clipboard-read", "clipboard-write")
    visitor.open("index.html")
    block = visitor.page.locator("div.highlight", has_text=text).first
    block.hover()
    block.get_by_title("Copy to clipboard").click()
    visitor.page.get_by_text("Copied to clipboard").wait_for()
    copied = visitor.page.evaluate("navigator.clipboard.readText()").splitlines()
    assert [line for line in copied if line][: len(lines)] == lines
    assert "$" not in "".join(copied)
    assert len(lines) > 1 or len(copied) == 1
    assert visitor.faults == []


@pytest.mark.parametrize(
    ("page", "door", "also"),
    [
        ("tutorial.html", "Write a protocol", "Connections"),
        ("operations.html", "Run a host", "Settings"),
        ("design.html", "Change the host", "Decisions"),
    ],
)
def test_the_menu_has_three_doors_and_shows_what_is_behind_one(visit, page, door, also):
    visitor = visit()
    visitor.open(page)
    assert visitor.page.locator(".md-tabs__item--active").inner_text() == door
    entries = visitor.page.locator(".md-sidebar--primary .md-nav__link:visible").all_inner_texts()
    assert also in entries
    assert not [entry for entry in entries if re.match(r"\d+\. ", entry)]


def test_a_setting_can_be_linked_to(visit):
    visitor = visit()
    visitor.open("settings.html#limits.max_events")
    term, header = visitor.page.locator("dt", has_text="max_events"), visitor.page.locator("header")
    assert term.bounding_box()["y"] >= header.bounding_box()["height"]
    assert term.bounding_box()["y"] < 844


@pytest.mark.parametrize(
    ("page", "module"),
    [
        ("reference/host.html", host),
        ("reference/testing.html", host.testing),
        ("reference/framing.html", host.plugins.framing),
        ("reference/coordination.html", host.plugins.coordination),
        ("reference/delivery.html", host.plugins.delivery),
    ],
)
def test_every_public_name_can_be_linked_to_and_is_described(visit, page, module):
    visitor = visit()
    visitor.open(page)
    described = {
        name
        for name in module.__all__
        if visitor.page.locator(f"[id='{module.__name__}.{name}'] ~ div p").count()
    }
    assert described == set(module.__all__)
