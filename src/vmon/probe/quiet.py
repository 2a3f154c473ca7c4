"""The probe's mapping can be taken away when nobody is in its code and nobody will come back to it.

Reads, of a guest that stands still and whose instructions lead to the probe no more, the probe's own counts, the CPUs'
registers and the stacks of all tasks; writes nothing. Who is in the probe is in one of these places:

- in a function of the kernel that the probe called: it is counted then, as in flight, as waiting, or as answering the
  mailbox (the probe calls nothing uncounted, see probe/src);
- on a CPU, in the probe's code: its RIP says so;
- interrupted in the probe's code, perhaps preempted since: the interrupt's frame with that RIP is on its stack. A CPU
  in user mode has nothing on its stack; of one in the kernel the stack is read from its RSP on, of a task that does not
  run from the pointer it was left with.

Only CPUs in user mode or on the stack of the task that they run are understood: one that serves an interrupt or is just
switching to another task is asked for again later. Idle tasks of CPUs that run something else are on no list: they are
left in the scheduler's own loop alone. Of a lying guest nothing follows but harm to itself.
Sources: arch/x86/entry/entry_64.S, arch/x86/include/asm/irq_stack.h, kernel/sched/{core,idle}.c.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vmon.core.address import Gva
from vmon.core.errors import GuestDataError
from vmon.core.ports import Registers
from vmon.kernel.columns import Column
from vmon.linux.kernel import Kernel
from vmon.linux.mm import read_percpu_offsets
from vmon.linux.stack import find_every_task, interrupted_in, read_stacks
from vmon.probe.abi import Abi
from vmon.probe.config import per_cpu
from vmon.probe.place import SLOT_BYTES, SLOT_GVA
from vmon.probe.window import Window

LONG_MODE = 1 << 10
"""In EFER: without it the CPU has not been started by Linux."""


def lingering(kernel: Kernel, abi: Abi, window: Window, cpus: Sequence[Registers]) -> str:
    """Who is in the probe, or may be; empty when nobody is. 3 to 10 ms for some hundred tasks."""
    try:
        return counted(abi, window) or _on_cpus_and_stacks(kernel, cpus)
    except GuestDataError as error:
        return f"a stack can't be read: {error}"


def counted(abi: Abi, window: Window) -> str:
    """Whom the probe's own counts tell of, also of a guest that runs; empty for nobody."""
    for what, name in (
        ("is in flight", "in_flight"),
        ("waits for an answer", "waiting"),
        ("answers the mailbox", "mailbox.busy"),
    ):
        offset, size = abi.member("state", name)
        if any(window.read(abi.sizes["STATE_AT"] + offset, size)):
            return f"somebody {what}"
    return ""


def _on_cpus_and_stacks(kernel: Kernel, cpus: Sequence[Registers]) -> str:
    running = _current_tasks(kernel)
    stacks = read_stacks(kernel, np.union1d(find_every_task(kernel), running))
    pointers = stacks.pointers.copy()
    known = np.zeros(pointers.shape, dtype=bool)
    for cpu in cpus:
        if not cpu.efer & LONG_MODE or cpu.cpl:
            continue
        if 0 <= cpu.rip - SLOT_GVA < SLOT_BYTES:
            return f"CPU {cpu.cpu} runs in it"
        row = stacks.holding(cpu.rsp)
        if row is None or stacks.tasks[row] not in running:
            return f"CPU {cpu.cpu} serves an interrupt or changes tasks"
        pointers[row] = cpu.rsp
        known[row] = True
    # Whoever else is running does so in user mode: there is one task for each such CPU.
    used = known | ~np.isin(stacks.tasks, running)
    seen = replace(stacks, tasks=stacks.tasks[used], starts=stacks.starts[used], pointers=pointers[used])
    struck = interrupted_in(kernel, seen, Gva(SLOT_GVA), SLOT_BYTES)
    return f"{np.count_nonzero(struck)} tasks were interrupted in it" if struck.any() else ""


def _current_tasks(kernel: Kernel) -> Column:
    """What each CPU runs."""
    place = per_cpu(kernel, "current_task", "current_task")
    bases = np.array(read_percpu_offsets(kernel), dtype=np.uint64)
    tasks = kernel.memory.gather(bases + np.uint64(place), 8).view("<u8").reshape(-1)
    return np.unique(tasks[tasks != 0])
