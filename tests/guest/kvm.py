"""Runs the guest tests against guests under KVM: this machine's where it works, else a stock one in the emulator.

    python -m tests.guest.kvm [--all] [ARGUMENTS OF PYTEST]

Without --all, the part marked `smoke`. The exit status is pytest's; the emulated host is ended whatever happens.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NoReturn

from tests.guest.conftest import OVERLAY_VARIABLE, build_overlay
from vmon.core.errors import TargetGone, VmonError
from vmon.lab import accel, matrix
from vmon.lab.host.machine import NAME, RUN_IN_HOST, KvmHost
from vmon.lab.kernels import find_kernel

CHECKOUT = Path(__file__).parents[2]
PARALLEL = ("-n", "2", "--dist", "loadfile")
"""Not in the emulated host: its guests have all of this machine's CPUs already."""
NO_TESTS = 5
"""Exit status of pytest."""
ATTEMPTS = 2
CONSOLE_LINES = 40
LONGEST_S = 1200
"""Of a run in an emulated host, which takes 3 to 5 minutes: a guest in it may stand still for ever."""
TIMED_OUT = 124
"""Exit status of timeout(1)."""


def main(arguments: list[str]) -> int:
    everything = "--all" in arguments
    rest = [word for word in arguments if word != "--all"]
    places = [word for word in rest if word.startswith("tests/")]
    options = ["-p", "no:cacheprovider", *(word for word in rest if word not in places)]
    options += [] if everything else ["-m", "smoke"]
    # Kernels come from the mirror now: the emulated host has no network.
    for series in matrix.names(extra=everything):
        find_kernel(series)
    if accel.choose("auto") == "kvm":
        say("the guests run under this machine's KVM")
        environment = {**os.environ, accel.VARIABLE: "kvm"}
        pytest = [sys.executable, "-m", "pytest", *PARALLEL, *options, *(places or ["tests/guest"])]
        return subprocess.run(pytest, cwd=CHECKOUT, env=environment, check=False).returncode
    say("the guests run under a stock KVM in an emulated host, some ten times slower than on hardware")
    if everything and not places:
        # A host a file: what an emulated one has been through, or that it died, is nothing to the next file.
        files = sorted(Path(__file__).parent.glob("test_*.py"))
        parts = [[str(file.relative_to(CHECKOUT))] for file in files]
    else:
        parts = [places or ["tests/guest"]]
    statuses = [run_in_emulated_host([*options, *part]) for part in parts]
    failed = [status for status in statuses if status not in (0, NO_TESTS)]
    return failed[0] if failed else min(statuses)


def run_in_emulated_host(pytest: list[str]) -> int:
    """Boot a host for it, and once more if the host dies: its CPU is emulated with flaws that are not vmon's."""
    for attempt in range(ATTEMPTS):
        try:
            return run_in_one_host(pytest)
        except TargetGone as error:
            say(f"{error.message}, attempt {attempt + 1} of {ATTEMPTS}")
    return TargetGone.exit_code


def run_in_one_host(pytest: list[str]) -> int:
    # A run folder of its own: a host that is up already belongs to somebody who works with it.
    run_folder = tempfile.mkdtemp(prefix="vmon-kvm-", dir="/tmp")
    os.environ["VMON_RUN_DIR"] = run_folder
    start = time.monotonic()
    try:
        with KvmHost.up() as host:
            say(f"{NAME} is up after {time.monotonic() - start:.0f} s")
            build_overlay(host.guest.folder / "overlay")
            environment = f"{OVERLAY_VARIABLE}={RUN_IN_HOST}/overlay"
            try:
                bounded = f"timeout --kill-after=30 {LONGEST_S}"
                status = host.run(f"{environment} {bounded} python3 -m pytest {shlex.join(pytest)}")
                if status == TIMED_OUT:
                    raise TargetGone(f"the tests in {NAME} did not end in {LONGEST_S} s")
            except TargetGone:
                print("\n".join(host.guest.console.splitlines()[-CONSOLE_LINES:]), file=sys.stderr)
                raise
    finally:
        shutil.rmtree(run_folder, ignore_errors=True)
    say(f"all of it took {time.monotonic() - start:.0f} s")
    return status


def say(what: str) -> None:
    print(f"kvm: {what}", file=sys.stderr, flush=True)


def end(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    try:
        sys.exit(main(sys.argv[1:]))
    except VmonError as error:
        say(error.message + (f" ({error.hint})" if error.hint else ""))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
