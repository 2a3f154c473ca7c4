"""Where vmon keeps what: one folder for what can be made again, one for what lives with this boot.

Pure: works out names from the environment, creates nothing.
"""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Kernels, root file systems, kernel profiles: deletable at any time. VMON_CACHE_DIR overrides."""
    own = os.environ.get("VMON_CACHE_DIR")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "vmon"


def run_folder() -> Path:
    """Sockets and state of running lab guests; short, for a socket's path has 107 bytes. VMON_RUN_DIR overrides."""
    own = os.environ.get("VMON_RUN_DIR")
    if own:
        return Path(own)
    if os.geteuid() == 0:
        return Path("/run/vmon")
    base = os.environ.get("XDG_RUNTIME_DIR")
    return Path(base) / "vmon" if base else Path(f"/tmp/vmon-{os.geteuid()}")
