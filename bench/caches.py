"""An empty profile cache is a folder of its own: kernels and root file systems stay where they are."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class ProfileCache:
    """A cache folder for profiles alone, which can be emptied."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def empty(self) -> None:
        """Forget every kernel."""
        shutil.rmtree(self.folder / "profiles", ignore_errors=True)


@contextmanager
def own_profile_cache() -> Iterator[ProfileCache]:
    """While inside, this process and its children keep profiles in a new folder. Boot no guests meanwhile."""
    before = os.environ.get("VMON_CACHE_DIR")
    with tempfile.TemporaryDirectory(prefix="vmon-bench-cache-") as folder:
        os.environ["VMON_CACHE_DIR"] = folder
        try:
            yield ProfileCache(Path(folder))
        finally:
            if before is None:
                del os.environ["VMON_CACHE_DIR"]
            else:
                os.environ["VMON_CACHE_DIR"] = before
