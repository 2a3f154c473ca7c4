"""`vmon ps` as it is typed: a new Python each time, imports and all."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.caches import own_profile_cache
from bench.series import Results, measure_ms
from vmon.lab.guest import LabGuest

COMMAND_TARGET_MS = 250.0
VMON = Path(sys.executable).parent / "vmon"
IMPORTS = {
    "python -c pass": "pass",
    "import numpy": "import numpy",
    "import click": "import click",
    "import msgspec": "import msgspec",
    "import qemu.qmp": "import qemu.qmp",
    "import vmon": "import vmon",
    "import vmon.cli": "import vmon.cli",
    "import all of `vmon ps`": "import vmon.cli.ps, vmon.transport.qemu, qemu.qmp, asyncio, numpy, rich.table",
}


@functools.cache
def _bytecode_folder() -> str:
    folder = tempfile.mkdtemp(prefix="vmon-bench-pyc-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def command_environment() -> dict[str, str]:
    """As on a machine where vmon is installed: Python keeps its bytecode, whatever this shell says of that.

    The bytecode goes to a folder of our own, so the checkout stays as it is; the first, uncounted round fills it.
    """
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": _bytecode_folder()}


def run(*command: str | Path) -> None:
    """Run to the end; its output goes nowhere. An error is ours."""
    subprocess.run(
        [str(word) for word in command],
        stdout=subprocess.DEVNULL,
        env=command_environment(),
        check=True,
        timeout=120,
    )


def measure_imports(results: Results, *, quick: bool) -> None:
    """What of a command's time is Python's and the libraries'."""
    for name, code in IMPORTS.items():
        values = measure_ms(lambda code=code: run(sys.executable, "-c", code), 3 if quick else 10)
        results.add(name, "ms", "host", values)


def measure_command(results: Results, guest: LabGuest, kernel: str, *, quick: bool) -> None:
    """Warm and cold."""
    rounds = 3 if quick else 10
    with own_profile_cache() as cache:
        values = measure_ms(lambda: run(VMON, "ps", guest.name), rounds)
        results.add("vmon ps, whole command", "ms", kernel, values, COMMAND_TARGET_MS)
        values = measure_ms(lambda: run(VMON, "ps", guest.name, "-o", "json"), rounds)
        results.add("vmon ps -o json, whole command", "ms", kernel, values)
        values = measure_ms(lambda: run(VMON, "ps", guest.name), rounds, before=cache.empty)
        results.add("vmon ps, kernel never met", "ms", kernel, values)
