"""A drgn program of a guest is memory, types, symbols and objects, each handed to drgn by a function of vmon.

Reads RAM through ReadPhys, and kernel addresses by vmon's own page walk, so KASLR and five levels are as vmon sees
them. Nothing is paused or written. What is not mapped or not RAM is a FaultError of drgn; it bounds no walk itself, so
a list that a hostile guest has bent into a circle is walked until the user stops it (drgn has validate_list for that).
A program belongs to one boot: after a reboot it reads what is left of the old one, and a new one must be made.
"""

from __future__ import annotations

import logging

from drgn import Architecture, FaultError, Platform, Program

from vmon.core.address import Gpa, Gva
from vmon.core.errors import GuestDataError
from vmon.core.ports import ReadPhys
from vmon.linux.kernel import Kernel
from vmon.linux.module import MAX_MODULES
from vmon.linux.task import walk_list
from vmon.monitor.drgn.btf_types import BtfTypes
from vmon.monitor.drgn.module_types import ModuleTypes
from vmon.monitor.drgn.objects import KernelObjects
from vmon.monitor.drgn.symbols import KernelSymbols
from vmon.monitor.drgn.vmcoreinfo import guest_lines, joined, own_lines

KERNEL_HALF_GVA = 0xFF00_0000_0000_0000
"""Kernel addresses of four and of five levels lie from here on."""
KERNEL_HALF_BYTES = 1 << 56
FINDER = "vmon"
LOG = logging.getLogger("vmon.drgn")


def make_program(ram: ReadPhys, kernel: Kernel, *, is_live: bool) -> Program:
    """All of it joined. Types are decoded here, 10 to 30 ms, symbols when the first is asked for."""
    own = own_lines(kernel)
    try:
        prog = _with_memory(ram, kernel, joined(own, guest_lines(kernel)), is_live=is_live)
    except Exception:
        # A VMCOREINFO that drgn can't read: its errors for that have no root in common.
        prog = _with_memory(ram, kernel, joined(own, {}), is_live=is_live)
    types = BtfTypes(prog, kernel.types)
    symbols = KernelSymbols(kernel)
    modules = ModuleTypes(kernel, types)
    objects = KernelObjects(kernel, types, symbols, modules)
    # Before drgn's own, which look for debug information that is not there.
    prog.register_type_finder(FINDER, types.find, enable_index=0)
    prog.register_type_finder(f"{FINDER} modules", modules.find, enable_index=1)
    prog.register_symbol_finder(FINDER, symbols.find, enable_index=0)
    # Behind drgn's constants (PAGE_SIZE...), before its debug information.
    prog.register_object_finder(FINDER, objects.find, enable_index=1)
    _with_modules(prog, kernel)
    return prog


def _with_modules(prog: Program, kernel: Kernel) -> None:
    """Tell drgn where code is, so that it unwinds stacks by the kernel's own ORC tables, those of modules too."""
    main = prog.main_module("kernel", create=True)
    bases = kernel.memory.bases
    main.address_range = bases.text_gva, bases.text_gva + bases.image_size_bytes
    if kernel.types.find("module") is None or not kernel.has_symbol("modules"):
        return
    try:
        # A list that a hostile guest has bent into a circle would be walked by drgn for ever.
        walk_list(kernel, kernel.symbol("modules"), "module.list", MAX_MODULES)
        prog.create_loaded_modules()
    except Exception as error:
        # What a lying guest can cause in drgn has no root in common; stacks go without those of modules then.
        LOG.warning("modules are not told to drgn: %s", error)


def _with_memory(ram: ReadPhys, kernel: Kernel, vmcoreinfo: bytes, *, is_live: bool) -> Program:
    prog = Program(Platform(Architecture.X86_64))
    read_ram, read_kernel = ram.read, kernel.memory.read

    def physical(address: int, size: int, _offset: int, _physical: bool) -> bytes:
        try:
            return read_ram(Gpa(address), size)
        except GuestDataError as error:
            raise FaultError(error.message, address) from None

    def virtual(address: int, size: int, _offset: int, _physical: bool) -> bytes:
        try:
            return read_kernel(Gva(address), size)
        except GuestDataError as error:
            raise FaultError(error.message, address) from None

    for part in ram.ranges:
        prog.add_memory_segment(part.gpa, part.size_bytes, physical, physical=True)
    prog.set_linux_kernel_custom(vmcoreinfo, is_live)
    # Later segments take precedence: drgn's own walk is left what lies below, where nothing of the kernel is.
    prog.add_memory_segment(KERNEL_HALF_GVA, KERNEL_HALF_BYTES, virtual)
    return prog
