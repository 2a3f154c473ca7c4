"""A one-screen top of a VM, from outside it: nothing is installed in the guest, and nothing of it is changed.

python examples/top.py TARGET [--every 2] [--seconds 600]
"""

import argparse
import contextlib
import shutil
import sys
import time

import vmon
from vmon import printable


def screen(vm: vmon.VirtualMachine, percents: dict[str, float], processes: list[vmon.Process]) -> list[str]:
    width, height = shutil.get_terminal_size((100, 30))
    guest, used = vm.guest, sum(process.resident_size or 0 for process in processes) >> 20
    states = "".join(process.state for process in processes)
    lines = [
        f"{printable(guest.hostname)} ({vm.target}): Linux {guest.release}, {guest.cpus_online} CPUs",
        f"{len(processes)} processes, {states.count('R')} run, {states.count('Z')} zombies; "
        f"{used:,} of {(guest.memory_total or 0) >> 20:,} MiB in use by processes",
        "",
        f"{'PID':>7} {'UID':>5} S {'CPU%':>6} {'RSS MiB':>8} {'THR':>4} COMMAND",
    ]
    for process in sorted(processes, key=lambda one: -percents.get(one.key, 0.0)):
        rss = (process.resident_size or 0) / (1 << 20)
        command = " ".join(process.cmdline or []) or f"[{process.name}]"
        who = f"{process.pid:>7} {process.uid!s:>5} {process.state} {percents.get(process.key, 0.0):6.1f}"
        lines.append(f"{who} {rss:8.1f} {process.threads_count:>4} {printable(command)}")
    return [line[: width - 1] for line in lines[: height - 1]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target")
    parser.add_argument("--every", type=float, default=2.0)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    wanted = parser.parse_args()
    with vmon.attach(wanted.target) as vm, contextlib.suppress(KeyboardInterrupt):
        begin = at = time.monotonic()
        before: dict[str, float] = {}
        while at <= begin + wanted.seconds:
            processes, last, at = vm.processes(), at, time.monotonic()
            now = {process.key: sum(process.cpu_times()) for process in processes}
            took = max(at - last, 1e-9)
            percents = {key: 100 * (used - before[key]) / took for key, used in now.items() if key in before}
            before, clear = now, "\x1b[H\x1b[2J" if sys.stdout.isatty() else ""
            print(clear + "\n".join(screen(vm, percents, processes)), flush=True)
            time.sleep(wanted.every)


if __name__ == "__main__":
    try:
        main()
    except vmon.VmonError as error:
        sys.exit(f"{error}\n{error.hint}")
