from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.house.sources import ROOT
from tests.unit.policy.test_file import GOOD
from vmon.core.errors import PolicyError
from vmon.policy import ready
from vmon.policy.file import read_policy
from vmon.policy.schema import schema, written

VALIDATOR = jsonschema.Draft202012Validator(schema())


def test_the_file_is_as_it_would_be_written() -> None:
    assert ready.schema_text() == written(), "python -m vmon.policy.schema writes it anew"
    jsonschema.Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        *map(ready.text, ready.names()),
        *(path.read_text() for path in Path(ROOT, "examples").glob("*.yaml")),
    ],
)
def test_what_is_shipped_is_valid(text: str) -> None:
    VALIDATOR.validate(yaml.safe_load(text))
    assert read_policy(text, "p")


@pytest.mark.parametrize(
    "rule",
    [
        {"event": "file.open"},
        {"do": "log"},
        {"event": "file.frob", "do": "log"},
        {"event": "file.open", "do": "frob"},
        {"event": "file.open", "do": "log", "path": "/a"},
        {"event": "file.open", "do": "log", "file.pat": "/a"},
        {"event": "file.open", "do": "log", "file.path|begins": "/a"},
        {"event": "file.open", "do": "log", "file.path|gt": 5},
        {"event": "file.open", "do": "log", "file.path": 1.5},
        {"event": "file.open", "do": "log", "file.path": []},
        {"event": "file.open", "do": "log", "file.path|exists": "yes"},
        {"event": "file.open", "do": "log", "vmon.write": 1},
        {"event": "file.open", "do": "log", "unless": {"pth": "/a"}},
        {"event": "file.open", "do": "log", "any": []},
        {"event": "file.open", "do": "log", "rate": "often"},
        {"event": "file.open", "do": "log", "timeout": 5},
        {"event": "file.open", "do": "log", "attack": "T99"},
        {"event": "file.open", "do": "log", "severity": "bad"},
    ],
)
def test_what_the_parser_refuses_the_schema_refuses(rule: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid({"rules": [rule]})
    with pytest.raises(PolicyError):
        read_policy(yaml.safe_dump({"rules": [rule]}), "p")
