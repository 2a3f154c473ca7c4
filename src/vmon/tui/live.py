"""A live guest as the source of a screen: frames by reading alone, acts and events only when they are asked for.

Reads through a VirtualMachine, and attaches again when the guest went away and came back. A hostile guest can lie in
every text and number, and can make itself unreadable, which is said. Nothing is written to it but by `act` and
`start_events`; a probe that these put in is taken out at the end, unless rules are in force.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable

from vmon.core.coverage import said
from vmon.core.errors import GuestDataError, NoSuchProcess, NotSupported, TargetGone, VmonError
from vmon.core.events import Event
from vmon.core.text import guest_text
from vmon.linux.cgroup import container_id
from vmon.linux.snapshot import Snapshot
from vmon.monitor.machine import VirtualMachine
from vmon.monitor.process import Process
from vmon.monitor.stream import EventStream
from vmon.tui import pages
from vmon.tui.source import Frame, Page, Row, Subject, Verb

SIGNALS = {
    "kill": signal.SIGKILL,
    "terminate": signal.SIGTERM,
    "suspend": signal.SIGSTOP,
    "resume": signal.SIGCONT,
}
CHECK_S = 1.0
"""So often it is asked whether the probe is as it was written, and what was lost."""
NAMED_S = 10.0
"""So often it is asked how the guest and its users are called: a guest that boots learns it late."""
MAX_USERS = 10_000
MAX_PASSWD_BYTES = 1 << 18


class LiveSource:
    """One guest, whoever runs under its target. Used by one thread at a time."""

    def __init__(self, attach: Callable[[], VirtualMachine]) -> None:
        """Attaches at once, so that what is wrong is said before there is a screen."""
        self._attach = attach
        self._vm: VirtualMachine | None = attach()
        self.target = self._vm.target
        self._attached = 1
        self._boot = ""
        self._hostname = self._release = ""
        self._named_until = 0.0
        self._users: dict[int, str] = {}
        self._stream: EventStream | None = None
        self._stream_boot = ""
        self._installed_in = ""
        """The boot that a probe was put into by this screen."""
        self._quarantined = False
        self._look_at = 0.0
        self._lost: dict[str, int] = {}
        self._tampered = False

    @property
    def _machine(self) -> VirtualMachine:
        if self._vm is None:
            self._vm = self._attach()
            self._attached += 1
        return self._vm

    def _boot_of(self, vm: VirtualMachine) -> str:
        return f"{self._attached}.{vm.reboots}"

    def frame(self) -> Frame:
        """All processes, the load and the memory: 5 to 20 ms for 500 processes."""
        try:
            return self._frame(self._machine)
        except TargetGone:
            self._let_go()
            raise

    def _let_go(self) -> None:
        vm, self._vm, self._stream = self._vm, None, None
        if vm is not None:
            with contextlib.suppress(VmonError, OSError):
                vm.close()

    def _frame(self, vm: VirtualMachine) -> Frame:
        snapshot = vm.snapshot()
        if self._boot_of(vm) != self._boot or time.monotonic() >= self._named_until:
            guest = vm.guest
            self._hostname, self._release = guest.hostname, guest.release
            self._users = read_users(vm)
            self._boot = self._boot_of(vm)
            self._named_until = time.monotonic() + NAMED_S
        missing: list[str] = []
        rows = rows_of(snapshot)
        missing += [said(gap) for gap in snapshot.coverage]
        load = vm.load()
        missing += [said(gap) for gap in load.coverage]
        total = used = None
        try:
            memory = vm.meminfo()
            sizes = {record.name: record.size for record in memory}
            total, free = sizes.get("MemTotal"), sizes.get("MemAvailable")
            used = total - free if total is not None and free is not None else None
            missing += [said(gap) for gap in memory.coverage if gap.what in ("MemTotal", "MemAvailable")]
        except GuestDataError as error:
            missing.append(f"memory: {error.message}")
        return Frame(
            target=self.target,
            hostname=self._hostname,
            release=self._release,
            boot=self._boot,
            host_s=time.monotonic(),
            load=load[0],
            memory_total=total,
            memory_used=used,
            users=self._users,
            rows=rows,
            missing=missing,
        )

    def page(self, subject: Subject, row: Row | None) -> Page:
        """Milliseconds; a check takes half a second, the first stack 0.2 s."""
        vm = self._machine
        if subject == "check":
            found = vm.check()
            return pages.findings(found, found.coverage)
        if subject == "rules":
            return _rules(vm)
        if row is None:
            return Page(header=("",), rows=(), nothing="no process is selected")
        return PAGES[subject](vm, self._process(row))

    def _process(self, row: Row) -> Process:
        process = self._machine.process(row.pid)
        if process.key != row.key:
            raise NoSuchProcess(f"process {row.pid} has ended; its pid is another's by now")
        return process

    @property
    def probe_is_in(self) -> bool:
        """Whether this screen has put it in, in this boot, or has found it there."""
        return self._vm is not None and self._installed_in.startswith(self._boot_of(self._vm))

    def _put_in(self) -> str:
        vm = self._machine
        if self.probe_is_in:
            return "the probe is in the guest"
        put_in = vm.install_probe()
        self._installed_in = self._boot_of(vm) + ("" if put_in.installed else " found")
        if not put_in.installed:
            return "the probe was in the guest already"
        return (
            f"probe: {put_in.sites} instructions changed, the guest stood still for {put_in.paused_ms:.1f} ms"
        )

    def act(self, verb: Verb, row: Row) -> str:
        """Some milliseconds. UsageError for init and threads of the kernel, which no screen forces."""
        self._process(row)
        vm = self._machine
        if verb == "release":
            vm.release(row.pid, key=row.key)
            return f"{row.name} ({row.pid}) is free"
        self._put_in()
        if verb == "quarantine":
            rules = vm.quarantine(row.pid, key=row.key)
            self._quarantined = True
            return f"{row.name} ({row.pid}) is in quarantine: {len(rules)} rules, which stay when this screen ends"
        act = vm.signal(row.pid, SIGNALS[verb], key=row.key)
        return f"{act.name} ({act.pid}): {SIGNALS[verb].name} {act.outcome}, {act.took_ms:.1f} ms"

    @property
    def following(self) -> bool:
        """Whether events are followed."""
        return self._stream is not None

    def start_events(self) -> str:
        """The guest stands still for some milliseconds. TargetBusy where another vmon takes its events."""
        how = self._put_in()
        vm = self._machine
        stream = vm.event_stream()
        stream.start()
        self._stream, self._stream_boot, self._lost = stream, self._boot_of(vm), {}
        self._look_at, self._tampered = 0.0, False
        self._lost = {count.event: count.lost for count in stream.counts()}
        return how

    def take_events(self) -> tuple[list[Event], list[str]]:
        """What the ring holds, at most a megabyte; a look at the probe once a second."""
        vm, stream = self._vm, self._stream
        if vm is None or stream is None:
            return [], []
        if self._boot_of(vm) != self._stream_boot:
            self._stream = None
            return [], ["the guest rebooted: the probe is gone with the old kernel"]
        try:
            found = stream.take()
            told: list[str] = []
            if time.monotonic() >= self._look_at:
                self._look_at = time.monotonic() + CHECK_S
                told = self._look(vm, stream)
        except VmonError as error:
            if not isinstance(error, GuestDataError):
                self._stream = None
            return [], [f"events can't be read: {error.message}"]
        return found, told

    def _look(self, vm: VirtualMachine, stream: EventStream) -> list[str]:
        told = []
        for count in stream.counts():
            new = count.lost - self._lost.get(count.event, 0)
            self._lost[count.event] = count.lost
            if new > 0:
                told.append(f"lost: {new:,} {count.event}: the ring was full")
        check = vm.check_probe()
        if check.intact is self._tampered:
            self._tampered = not check.intact
            differences = "; ".join(difference.said for difference in check.differences[:3])
            told.append(
                f"the probe was changed: {differences}"
                if self._tampered
                else "the probe is as it was written again"
            )
        return told

    def close(self) -> str:
        """Some 20 ms where a probe is taken out."""
        vm = self._vm
        if vm is None:
            return ""
        said_at_end = ""
        try:
            if self._stream is not None:
                self._stream.stop()
            if self._installed_in == self._boot_of(vm):
                said_at_end = take_out(vm)
            elif self._quarantined:
                said_at_end = "the rules of the quarantine stay in force (vmon rules, vmon release)"
        except VmonError as error:
            said_at_end = f"probe: {error.message}"
        finally:
            self._let_go()
        return said_at_end


def _rules(vm: VirtualMachine) -> Page:
    try:
        return pages.rules(vm.rules(), enforcing=vm.enforcing)
    except NotSupported as error:
        return Page(header=("RULE",), rows=(), nothing=error.message)


def _stack(vm: VirtualMachine, process: Process) -> Page:
    found = vm.stack(process.pid)
    return pages.stack(found, found.coverage)


def _env(_: VirtualMachine, process: Process) -> Page:
    found = process.environ()
    return pages.environment(found, found.coverage if found is not None else ())


def _files(_: VirtualMachine, process: Process) -> Page:
    found = process.files()
    return pages.files(found, found.coverage)


def _sockets(_: VirtualMachine, process: Process) -> Page:
    found = process.sockets()
    return pages.sockets(found, found.coverage)


def _maps(_: VirtualMachine, process: Process) -> Page:
    found = process.maps()
    return pages.maps(found, found.coverage)


def _threads(_: VirtualMachine, process: Process) -> Page:
    found = process.threads()
    return pages.threads(found, found.coverage)


PAGES: dict[Subject, Callable[[VirtualMachine, Process], Page]] = {
    "files": _files,
    "sockets": _sockets,
    "maps": _maps,
    "threads": _threads,
    "stack": _stack,
    "env": _env,
}
"""Those about one process."""


def take_out(vm: VirtualMachine) -> str:
    """Take the probe out, unless rules are in force."""
    try:
        count = len(vm.rules())
    except NotSupported:
        return ""  # it is out already
    if count:
        return f"probe: left in the guest, where {count} rules are in force (vmon rules, vmon remove)"
    report = vm.remove_probe()
    return f"probe: taken out in {(report.paused_ns + report.held_ns) / 1e6:.1f} ms"


def rows_of(snapshot: Snapshot) -> list[Row]:
    """Every process of a snapshot."""
    containers: dict[str | None, str | None] = {}
    rows = []
    columns = zip(
        snapshot.pid, snapshot.start_boottime_ns, snapshot.parent_key, snapshot.name, snapshot.state, snapshot.uid,
        snapshot.threads, snapshot.kernel_thread, snapshot.cpu_times, snapshot.resident_size, snapshot.cmdline,
        snapshot.cgroup_path, strict=True,
    )  # fmt: skip
    for pid, start, parent, raw, state, uid, threads, kernel, (user, system), size, line, cgroup in columns:
        if cgroup not in containers:
            containers[cgroup] = container_id(cgroup)
        name = guest_text(raw)
        rows.append(
            Row(
                key=f"{pid}@{start}",
                pid=pid,
                parent=parent,
                name=name,
                state=state,
                uid=uid,
                threads=threads,
                kernel_thread=kernel,
                start_ns=start,
                cpu_s=user + system,
                size=size,
                command=command(name, state, line),
                container=containers[cgroup],
            )
        )
    return rows


def command(name: str, state: str, line: list[bytes] | None) -> str:
    """The command line; the name in brackets for a kernel thread or a zombie, as ps writes it."""
    if line is None:
        return f"({name}: arguments not in memory)"
    if not line:
        return f"[{name}]" + (" <defunct>" if state == "Z" else "")
    return guest_text(b" ".join(line))


def read_users(vm: VirtualMachine) -> dict[int, str]:
    """Names of users by /etc/passwd of the guest; none where it is not in memory."""
    users: dict[int, str] = {}
    try:
        file = vm.read_file("/etc/passwd")
        text = guest_text(file.data) if file.size <= MAX_PASSWD_BYTES else ""
    except VmonError:
        return users
    for line in text.splitlines()[:MAX_USERS]:
        words = line.split(":")
        if len(words) == 7 and words[2].isdecimal() and len(words[2]) < 11:
            users.setdefault(int(words[2]), words[0])
    return users
