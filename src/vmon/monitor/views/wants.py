"""What the readers behind all views need of a kernel: imported when a view is first asked for, not at attach."""

from functools import reduce
from operator import or_

from vmon.check import run
from vmon.linux import (
    auxv,
    bpf,
    cachedfiles,
    cgrouptree,
    container,
    cpu,
    everysocket,
    fib,
    fib6,
    ftrace,
    key,
    kprobe,
    load,
    lock,
    lsm,
    module,
    mount,
    named,
    neighbour,
    netdevice,
    pagecache,
    printk,
    registers,
    sysctl,
    terminal,
    timer,
    unwind,
    usermem,
    vmstat,
    workqueue,
)
from vmon.monitor.drgn import variables, vmcoreinfo

READERS = (
    run, auxv, bpf, cachedfiles, cgrouptree, container, cpu, everysocket, fib, fib6, ftrace, key,
    kprobe, load, lock, lsm, module, mount, named, neighbour, netdevice, pagecache, printk, registers, sysctl,
    terminal, timer, unwind, usermem, vmstat, workqueue, variables, vmcoreinfo,
)  # fmt: skip
WANTS = reduce(or_, (reader.WANTS for reader in READERS))
