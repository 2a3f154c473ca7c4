"""Ransomware guard: a process that writes and renames many files in a short time is suspended, and it is said why.

    python examples/ransomware_guard.py TARGET [--files 30] [--within 5] [--seconds 600]

A script's work is done by its children: what does a file or two counts for its parent as well. What is suspended waits
for a person: `vmon kill TARGET PID`, or `vmon kill TARGET PID --signal CONT` to let it go on.
"""

import argparse
import contextlib
import sys
from collections import defaultdict, deque

import vmon
from vmon import WRITING, printable

QUIET = ("/dev/", "/proc/", "/sys/", "/run/", "/var/log/")


def suspend(vm: vmon.VirtualMachine, pid: int, why: str) -> None:
    with contextlib.suppress(vmon.NoSuchProcess):
        process = vm.process(pid)
        who = f"{pid} {printable(process.name)} {printable(process.exe or '')}"
        print(f"SUSPENDED {who}: {process.suspend().outcome}\n    {printable(why)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target")
    parser.add_argument("--files", type=int, default=30)
    parser.add_argument("--within", type=float, default=5.0, help="seconds")
    parser.add_argument("--seconds", type=float)
    wanted = parser.parse_args()
    recent: dict[int, deque[tuple[int, str, str]]] = defaultdict(deque)
    with vmon.attach(wanted.target, needs=("probe",)) as vm, contextlib.suppress(KeyboardInterrupt):
        events = vm.events("file.open", "file.rename", "file.unlink", timeout_s=wanted.seconds)
        print(f"watching {wanted.target}", flush=True)
        for event in events:
            kind, path = event.event, event.path or ""
            if path.startswith(QUIET) or (kind == "file.open" and not (event.flags or 0) & WRITING):
                continue
            for pid in (event.pid, event.ppid):
                seen = recent[pid]
                seen.append((event.time_ns, kind, path))
                while event.time_ns - seen[0][0] > wanted.within * 1e9:
                    seen.popleft()
                files = len({name for _, _, name in seen})
                if files >= wanted.files and pid > 1:
                    seen.clear()
                    suspend(vm, pid, f"{files} files in {wanted.within:g} s, the last {kind} of {path}")
                if files > 2:
                    break  # it does much itself: that is not its parent's work


if __name__ == "__main__":
    try:
        main()
    except vmon.VmonError as error:
        sys.exit(f"{error}\n{error.hint}")
