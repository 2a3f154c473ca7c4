"""Formats by their names: which module encodes which.

Each is imported when it is asked for.
"""

from __future__ import annotations

import importlib

from vmon.core.errors import UsageError
from vmon.export.syslog import Encode

FORMATS = {
    "jsonl": "vmon's own JSON lines; `vmon schema` prints their schemas",
    "ecs": "documents of the Elastic Common Schema 8.17",
    "ocsf": "events of OCSF 1.5.0",
    "falco": "the shape of Falco's JSON output",
    "cef": "Common Event Format",
    "syslog": "RFC 5424 with structured data",
}
"""What each is."""


def encoder(name: str) -> Encode:
    """What encodes a record in this format; UsageError where there is none of that name."""
    if name not in FORMATS:
        raise UsageError(f"there is no format {name!r}", hint=f"the formats are {', '.join(FORMATS)}")
    encode: Encode = importlib.import_module(f"vmon.export.{name}").encode
    return encode
