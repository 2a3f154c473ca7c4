"""The command line: thin, one file a command. What a command can do, a program can do through `vmon.attach`."""

from __future__ import annotations


def main() -> None:
    """Entry point of `vmon`."""
