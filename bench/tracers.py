"""The probe beside what is run in a guest for the same purpose: strace, auditd, bpftrace write down opens and execs.

The same work in the same guest, a Debian on a disk, everyone in turn within each round and each alone. One vCPU: who
reads inside the guest takes its time from there, and the host, where vmon reads, is beside it. Batches are long, so
that readers who work in bursts are in all of them. How many of the opens were written down is told with the numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.cost import CLOCKS, settle
from bench.guests import Guests
from bench.series import Results
from bench.states import BARE, RECORDED, measure_in
from vmon.core.errors import VmonError
from vmon.lab.disks import debian_image
from vmon.lab.guest import LabGuest
from vmon.monitor.attach import attach
from vmon.monitor.machine import VirtualMachine

PACKAGES = ("auditd", "bpftrace", "strace")
VMON = "vmon"
STRACE = "strace -f -A -o /tmp/log -e trace=open,openat,execve"
BPF = r"""
tracepoint:syscalls:sys_enter_openat { printf("%d %s open %s\n", pid, comm, str(args.filename)); }
tracepoint:syscalls:sys_enter_execve { printf("%d %s exec %s\n", pid, comm, str(args.filename)); }
"""
START_BPF = f"""
mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing
rm -f /tmp/log
bpftrace -o /tmp/log -e '{BPF}' >/tmp/said 2>&1 &
bpf=$!
while kill -0 $bpf && ! grep -qs Attaching /tmp/log; do sleep 0.2; done
sleep 2
kill -0 $bpf || {{ tail -n 1 /tmp/said >&2; exit 1; }}
"""
START_AUDIT = """
mkdir -p /var/log/audit
auditd && auditctl -D && auditctl -b 8192 && auditctl -a always,exit -F arch=b64 -S open,openat,execve
"""
# The kernel's part would stay in every new task for good: a rule keeps it out of them.
STOP_AUDIT = (
    "auditctl -D; auditctl -a never,task; auditctl -e 0; kill $(pidof auditd); rm /var/log/audit/audit.log"
)


@dataclass(frozen=True, slots=True)
class Tracer:
    """Something that runs in the guest and writes down what is opened and executed."""

    name: str
    prefix: str = ""
    start: str = ""
    count: str = "grep -c passwd /tmp/log"
    """Prints how many opens of the work it wrote down."""
    stop: str = "rm -f /tmp/log"


TRACERS = (
    Tracer("strace", prefix=STRACE),
    Tracer("strace --seccomp-bpf", prefix=f"{STRACE} --seccomp-bpf"),
    Tracer(
        "bpftrace",
        start=START_BPF,
        # It writes what is in its buffers when it ends.
        count="kill -INT $(pidof bpftrace); while pidof bpftrace >&2; do sleep 0.2; done; grep -c passwd /tmp/log",
    ),
    Tracer(
        "auditd",
        start=START_AUDIT,
        count="sleep 1; grep -c 'type=PATH.*name=\"/etc/passwd\"' /var/log/audit/audit.log",
        stop=STOP_AUDIT,
    ),
)
WORKS = {"open+close": ("opens", 2000, 200), "fork+exec": ("forks", 60, 6)}
"""Mode of bench/work.c, turns and batch."""
OPENED = "/etc/passwd"
"""By the first of them."""


def measure_tracers(
    results: Results, guests: Guests, kernel: str, *, quick: bool, clocks: list[str] | None = None
) -> None:
    """All series of this file for one kernel."""
    for clock in clocks or CLOCKS:
        counted = clock == "instructions"
        guest = guests.up(
            f"tracers-{clock}", kernel, ram_bytes=1 << 30, root_image=debian_image(PACKAGES), icount=counted
        )
        with attach(guest.name) as vm:
            settle(guest)
            _compare(results, vm, guest, kernel, 1 if quick else 3, counted=counted)
        guests.down(guest.name)


@dataclass(slots=True)
class _Seen:
    """What was measured of one of those who are compared."""

    took: dict[str, list[float]]
    note: str = ""


def _compare(
    results: Results, vm: VirtualMachine, guest: LabGuest, kernel: str, rounds: int, *, counted: bool
) -> None:
    names = (BARE, VMON, *(tracer.name for tracer in TRACERS))
    seen = {name: _Seen({work: [] for work in WORKS}) for name in names}
    for _ in range(rounds):
        for name, state in ((BARE, BARE), (VMON, RECORDED)):
            took, events = measure_in(vm, state, lambda: _work(guest))
            _keep(seen[name], took)
        opens = sum(event.event == "file.open" and event.path == OPENED for event in events)
        seen[VMON].note = _written_down(opens)
        vm.remove_probe()
        for tracer in TRACERS:
            if not seen[tracer.name].note.startswith("failed"):
                _trace(seen[tracer.name], guest, tracer)
    unit, scale = ("instr", 1.0) if counted else ("us", 1e-3)
    for work in WORKS:
        bare = seen[BARE].took[work]
        for name, one in seen.items():
            values = [value * scale for value in one.took[work]]
            results.add(f"{work} beside, {name}", unit, kernel, values, note=one.note)
            times = [value / none for value, none in zip(one.took[work], bare, strict=False)]
            if name != BARE and times:
                results.add(f"{work} beside, {name}, {unit} / bare", "x", kernel, times)


def _keep(seen: _Seen, took: dict[str, float]) -> None:
    for work, value in took.items():
        seen.took[work].append(value)


def _work(guest: LabGuest, prefix: str = "") -> dict[str, float]:
    """Nanoseconds a turn, or instructions, of each kind of work."""
    return {
        name: float(
            guest.run(f"{prefix} /lab/work {mode} {turns} {batch}", timeout_s=600, check=True).text.split()[0]
        )
        for name, (mode, turns, batch) in WORKS.items()
    }


def _written_down(opens: int) -> str:
    _, turns, batch = WORKS["open+close"]
    return f"{100 * opens / (turns + batch):.0f} % of opens written down"


def _trace(seen: _Seen, guest: LabGuest, tracer: Tracer) -> None:
    """Work under one tracer; what goes wrong is its note, and then it is left out."""
    try:
        guest.run(tracer.start or "true", timeout_s=300, check=True)
        took = _work(guest, tracer.prefix)
        written = int(guest.run(tracer.count, timeout_s=120).text)
    except (VmonError, ValueError) as error:
        seen.note = f"failed: {error}"[:200]
    else:
        _keep(seen, took)
        seen.note = _written_down(written)
    finally:
        guest.run(tracer.stop, timeout_s=120)
