"""A reader finds what each module, class and function is for: a module header's first line is a fact."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.house.sources import MODULES, Module


def public(node: ast.AST, inside: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Every public definition, methods of public classes too; bodies of functions are private."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if child.name.startswith("_"):
                continue
            name = f"{inside}{child.name}"
            overload = any("overload" in ast.dump(item) for item in child.decorator_list)
            if not overload:
                yield name, child
            if isinstance(child, ast.ClassDef):
                yield from public(child, f"{name}.")
        elif isinstance(child, ast.If | ast.Try):
            yield from public(child, inside)


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_module_begins_with_a_sentence(module: Module) -> None:
    text = ast.get_docstring(module.tree)
    assert text, "no docstring"
    paragraph = text.split("\n\n")[0]
    first = paragraph.splitlines()[0]
    assert paragraph.rstrip().endswith((".", ":")), "its first paragraph is no sentence"
    word = re.split(r"[\s:,]", first)[0]
    named = word in (module.path.stem, "vmon") or any(letter.isdigit() for letter in word)
    assert named or first[:1].isupper() or first[:1] in "`\"'", "its first line starts no sentence"
    assert len(first.split()) >= 3, "its first line says nothing"


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_what_is_public_is_described(module: Module) -> None:
    bare = [name for name, node in public(module.tree) if not ast.get_docstring(node)]  # type: ignore[arg-type]
    assert not bare, f"without a docstring: {', '.join(bare)}"
