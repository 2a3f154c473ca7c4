from __future__ import annotations

import pytest

from vmon.cli.hints import HINTS, hint_of
from vmon.core import errors

KINDS = [
    kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.VmonError)
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_no_error_leaves_its_reader_alone(kind: type[errors.VmonError]) -> None:
    error = kind.__new__(kind)
    error.hint = ""
    assert hint_of(error)
    error.hint = "do that"
    assert hint_of(error) == "do that"


def test_hints_are_sentences_that_name_commands_that_there_are() -> None:
    from vmon.cli import COMMANDS

    for hint in HINTS.values():
        for part in hint.split("`vmon ")[1:]:
            assert part.split("`")[0].split()[0] in {*COMMANDS, "COMMAND"}
