"""Crypto-miner watch: who keeps a CPU busy and talks to a mining pool, or says on its command line that it mines.

    python examples/miner_watch.py TARGET [--cpu 50] [--every 5] [--seconds 600]

Reads alone; changes nothing. Each is told once, with the reasons; two of the three are enough, one is not.
"""

import argparse
import contextlib
import re
import sys
import time

import vmon
from vmon import printable

PORTS = {3333, 3334, 4444, 5555, 7777, 8333, 9999, 10128, 10300, 14433, 14444, 20128, 45560, 45700}
WORDS = re.compile(r"stratum\+(tcp|ssl|tls)://|xmrig|minerd|cpuminer|--donate-level|--coin\b|randomx", re.I)


def reasons(process: vmon.Process, percent: float, busy: float) -> list[str]:
    found = [f"{percent:.0f} % of a CPU"] if percent >= busy else []
    line = " ".join(process.cmdline or [process.name])
    if match := WORDS.search(line):
        found.append(f"says {match[0]!r}: {line[:100]}")
    pools = [socket for socket in process.net_connections() if socket.remote_port in PORTS]
    return found + [f"is connected to {pool.remote_address}:{pool.remote_port}" for pool in pools[:1]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target")
    parser.add_argument("--cpu", type=float, default=50.0, help="percent of one CPU that is busy")
    parser.add_argument("--every", type=float, default=5.0)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    wanted = parser.parse_args()
    told: set[str] = set()
    with vmon.attach(wanted.target) as vm, contextlib.suppress(KeyboardInterrupt):
        begin = at = time.monotonic()
        before = {process.key: sum(process.cpu_times()) for process in vm.processes()}
        while at < begin + wanted.seconds:
            time.sleep(wanted.every)
            processes, last, at = vm.processes(), at, time.monotonic()
            now = {process.key: sum(process.cpu_times()) for process in processes}
            for process in processes:
                percent = 100 * (now[process.key] - before.get(process.key, now[process.key])) / (at - last)
                found = reasons(process, percent, wanted.cpu)
                if len(found) > 1 and process.key not in told:
                    told.add(process.key)
                    who = f"{process.pid} {printable(process.name)}"
                    print(f"MINER? {who}: {printable('; '.join(found))}", flush=True)
            before = now


if __name__ == "__main__":
    try:
        main()
    except vmon.VmonError as error:
        sys.exit(f"{error}\n{error.hint}")
