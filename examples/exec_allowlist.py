"""Exec allow-list by sha256: a program runs only if the hash of its file is on a list, whatever it is called.

    python examples/exec_allowlist.py TARGET --learn >allowed.txt      # the hashes of all that runs now
    python examples/exec_allowlist.py TARGET allowed.txt [--observe] [--seconds 600]

Each exec waits while its file is hashed out of the guest's page cache. What is not wholly there can't be hashed: it is
refused, and that is said. Where this program ends, so does the list.
"""

import argparse
import sys
from pathlib import Path

import vmon
from vmon import printable


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target")
    parser.add_argument(
        "allowed", nargs="?", type=Path, help="a file of hashes, one a line; what follows is a note"
    )
    parser.add_argument("--learn", action="store_true", help="print the hashes of all that runs")
    parser.add_argument("--observe", action="store_true", help="refuse nothing")
    parser.add_argument("--seconds", type=float)
    wanted = parser.parse_args()
    with vmon.attach(wanted.target) as vm:
        if wanted.learn or wanted.allowed is None:
            found = {item.sha256: item.exe for item in vm.hashed_processes() if item.sha256}
            for digest, exe in sorted(found.items()):
                print(digest, printable(exe or ""))
            return
        lines = wanted.allowed.read_text().splitlines()
        allowed = {line.split()[0] for line in lines if line.strip()}

        @vm.on("process.exec", timeout_ms=10_000, errno="EACCES", workers=4, force=True)
        def judge(event: vmon.Event) -> vmon.Decision:
            try:
                digest = vm.read_file(event.path or "").sha256().sha256
                why = "not on the list" if digest else "not wholly in memory, so it can't be hashed"
            except vmon.VmonError as error:
                digest, why = None, str(error)
            if digest in allowed:
                return vmon.ALLOW
            who = f"{printable(event.path or '?')} by {event.pid} {printable(event.name)}"
            print(f"{'WOULD REFUSE' if wanted.observe else 'REFUSED'} {who}: {why} ({digest})", flush=True)
            return vmon.ALLOW if wanted.observe else vmon.DENY

        print(f"{len(allowed)} programs may run in {wanted.target}", flush=True)
        vm.run(wanted.seconds)


if __name__ == "__main__":
    try:
        main()
    except vmon.VmonError as error:
        sys.exit(f"{error}\n{error.hint}")
