"""Ready sets are policies that come with vmon: for a Linux server, for a sandbox of an AI agent.

Reads files of the package alone.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

from vmon.core.errors import UsageError
from vmon.policy.file import Policy, read_policy
from vmon.policy.lines import nearest

FOLDER = "sets"
SCHEMA = "policy.schema.json"


@cache
def names() -> tuple[str, ...]:
    """Of the ready sets."""
    files = (resources.files("vmon.policy") / FOLDER).iterdir()
    return tuple(sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml")))


def text(name: str) -> str:
    """The file of a ready set, for people to begin with. UsageError for a name that is none."""
    if name not in names():
        hint = nearest(name, names()) or f"there are {', '.join(names())}"
        raise UsageError(f"there is no ready set {name!r}", hint=hint)
    return (resources.files("vmon.policy") / FOLDER / f"{name}.yaml").read_text(encoding="utf-8")


def read(name: str) -> Policy:
    """A ready set. UsageError for a name that is none."""
    return read_policy(text(name), f"{name}.yaml")


def schema_text() -> str:
    """The JSON schema of policies."""
    return (resources.files("vmon.policy") / SCHEMA).read_text(encoding="utf-8")
