"""What each call of the programming interface takes, and the mean of all of them, each asked as if nothing was known.

A guest of about a hundred processes, thirty of them with files and sockets of their own. Attributes that are read when
they are first used are asked of a new snapshot each time, so that nobody's answer is another's leftover. What public
name is not measured here is said, so that none is forgotten.
"""

from __future__ import annotations

import gc
import inspect
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import vmon
from bench.guests import Guests
from bench.series import Results, Spans, cpu_ns
from vmon.core.rules import Rule
from vmon.linux.snapshot import Snapshot
from vmon.monitor.machine import VirtualMachine
from vmon.monitor.process import Process
from vmon.monitor.stream import EventStream

KERNEL = "6.1"
CROWD = 30
TARGET_MS = 0.3
SLOWEST = 8
ENOUGH_S = 1.5
RULE = Rule(events=("file.open",), path="/nowhere/at/all")
NOT_CALLS = {
    "VirtualMachine.target": "a value",
    "VirtualMachine.events": "waits for events for ever",
    "VirtualMachine.cgroup_of": "there is no container in this guest",
    "EventStream.follow": "waits for events for ever",
    "Snapshot.of_all": "VirtualMachine.snapshot",
    "Process.all_of": "VirtualMachine.processes",
    "Process.read_memory": "as long as what is read",
    "Process.iter_memory": "as long as what is read",
    "Snapshot.of_pid": "VirtualMachine.process",
    "Snapshot.memory": "a door to what is read",
    "VirtualMachine.identity": "a value",
    "VirtualMachine.is_live": "a value",
    "VirtualMachine.strings": "as long as what is read",
    "VirtualMachine.scan": "needs rules, and takes as long as what is read",
    "VirtualMachine.core": "writes a file",
    "VirtualMachine.isf": "bench bridges",
    "VirtualMachine.write_isf": "bench bridges",
    "VirtualMachine.drgn_program": "another program's",
    **dict.fromkeys(
        (f"Process.{name}" for name in ("send_signal", "kill", "terminate", "suspend", "resume", "wait")),
        "VirtualMachine.signal",
    ),
    "Process.quarantine": "VirtualMachine.quarantine",
    "Process.release": "VirtualMachine.release",
    **dict.fromkeys(
        (f"VirtualMachine.{name}" for name in ("deny", "allow", "log", "ask", "on", "off")),
        "VirtualMachine.add_rules and drop_rules",
    ),
    **dict.fromkeys(
        (f"VirtualMachine.{name}" for name in ("aevents", "run", "hub", "let_go")), "waits, or is a value"
    ),
    **dict.fromkeys((f"VirtualMachine.{name}" for name in ("abilities", "can", "require")), "doctor"),
    "VirtualMachine.acting": "a lock",
    "VirtualMachine.rules_written": "a value",
    "EventStream.batches": "waits for events for ever",
    "EventStream.say": "answers what was asked",
    "EventStream.answer_later": "a mark",
    "EventStream.record": "a word of the probe",
    "EventStream.kernel": "a value",
}
"""Public names that are no calls which return by themselves, with the reason."""
VIEWS = (
    *(
        "modules",
        "dmesg",
        "sysctl",
        "lsm",
        "bpf_programs",
        "bpf_maps",
        "hooks",
        "keys",
        "key_users",
        "timers",
    ),
    *(
        "workqueues",
        "worker_pools",
        "meminfo",
        "cpus",
        "mounts",
        "locks",
        "interfaces",
        "routes",
        "neighbours",
    ),
    *("ports", "cgroups", "containers", "who", "hashed_processes", "registers"),
)
VIEWS_OF_ONE = ("auxv", "stack", "read_exe", "hashed_maps")
CLASSES = (VirtualMachine, EventStream, Process, Snapshot)


@dataclass(frozen=True, slots=True)
class Call:
    """A call; `before` makes what it is asked of, off the clock, and `after` undoes it."""

    name: str
    ask: Callable[[Any], object]
    before: Callable[[], Any] = lambda: None
    after: Callable[[], object] = lambda: None
    apart: bool = False
    """Whether it is counted apart: the guest has to act, or all its code or every guest of the host is looked at."""


def measure_calls(results: Results, guests: Guests, kernel: str, *, quick: bool) -> None:
    """Every call, the slowest by name, and the mean of all."""
    guest = guests.up("calls", kernel)
    guests.start_crowd(guest, CROWD)
    count = 20 if quick else 100
    with vmon.attach(guest.name) as vm:
        pid = next(process.pid for process in vm.processes() if process.name == "crowd-member")
        calls = [*reading(vm, pid), *acting(vm, pid), *connecting(guest.name)]
        took = {call: measure(call, count) for call in calls}
        vm.remove_probe()
        processes = len(vm.processes())
    guests.down(guest.name)
    slowest = sorted(calls, key=lambda call: -statistics.median(took[call]))
    for call in calls if results.stages else slowest[:SLOWEST]:
        results.add(f"call {call.name}", "ms", kernel, took[call], note="apart" if call.apart else "")
    for name, those, target in (
        ("mean of all calls", calls, TARGET_MS),
        # Without a verdict: what is asked for is the mean of all.
        ("mean of all calls but those apart", [call for call in calls if not call.apart], None),
    ):
        typical = statistics.mean(statistics.median(took[call]) for call in those)
        mean = statistics.mean(statistics.mean(took[call]) for call in those)
        cpu = statistics.mean(statistics.median(took[call].cpu) for call in those)
        note = f"{len(those)} calls by medians; by means {mean:.3f}, by CPU time {cpu:.3f}; {processes} processes"
        results.add(name, "ms", kernel, [typical], target, note)
    for missing in sorted(public_names() - {call.name for call in calls} - NOT_CALLS.keys()):
        results.add(f"call {missing}", "ms", kernel, [], note="not measured: bench/calls.py does not know it")


def measure(call: Call, count: int) -> Spans:
    """Milliseconds of each of `count` times, fewer of what is slow; the first is left out."""
    spans = Spans()
    deadline = time.monotonic() + ENOUGH_S
    gc.collect()
    for number in range(count + 1):
        given = call.before()
        cpu_begin, begin = cpu_ns(), time.perf_counter_ns()
        kept = call.ask(given)
        taken, cpu_taken = time.perf_counter_ns() - begin, cpu_ns() - cpu_begin
        del kept
        call.after()
        if number:
            spans.append(taken / 1e6)
            spans.cpu.append(cpu_taken / 1e6)
        if len(spans) >= 5 and time.monotonic() > deadline:
            break
    return spans


def public_names() -> set[str]:
    """What the classes offer, as Class.name."""
    fields = {f"Process.{name}" for name in Process.__struct_fields__ if not name.startswith("_")}
    return fields | {
        f"{kind.__name__}.{name}" for kind in CLASSES for name in dir(kind) if not name.startswith("_")
    }


def reading(vm: VirtualMachine, pid: int) -> Iterator[Call]:
    """Calls that leave the guest alone."""
    for name in ("kernel", "wide_kernel", "ram", "guest"):
        yield Call(f"VirtualMachine.{name}", lambda _, name=name: getattr(vm, name))
    for name in ("snapshot", "processes", "sockets", *VIEWS):
        yield Call(f"VirtualMachine.{name}", lambda _, name=name: getattr(vm, name)())
    for name in VIEWS_OF_ONE:
        yield Call(f"VirtualMachine.{name}", lambda _, name=name: getattr(vm, name)(pid))
    yield Call("VirtualMachine.read_file", lambda _: vm.read_file("/bin/busybox"))
    yield Call("VirtualMachine.check", lambda _: vm.check(), apart=True)
    yield Call("VirtualMachine.process", lambda _: vm.process(pid))
    yield Call("VirtualMachine.descendants", lambda _: vm.descendants(1))
    yield Call("VirtualMachine.doctor", lambda _: vm.doctor(), apart=True)
    for kind, before in ((Process, lambda: vm.process(pid)), (Snapshot, vm.snapshot)):
        for full in sorted(public_names()):
            owner, _, name = full.partition(".")
            if owner == kind.__name__ and full not in NOT_CALLS:
                yield Call(full, _asker(name), before)


def _asker(name: str) -> Callable[[Any], object]:
    """Gets an attribute, and calls it where it is a method; of a snapshot, for its first process in user space."""

    def ask(given: Any) -> object:
        found = getattr(given, name)
        if not callable(found):
            return found
        return found(0) if "row" in inspect.signature(found).parameters else found()

    return ask


def acting(vm: VirtualMachine, pid: int) -> Iterator[Call]:
    """Calls that write to the guest."""
    added: list[int] = []

    def add() -> None:
        added.extend(record.number for record in vm.add_rules([RULE]))

    def drop() -> None:
        if added:
            vm.drop_rules(added.pop())

    def started() -> EventStream:
        stream = vm.event_stream()
        stream.start()
        streams.append(stream)
        return stream

    def stop() -> None:
        while streams:
            streams.pop().stop()

    streams: list[EventStream] = []
    acts = "VirtualMachine."
    yield Call(f"{acts}install_probe", lambda _: vm.install_probe(), vm.remove_probe, apart=True)
    yield Call(f"{acts}remove_probe", lambda _: vm.remove_probe(), vm.install_probe, apart=True)
    yield Call(f"{acts}event_stream", lambda _: vm.event_stream(), vm.install_probe)
    yield Call("EventStream.start", lambda stream: stream.start(), vm.event_stream)
    yield Call("EventStream.take", lambda stream: stream.take(), started, stop)
    yield Call("EventStream.counts", lambda stream: stream.counts(), started, stop)
    yield Call("EventStream.words", lambda stream: stream.words(), started, stop)
    yield Call("EventStream.running", lambda stream: stream.running, started, stop)
    yield Call("EventStream.stop", lambda stream: stream.stop(), started)
    yield Call(f"{acts}check_probe", lambda _: vm.check_probe(), vm.install_probe)
    yield Call(f"{acts}repair_probe", lambda _: vm.repair_probe(), vm.install_probe)
    yield Call(f"{acts}rules_digest", lambda _: vm.rules_digest())
    yield Call(f"{acts}add_rules", lambda _: add(), after=drop)
    yield Call(f"{acts}drop_rules", lambda _: drop(), add)
    yield Call(f"{acts}rules", lambda _: vm.rules(), add, drop)
    yield Call(f"{acts}enforce", lambda _: vm.enforce(on=True))
    yield Call(f"{acts}enforcing", lambda _: vm.enforcing)
    yield Call(f"{acts}quarantine", lambda _: vm.quarantine(pid), after=lambda: vm.release(pid), apart=True)
    yield Call(f"{acts}release", lambda _: vm.release(pid), lambda: vm.quarantine(pid))
    yield Call(f"{acts}signal", lambda _: vm.signal(pid, 18), apart=True)


def connecting(name: str) -> Iterator[Call]:
    """Calls that come before there is a guest to ask."""
    attached: list[VirtualMachine] = []

    def attach() -> None:
        attached.append(vmon.attach(name))

    def close() -> None:
        while attached:
            attached.pop().close()

    yield Call("attach", lambda _: attach(), after=close, apart=True)
    yield Call("VirtualMachine.close", lambda _: close(), attach, apart=True)
    yield Call("find_guests", lambda _: vmon.find_guests(), apart=True)
