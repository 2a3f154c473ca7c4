"""`./dev bench`: boots guests of the matrix and prints what vmon costs on them, beside its peers."""

from __future__ import annotations

import argparse
import signal
import sys
import traceback
from collections.abc import Callable

from bench.bridges import measure_bridges
from bench.calls import KERNEL as CALLS_KERNEL
from bench.calls import measure_calls
from bench.check import measure_check
from bench.command import measure_command, measure_imports
from bench.content import measure_content
from bench.cost import CLOCKS, WORKS, measure_cost
from bench.cost import KERNELS as COST_KERNELS
from bench.guests import Guests
from bench.identify import measure_identify
from bench.memory import measure_large_guests, measure_memory
from bench.outputs import measure_outputs
from bench.page import measure_page
from bench.peers import measure_peers
from bench.probe import measure_probe
from bench.processes import measure_processes
from bench.series import Results
from bench.serve import measure_serve
from bench.sigma import measure_sigma
from bench.states import STATES
from bench.top import measure_top
from bench.tracers import measure_tracers
from vmon.core.errors import VmonError
from vmon.lab import matrix

TOPICS = (
    "identify",
    "processes",
    "content",
    "serve",
    "check",
    "command",
    "sigma",
    "memory",
    "calls",
    "top",
    "probe",
    "outputs",
    "bridges",
    "page",
    "cost",
    "peers",
    "tracers",
)
ON_REQUEST = ("tracers",)
"""Left out without --only: an image of their own is made for them, and they are slow."""
QUICK_KERNELS = ("6.1",)
NAMES_OF_WORK = [work.name for work in WORKS]


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument("--kernel", action="append", metavar="SERIES", choices=matrix.names(extra=True))
    parser.add_argument("--only", action="append", metavar="TOPIC", choices=TOPICS, help=", ".join(TOPICS))
    parser.add_argument("--quick", action="store_true", help="one kernel, few rounds")
    cost = parser.add_argument_group(
        "cost, tracers", "what of these is measured; each may be given again, without it is all"
    )
    cost.add_argument(
        "--work", action="append", choices=NAMES_OF_WORK, metavar="WORK", help=", ".join(NAMES_OF_WORK)
    )
    cost.add_argument(
        "--state", action="append", choices=STATES[1:], metavar="STATE", help=", ".join(STATES[1:])
    )
    cost.add_argument("--clock", action="append", choices=CLOCKS, metavar="CLOCK", help=", ".join(CLOCKS))
    parser.add_argument("--no-peers", action="store_true", help="vmon alone")
    parser.add_argument("--stages", action="store_true", help="show where the time goes, too")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    kernels = options.kernel or (QUICK_KERNELS if options.quick else matrix.names())
    topics = set(options.only or TOPICS) - set(() if options.only else ON_REQUEST)
    if options.no_peers:
        topics.discard("peers")
    results = Results(lambda line: print(line, file=sys.stderr, flush=True), stages=options.stages)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    failed = False

    def attempt(topic: str, kernel: str, work: Callable[[], None]) -> None:
        """One topic that breaks is a line of the output, and the others go on."""
        nonlocal failed
        if topic not in topics:
            return
        try:
            work()
        except Exception as error:
            failed = True
            if not isinstance(error, VmonError):
                traceback.print_exc()
            results.add(topic, "", kernel, [], note=f"failed: {type(error).__name__}: {error}"[:300])

    with Guests(results.say) as guests:
        quick = options.quick
        attempt("command", "host", lambda: measure_imports(results, quick=quick))
        attempt("sigma", "host", lambda: measure_sigma(results, quick=quick))
        for kernel in kernels:
            measure_kernel(results, guests, kernel, attempt, quick=quick)
            attempt(
                "peers", kernel, lambda kernel=kernel: measure_peers(results, guests, kernel, quick=quick)
            )
            attempt(
                "bridges", kernel, lambda kernel=kernel: measure_bridges(results, guests, kernel, quick=quick)
            )
            if options.kernel or kernel in COST_KERNELS:
                measure_guest_work(results, guests, kernel, attempt, options)
        one = CALLS_KERNEL if CALLS_KERNEL in kernels else kernels[0]
        attempt("calls", one, lambda: measure_calls(results, guests, one, quick=quick))
        attempt("page", one, lambda: measure_page(results, guests, one, quick=quick))
        large = "6.1" if "6.1" in kernels else kernels[0]
        attempt("memory", large, lambda: measure_large_guests(results, guests, large, quick=quick))
    print(results.as_json() if options.output == "json" else results.as_table())
    return int(failed)


def measure_guest_work(
    results: Results,
    guests: Guests,
    kernel: str,
    attempt: Callable[[str, str, Callable[[], None]], None],
    options: argparse.Namespace,
) -> None:
    """The topics that compare the guest's own work, each in guests of its own."""
    quick, clocks = options.quick, options.clock
    only = {"works": options.work, "states": options.state}
    attempt("cost", kernel, lambda: measure_cost(results, guests, kernel, quick=quick, clocks=clocks, **only))
    attempt("tracers", kernel, lambda: measure_tracers(results, guests, kernel, quick=quick, clocks=clocks))


def measure_kernel(
    results: Results,
    guests: Guests,
    kernel: str,
    attempt: Callable[[str, str, Callable[[], None]], None],
    *,
    quick: bool,
) -> None:
    """The topics that need a plain guest of 512 MB."""

    def with_guest(measure: Callable[..., None], *more: str) -> Callable[[], None]:
        return lambda: measure(results, guests.up("plain", kernel), kernel, *more, quick=quick)

    attempt("identify", kernel, with_guest(measure_identify))
    attempt("command", kernel, with_guest(measure_command))
    attempt("memory", kernel, with_guest(measure_memory, "512M memfd"))
    attempt("processes", kernel, with_guest(measure_processes))
    attempt("check", kernel, with_guest(measure_check))
    attempt("content", kernel, with_guest(measure_content))
    attempt("top", kernel, with_guest(measure_top))
    if kernel in QUICK_KERNELS:
        attempt("serve", kernel, with_guest(measure_serve))
    # Last: what it leaves in the guest is not there when the others are measured.
    attempt("probe", kernel, with_guest(measure_probe))
    attempt("outputs", kernel, with_guest(measure_outputs))
    guests.down(f"bench-plain-{kernel}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
