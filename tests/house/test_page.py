"""The web page keeps the house's rules: no way from text to markup, nothing from elsewhere, a fact at the head."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "src" / "vmon" / "api" / "page"
SCRIPTS = sorted(PAGE.glob("script/*.js"))
STYLES = sorted(PAGE.glob("style/*.css"))
MARKUP = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment|srcdoc|\beval\("
    r"|new Function|setTimeout\(\s*[\"'`]|javascript:"
)
"""What makes markup or code of a text."""
ELSEWHERE = re.compile(r"(?:https?:)?//[\w.-]+\.[a-z]{2,}|@import|url\(", re.I)
NAMESPACE = "http://www.w3.org/2000/svg"
MOST_LINES = 400


def test_there_is_a_page() -> None:
    assert len(SCRIPTS) > 10 and len(STYLES) > 2


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_text_becomes_markup(path: Path) -> None:
    assert not MARKUP.findall(path.read_text())


@pytest.mark.parametrize("path", [*SCRIPTS, *STYLES], ids=lambda path: path.name)
def test_nothing_comes_from_elsewhere(path: Path) -> None:
    lines = [
        line
        for line in path.read_text().replace(NAMESPACE, "").splitlines()
        if not line.lstrip().startswith("//")
    ]
    assert not ELSEWHERE.findall("\n".join(lines))


def test_the_document_has_neither_scripts_nor_styles_of_its_own() -> None:
    text = (PAGE / "index.html").read_text()
    assert re.findall(r"<script\b[^>]*>([^<]*)</script>", text) == [""]
    assert "<style" not in text and not re.search(r"\s(?:style|on\w+)=", text)
    linked = re.findall(r'(?:src|href)="([^"]+)"', text)
    assert all((PAGE / name).is_file() for name in linked), linked
    assert {PAGE / name for name in linked if name.endswith(".css")} == set(STYLES)


def test_every_script_is_used() -> None:
    imported = {
        (PAGE / "script" / name).resolve()
        for path in SCRIPTS
        for name in re.findall(r'from "\./([\w.]+)"', path.read_text())
    }
    assert set(SCRIPTS) - imported == {PAGE / "script" / "app.js"}
    assert imported <= set(SCRIPTS)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_the_head_says_a_fact(path: Path) -> None:
    first, second = path.read_text().split("\n")[:2]
    assert re.match(r"// [A-Z].{30,}", first), first
    assert second.startswith(("//", "")), second


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_read_in_one_sitting(path: Path) -> None:
    assert path.read_text().count("\n") <= MOST_LINES


def test_what_is_exported_is_described() -> None:
    bare = [
        f"{path.name}: {line}"
        for path in SCRIPTS
        for before, line in zip(
            ["", *path.read_text().split("\n")], path.read_text().split("\n"), strict=False
        )
        if re.match(r"export (?:async )?(?:function|class)", line) and not before.rstrip().endswith("*/")
    ]
    assert not bare
