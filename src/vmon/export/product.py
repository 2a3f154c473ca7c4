"""vmon says of itself in every format who it is: name and version.

Reads the metadata of the installed package, once.
"""

from __future__ import annotations

from functools import cache

NAME = "vmon"


@cache
def version() -> str:
    """Of the installed package; 0 where it runs without being installed."""
    from importlib import metadata  # noqa: PLC0415 - 9 ms, for those who write a format that says it

    try:
        return metadata.version(NAME)
    except metadata.PackageNotFoundError:
        return "0"
