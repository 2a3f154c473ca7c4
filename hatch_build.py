"""Builds the probe when the package is built or installed: probe/build.py does it, hatchling calls it here."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ProbeBuildHook(BuildHookInterface[Any]):
    """Writes src/vmon/probe/blob and takes it into the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Before the wheel is put together, editable or not."""
        out = Path(self.root) / "src" / "vmon" / "probe" / "blob"
        runpy.run_path(str(Path(self.root) / "probe" / "build.py"))["build"](out)
        build_data["artifacts"].append("src/vmon/probe/blob/*")
