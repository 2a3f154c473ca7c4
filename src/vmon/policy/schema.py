"""The JSON schema of policies, made of the types that the parser reads by; it lies beside this file for editors.

Pure. `python -m vmon.policy.schema` writes the file anew.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, get_args

import msgspec

from vmon.policy.condition import Modifier
from vmon.policy.fields import EVERY, FIELDS, WHO, Field
from vmon.policy.matches import MODIFIERS, NUMBERS
from vmon.policy.ready import SCHEMA
from vmon.policy.words import LISTS, FileWords, RuleWords

DRAFT = "https://json-schema.org/draft/2020-12/schema"
ANY_ORDER = r"(\|all)?"
Schema = dict[str, Any]


def schema() -> Schema:
    """The whole schema."""
    rule = _keys(RuleWords)
    rule["event"] = _one_or_list({"enum": list(EVERY)}, rule["event"].get("description", ""))
    alternatives = {"$ref": "#/$defs/fields"}
    return {
        "$schema": DRAFT,
        "title": "A policy of vmon",
        "type": "object",
        "properties": {
            **_keys(FileWords),
            "scope": {
                "description": "every rule is about these targets and processes alone",
                "type": "object",
                "properties": {"vm": rule["vm"]},
                "patternProperties": _patterns({name: FIELDS[name] for name in FIELDS if name in WHO}),
                "additionalProperties": False,
            },
            "rules": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/rule"}},
        },
        "required": ["rules"],
        "additionalProperties": False,
        "$defs": {
            "rule": {
                "type": "object",
                "properties": {
                    **rule,
                    "any": _one_or_list(alternatives, "one of these fits at least"),
                    "unless": _one_or_list(alternatives, "none of these fits"),
                },
                "patternProperties": _patterns(FIELDS),
                "required": ["event", "do"],
                "additionalProperties": False,
            },
            "fields": {
                "type": "object",
                "minProperties": 1,
                "patternProperties": _patterns(FIELDS),
                "additionalProperties": False,
            },
        },
    }


def _keys(of: type[msgspec.Struct]) -> Schema:
    properties: Schema = msgspec.json.schema(of)["$defs"][of.__name__]["properties"]
    for name, found in properties.items():
        found.pop("default", None)
        if name in LISTS:
            properties[name] = _one_or_list(found["items"], found.get("description", ""))
    return properties


def _one_or_list(item: Schema, said: str) -> Schema:
    found: Schema = {"anyOf": [item, {"type": "array", "items": item, "minItems": 1}]}
    return {"description": said, **found} if said else found


def _patterns(fields: dict[str, Field]) -> Schema:
    """A pattern a field and kind of value: the field by itself, with a modifier, and whether it is there."""
    found: Schema = {}
    for name, field in fields.items():
        plain = name.replace(".", r"\.")
        words = [word for word in MODIFIERS if word != "exists" and _takes(field, word)]
        choice = f"(\\|({'|'.join(words)}))?" if words else ""
        found[f"^{plain}{choice}{ANY_ORDER}$"] = {"description": field.means, **_value(field)}
        found[f"^{plain}\\|exists$"] = {"description": "whether the event has it", "type": "boolean"}
    return found


def _takes(field: Field, word: str) -> bool:
    if field.kind in ("flag", "key"):
        return False
    if word in NUMBERS:
        return field.kind == "number"
    return word != "cidr" or field.kind == "address"


def _value(field: Field) -> Schema:
    if field.kind == "flag":
        return {"type": "boolean"}
    item: Schema = {"type": ["string", "integer"], "minLength": 1}
    return {"anyOf": [item, {"type": "array", "items": item, "minItems": 1}]}


def written() -> str:
    """As the file has it."""
    return json.dumps(schema(), indent=2) + "\n"


if __name__ == "__main__":
    assert set(MODIFIERS) < set(get_args(Modifier))
    Path(__file__).with_name(SCHEMA).write_text(written())
    sys.stdout.write(f"wrote {SCHEMA}\n")
