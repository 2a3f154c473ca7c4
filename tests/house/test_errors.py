"""The tree of errors that core/errors.py draws is the one that it defines, exit codes included."""

from __future__ import annotations

import re

from vmon.core import errors
from vmon.core.errors import VmonError

LINE = re.compile(r"^(?P<indent>[ |]*(?:\+- )?)(?P<name>[A-Z]\w+)(?:\s+(?P<code>\d+))?(?:\s|$)")


def drawn() -> dict[str, tuple[str | None, int | None]]:
    """Name to (parent, exit code), as the docstring has it."""
    found: dict[str, tuple[str | None, int | None]] = {}
    parents: list[tuple[int, str]] = []
    lines = (errors.__doc__ or "").splitlines()
    begin = next(number for number, line in enumerate(lines) if line.strip() == "VmonError")
    for line in lines[begin:]:
        match = LINE.match(line)
        if match is None:
            continue
        depth = len(match["indent"])
        while parents and parents[-1][0] >= depth:
            parents.pop()
        code = int(match["code"]) if match["code"] else None
        found[match["name"]] = (parents[-1][1] if parents else None, code)
        parents.append((depth, match["name"]))
    return found


def defined() -> dict[str, type[VmonError]]:
    return {
        name: kind
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, VmonError)
    }


def test_the_drawing_has_every_error_under_its_parent() -> None:
    real = {
        name: kind.__base__.__name__ if kind is not VmonError else None for name, kind in defined().items()
    }  # type: ignore[union-attr]
    assert {name: parent for name, (parent, _) in drawn().items()} == real
    assert len(real) > 10


def test_the_drawing_has_the_real_exit_codes() -> None:
    real = {name: kind.exit_code for name, kind in defined().items() if kind is not VmonError}
    assert {name: code for name, (_, code) in drawn().items() if name != "VmonError"} == real


def test_exit_codes_tell_apart_who_can_act() -> None:
    """Errors of one code are parent and child; 1 (a traceback) and 2 (wrong use, as in click) stay what they are."""
    by_code: dict[int, list[type[VmonError]]] = {}
    for kind in defined().values():
        by_code.setdefault(kind.exit_code, []).append(kind)
    for code, kinds in by_code.items():
        top = min(kinds, key=lambda kind: len(kind.__mro__))
        assert all(issubclass(kind, top) for kind in kinds), code
        assert 0 < code < 125
    assert by_code[1] == [VmonError]
    assert {kind.__name__ for kind in by_code[2]} == {"UsageError", "PolicyError"}


def test_every_error_is_described() -> None:
    assert not [name for name, kind in defined().items() if not (kind.__doc__ or "").rstrip().endswith(".")]
