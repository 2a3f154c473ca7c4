"""The main job in one go: boot a stock Debian guest, and see from outside which kernel and which processes it runs.

`./dev demo` runs this. Everything is done through vmon's public API; the lab only boots the guest and runs a
command in it, as its user would.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import click

import vmon
from vmon.cli import sockets
from vmon.cli.info import describe
from vmon.cli.kill import sentence
from vmon.cli.live import line as event_line
from vmon.cli.output import cell, write_table
from vmon.cli.tree import draw
from vmon.core.coverage import said
from vmon.core.errors import NoSuchProcess
from vmon.core.events import Answer, Event
from vmon.core.rules import Rule
from vmon.lab.agent import Completed
from vmon.lab.guest import LabGuest
from vmon.monitor.stream import EventStream

NAME = f"demo-{os.getpid()}"


def say(text: str) -> None:
    """A heading."""
    click.echo("\n" + click.style(f"== {text}", bold=True))


def main() -> None:
    """Boot, identify, list, watch, end."""
    begin = time.monotonic()
    say("a stock Debian guest boots in QEMU; nothing of vmon is in it")
    with LabGuest.up(NAME, kernel=sys.argv[1] if len(sys.argv) > 1 else "6.1") as guest:
        click.echo(f"QEMU process {guest.pid}, ready after {time.monotonic() - begin:.1f} s")
        with vmon.attach(NAME) as vm:
            look(vm, guest)
            compare(vm)
            control(vm, guest)
    click.echo(f"\nThe guest has been shut down. All of it took {time.monotonic() - begin:.1f} s.")
    click.echo(
        "Try next:  .venv/bin/vmon lab up web1  and then  .venv/bin/vmon watch web1  (ps, tree, deny, kill, guard)"
    )


def look(vm: vmon.VirtualMachine, guest: LabGuest) -> None:
    """What vmon sees of a guest that it has never met."""
    say("which kernel is this? read from its RAM alone")
    for line in describe(vm.guest):
        click.echo(line)

    start = time.perf_counter()
    processes = vm.processes()
    records = [process.record() for process in processes if not process.kernel_thread]
    took_ms = (time.perf_counter() - start) * 1e3
    say(
        f"its process tree: {len(processes)} processes, kernel threads left out here, read in {took_ms:.1f} ms"
    )
    for line in draw(records):
        click.echo(line)

    say("open files and sockets of the interesting ones")
    interesting = [process for process in processes if process.sockets() or len(process.files()) > 3]
    write_table(
        ("PID", "NAME", "FD", "MODE", "PATH"),
        [
            (file.pid, process.name, file.fd, file.mode, file.path)
            for process in interesting[:4]
            for file in process.files()
        ],
    )
    click.echo()
    write_table(sockets.HEADER, [sockets.row(socket) for socket in vm.sockets()])

    say("somebody in the guest opens a port: vmon sees it from outside")
    inside = "su -s /bin/sh alice -c 'timeout 3 nc -l -p 4444'"
    click.echo(f"inside:  {inside}")
    guest.run(f"(sleep 0.2; {inside}) >/dev/null 2>&1 &")
    started = time.monotonic()
    for change in vmon.sweep(vm, interval_s=0.02, timeout_s=30):
        command = " ".join(change.record.cmdline or [change.record.name])
        click.echo(
            f"outside, {time.monotonic() - started:4.2f} s: {change.kind:7} pid {change.record.pid} "
            f"uid {change.record.uid} {cell(command)}"
        )
        if change.record.name != "nc":
            continue
        if change.kind == "ended":
            break
        show_port(vm, change.process)


def compare(vm: vmon.VirtualMachine) -> None:
    """What a rootkit hunter asks, and the program of a process as the guest has it in memory."""
    start = time.perf_counter()
    found = vm.check()
    took_ms = (time.perf_counter() - start) * 1e3
    say(
        f"do its views of itself agree? tasks, modules, sockets, code: {took_ms:.0f} ms, {len(found)} findings"
    )
    for finding in found:
        click.echo(cell(f"{finding.severity}: {finding.said}"))
    for gap in found.coverage:
        click.echo(cell(f"not seen: {said(gap)}"))
    hashed = vm.hashed_processes([1])[0]
    click.echo(f"the program of process 1, out of its page cache: sha256 {hashed.sha256}")
    click.echo(f"who listens: {', '.join(f'{port.port} {port.process}' for port in vm.ports())}")


def show_port(vm: vmon.VirtualMachine, process: vmon.Process) -> None:
    """The port that a process opens, as soon as it has."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        sockets_now = []
        with contextlib.suppress(NoSuchProcess):
            sockets_now = vm.process(process.pid).sockets()
        for socket in sockets_now:
            if socket.state == "LISTEN":
                click.echo(
                    f"         it is on {socket.protocol} {socket.local_address}:{socket.local_port}, LISTEN"
                )
                return
        time.sleep(0.02)


SCRIPT = "cp /bin/busybox /tmp/miner; cat /tmp/secret; /tmp/miner true; cat /etc/hosts >/dev/null"
SHOWN = ("process.exec", "file.open", "net.connect", "process.exit")
OPENS = "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); : </etc/hosts; done"


def control(vm: vmon.VirtualMachine, guest: LabGuest) -> None:
    """What is done in the guest as it is done, and refused before it happens."""
    guest.run("echo the-password >/tmp/secret; sleep 1000 >/dev/null 2>&1 &")
    put_in = vm.install_probe()
    say(
        f"a probe goes into the guest: {put_in.sites} instructions changed in one pause of {put_in.paused_ms:.1f} ms"
    )
    stream = vm.event_stream(*SHOWN, decide=ask)
    stream.start()
    vm.add_rules(
        [
            Rule(events=("file.open",), path="/tmp/secret"),
            Rule(
                events=("process.exec",),
                path_glob="**/miner",
                action="ask",
                errno=errno.EACCES,
                timeout_ms=10_000,
            ),
        ]
    )
    click.echo(f"inside:  sh -c '{SCRIPT}'")
    said = run_while(stream, guest, SCRIPT)
    for message in said.err.decode().splitlines():
        click.echo(f"inside:  {cell(message)}")
    for number in sorted({record.number for record in vm.rules() if record.hits}):
        click.echo(f"rule {number} has fitted {next(r.hits for r in vm.rules() if r.number == number)} time")
    victim = next(process.pid for process in vm.processes() if process.cmdline == ["sleep", "1000"])
    click.echo(sentence(vm.signal(victim, signal.SIGKILL)))
    bare_s, recorded_s = cost(stream, guest)
    stream.stop()
    vm.drop_rules()
    click.echo(
        f"3,000 opens by a shell: {bare_s * 1e3:.0f} ms with nobody watching, {recorded_s * 1e3:.0f} ms with each of"
        f" them judged and recorded ({100 * (recorded_s / bare_s - 1):+.1f} %)"
    )
    report = vm.remove_probe()
    paused = f"{report.paused_ns / 1e6:.1f} ms"
    click.echo(
        f"the probe is out again: {report.patches} instructions are as they were, after a pause of {paused}"
    )


def ask(event: Event) -> Answer:
    """Called while the process in the guest waits at its exec."""
    click.echo(click.style(f"asked:   may {event.exe} run {event.path}? no", bold=True))
    return "deny"


def cost(stream: EventStream, guest: LabGuest) -> tuple[float, float]:
    """Seconds that some opens take in the guest, watched by nobody and recorded: the best of some, in turn."""
    times: dict[bool, list[float]] = {False: [], True: []}
    for recorded in (False, True) * 4:
        if recorded:
            stream.start()
        else:
            stream.stop()
        begin = time.perf_counter()
        guest.run(OPENS)
        times[recorded].append(time.perf_counter() - begin)
    return min(times[False]), min(times[True])


def run_while(stream: EventStream, guest: LabGuest, script: str) -> Completed:
    """Run something in the guest; show what it does, as it does it."""
    with ThreadPoolExecutor() as pool:
        done = pool.submit(guest.run, ["sh", "-c", script])
        pid, ended = 0, False
        while not ended:
            ended = done.done()
            for event in stream.take():
                if event.cmdline and event.cmdline[-1] == script:
                    pid = event.pid
                if pid in (event.pid, event.ppid):
                    text = f"outside: {event_line(event)}"
                    click.echo(click.style(text, fg="red") if event.verdict == "denied" else text)
            time.sleep(0.0005)
        return done.result()


if __name__ == "__main__":
    main()
