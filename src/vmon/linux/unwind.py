"""The functions that a sleeping thread is in: unwound by ORC from the frame that switching away left, else guessed.

Reads the thread's kernel stack, at most 64 KiB in one piece, and nothing else of it. Each step of the unwinder must
lead up the stack, so it ends. Where it can't go on, every word that is an address of code is listed as a guess: old
calls are among them. A hostile guest can write any stack; a thread that runs meanwhile has another one by now.
Sources: arch/x86/kernel/unwind_orc.c, arch/x86/include/asm/{switch_to,ptrace}.h.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vmon.core.address import Gva
from vmon.core.errors import BadStructure, GuestDataError
from vmon.core.records.memory import FrameRecord
from vmon.kernel.profile import Wants
from vmon.linux import modsymbols, module, orc
from vmon.linux.kernel import Kernel
from vmon.linux.modsymbols import Code, find_code
from vmon.linux.orc import OrcEntry, OrcTable
from vmon.linux.registers import NAMES, REGS_BYTES, Thread
from vmon.linux.stack import stack_size_bytes

WANTS = (
    orc.WANTS
    | module.WANTS
    | modsymbols.WANTS
    | Wants(symbols=("_stext", "_etext"), structs={"inactive_task_frame": "bp ret_addr"})
)
MAX_FRAMES = 256
RIP, CS, RSP, RBP = (8 * NAMES.index(name) for name in ("rip", "cs", "rsp", "rbp"))
USER_MODE = 3


@dataclass(slots=True)
class _State:
    ip: int
    sp: int
    bp: int
    regs: int
    """Address of the pt_regs that bp can be taken from; 0 for none."""
    struck: bool
    """Whether an interrupt struck right at `ip`: else it is what a call returns to."""


class Unwinder:
    """Unwinds the stacks of threads. Tables and symbols are read when first needed: about 100 ms, once."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._size = stack_size_bytes(kernel)
        self._text = (kernel.symbol("_stext"), kernel.symbol("_etext"))
        try:
            self._image = orc.image_table(kernel)
        except BadStructure:
            # Frames are guessed then, and said to be.
            self._image = None
        self._code: Code | None = None
        self._tables: dict[str, OrcTable | None] = {}

    @property
    def _modules(self) -> Code:
        if self._code is None:
            self._code = find_code(self._kernel)
        return self._code

    def frames(self, thread: Thread) -> list[FrameRecord]:
        """Innermost first; empty for a thread without a stack. GuestDataError where its stack is not there."""
        if not thread.stack:
            return []
        stack = self._kernel.memory.read(Gva(thread.stack), self._size)
        found, whole = self._unwind(thread, stack)
        if whole and found:
            return [self._frame(address, sure=True) for address in found]
        # What the unwinder found is right as far as it came; beyond that all that looks like a return is listed.
        sure = [self._frame(address, sure=True) for address in found]
        return sure + self._guesses(thread, stack, set(found))

    def _guesses(self, thread: Thread, stack: bytes, known: set[int]) -> list[FrameRecord]:
        inside = thread.stack_pointer - thread.stack
        if not 0 <= inside < self._size:
            inside = 0
        words = np.frombuffer(stack, dtype="<u8")[(inside + 7) // 8 : (self._size - REGS_BYTES) // 8]
        low, high = self._text
        likely = words[(words >= np.uint64(low)) & (words < np.uint64(high)) | self._modules.holds(words)]
        return [self._frame(word, sure=False) for word in likely[:MAX_FRAMES].tolist() if word not in known]

    def _frame(self, address: int, *, sure: bool) -> FrameRecord:
        # A call at a function's very end returns to what follows it: the name is that of the call.
        name, symbol, offset = "", None, 0
        if self._text[0] <= address < self._text[1]:
            place = self._kernel.symbols.at(address - 1)
            if place is not None:
                symbol, offset = place[0], place[1] + 1
        else:
            name, symbol, offset = self._modules.at(address)
        return FrameRecord(address=address, symbol=symbol, offset=offset, module=name, sure=sure)

    def _table(self, address: int) -> OrcTable | None:
        if self._text[0] <= address < self._text[1]:
            return self._image
        name = self._modules.at(address)[0]
        if name not in self._tables:
            form = self._image.form if self._image else None
            self._tables[name] = self._modules.orc_table(name, form) if name and form else None
        return self._tables[name]

    def _unwind(self, thread: Thread, stack: bytes) -> tuple[list[int], bool]:
        """Return addresses, and whether the end of the stack was reached."""
        layout = self._kernel.profile["inactive_task_frame"]
        frame = thread.stack_pointer
        found: list[int] = []
        try:
            state = _State(
                ip=self._word(thread, stack, frame + layout.offset("ret_addr")),
                sp=frame + layout.size,
                bp=self._word(thread, stack, frame + layout.offset("bp")),
                regs=0,
                struck=False,
            )
            while len(found) < MAX_FRAMES:
                found.append(state.ip)
                table = self._table(state.ip)
                entry = table.find(state.ip - (not state.struck)) if table else None
                if entry is None or entry.type == orc.UNKNOWN:
                    return found, False
                if entry.type == orc.END or not self._step(thread, stack, state, entry):
                    return found, True
        except (GuestDataError, ValueError):
            return found, False
        return found, False

    def _step(self, thread: Thread, stack: bytes, state: _State, entry: OrcEntry) -> bool:
        """To the caller; False at the end. ValueError where that can't be."""
        before, end = state.sp, self._frame_end(thread, stack, state, entry)
        regs = 0
        if entry.type == orc.CALL:
            state.ip, state.sp, state.struck = self._word(thread, stack, end - 8), end, False
        else:
            regs = end if entry.type == orc.REGS else end - RIP
            if self._word(thread, stack, regs + CS) & USER_MODE == USER_MODE:
                return False
            state.ip = self._word(thread, stack, regs + RIP)
            state.sp = self._word(thread, stack, regs + RSP)
            state.struck = True
        if entry.bp_reg == orc.UNDEFINED:
            if entry.type == orc.REGS:
                state.bp = self._word(thread, stack, regs + RBP)
        elif entry.bp_reg == orc.PREV_SP:
            state.bp = self._word(thread, stack, end + entry.bp_offset)
        elif entry.bp_reg == orc.BP:
            state.bp = self._word(thread, stack, state.bp + entry.bp_offset)
        else:
            raise ValueError(entry.bp_reg)
        if state.sp <= before and entry.type == orc.CALL:
            raise ValueError(state.sp)
        return state.ip != 0

    def _frame_end(self, thread: Thread, stack: bytes, state: _State, entry: OrcEntry) -> int:
        """Where the frame ends that the entry is about."""
        if entry.sp_reg == orc.SP:
            return state.sp + entry.sp_offset
        if entry.sp_reg == orc.BP:
            return state.bp + entry.sp_offset
        if entry.sp_reg == orc.BP_INDIRECT:
            return self._word(thread, stack, state.bp + entry.sp_offset)
        # Registers that only an entry's first instructions use: nobody sleeps there.
        raise ValueError(entry.sp_reg)

    def _word(self, thread: Thread, stack: bytes, address: int) -> int:
        at = address - thread.stack
        if not 0 <= at <= self._size - 8:
            raise ValueError(address)
        return int.from_bytes(stack[at : at + 8], "little")
