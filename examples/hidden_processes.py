"""Hidden-process finder: what runs in a VM and is kept from its own ps, top and ss. Reads alone; changes nothing.

    python examples/hidden_processes.py TARGET [--seconds 600] [--every 10]

Looks once, or again and again for --seconds. Ends with status 1 where something hides.
"""

import argparse
import contextlib
import sys
import time

import vmon
from vmon import printable

KINDS = ("process.hidden", "process.unlisted", "process.pid", "socket.hidden", "socket.nobody")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target")
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--every", type=float, default=10.0)
    wanted = parser.parse_args()
    told: set[tuple[str, str]] = set()
    with vmon.attach(wanted.target) as vm, contextlib.suppress(KeyboardInterrupt):
        deadline = time.monotonic() + wanted.seconds
        while True:
            found = vm.check("processes", "sockets")
            for finding in found:
                if finding.check in KINDS and (finding.check, finding.subject) not in told:
                    told.add((finding.check, finding.subject))
                    print(f"{finding.severity.upper()}: {printable(finding.said)}")
                    for line in finding.evidence:
                        print(f"    {printable(line)}")
                    print(f"    could also be: {finding.could_be or 'nothing that is known'}", flush=True)
            for gap in found.coverage:
                print(f"not seen: {gap.what}: {gap.reason} {printable(gap.detail)}", file=sys.stderr)
            if time.monotonic() + wanted.every > deadline:
                break
            time.sleep(wanted.every)
    print(f"{len(told)} hidden" if told else "nothing hides: the kernel's lists agree", flush=True)
    return int(bool(told))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except vmon.VmonError as error:
        sys.exit(f"{error}\n{error.hint}")
