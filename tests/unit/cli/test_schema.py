from __future__ import annotations

import json

from click.testing import CliRunner

from vmon.cli.schema import schema
from vmon.export.schemas import TYPES


def test_each_is_printed() -> None:
    for name in TYPES:
        done = CliRunner().invoke(schema, [name])
        assert json.loads(done.output)["$id"] == f"urn:vmon:schema:{name}"
    assert all(name in CliRunner().invoke(schema, []).output for name in TYPES)
    assert CliRunner().invoke(schema, ["x"]).exit_code == 2
