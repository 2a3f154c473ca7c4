"""Identify judges which Linux runs in a guest, from RAM alone, and keeps the evidence for each claim.

Reads through ReadPhys (and ReadRegs where there is one); writes and pauses nothing. A hostile guest can plant
images; a candidate counts only when page tables, direct map, bases and first tasks all agree with it, and, with
registers, when a vCPU really runs on it. A guest that boots or reboots meanwhile fails a gate and is said to be
not settled. Sources: arch/x86/kernel/head_64.S, arch/x86/mm/kaslr.c, init/init_task.c.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from vmon.arch.x86_64.paging import translate
from vmon.core.address import Gpa, Gva
from vmon.core.errors import (
    BadStructure,
    GuestDataError,
    GuestEncrypted,
    IdentifyError,
    NoKernelYet,
    NotLinux,
    NoTypeInformation,
)
from vmon.core.ports import ReadPhys, ReadRegs, Registers
from vmon.kernel.image import MAX_IMAGE_BYTES, ImageCandidate, find_images, sample_ram
from vmon.kernel.learn import Evidence, GivenTypes, learn_profile, prove, signed64
from vmon.kernel.memory import KernelBases, KernelMemory
from vmon.kernel.profile import KernelProfile, Wants

KERNEL_MAP_GVA = 0xFFFF_FFFF_8000_0000
"""Where the image is linked; __START_KERNEL_map."""
UNSLID_TEXT_GVA = 0xFFFF_FFFF_8100_0000
CR4_LA57 = 1 << 12
EFER_LONG_MODE_ACTIVE = 1 << 10
ALIVE_TRIES = 20
ALIVE_PAUSE_S = 0.002
QUIET_RAM_BYTES = 24 << 20
"""Less than this in use and no Linux: firmware or a boot loader, not an operating system."""


@dataclass(slots=True)
class Identity:
    """The judgement: which kernel, where, and why we say so."""

    profile: KernelProfile
    bases: KernelBases
    evidence: list[Evidence] = field(default_factory=list)
    candidates: int = 1
    from_cache: bool = False
    duration_ms: float = 0.0

    @property
    def alive(self) -> bool | None:
        """Whether a vCPU was seen to run on this kernel; None where no register could be read."""
        verdicts = [item.passed for item in self.evidence if item.check == "cr3"]
        return verdicts[-1] if verdicts else None


class KnownProfiles(Protocol):
    """Profiles learnt before, by build id."""

    def build_ids(self) -> Iterable[tuple[int, str]]:
        """(offset of the build id from __start_rodata, build id in hexadecimal) of each."""
        ...

    def load(self, build_id: str) -> Iterable[KernelProfile]:
        """The profiles of a build: one, unless a guest lied about it."""
        ...

    def trusts(self, profile: KernelProfile, rodata: Gpa) -> bool:
        """Whether this very guest was already seen to hold what the profile was learnt from."""
        ...

    def trust(self, profile: KernelProfile, rodata: Gpa) -> None:
        """Remember that it does."""
        ...

    def save(self, profile: KernelProfile) -> None:
        """Keep a profile that was just learnt."""
        ...


def identify(
    phys: ReadPhys,
    regs: ReadRegs | None,
    wants: Wants,
    known: KnownProfiles,
    given: Callable[[], GivenTypes] | None = None,
) -> Identity:
    """Find the running kernel. Raises one of IdentifyError's children when there is none that passes.

    `given` loads types that the user gives in place of the guest's own; it is called where no saved profile fits.
    30 to 100 ms for a kernel never met, 1 to 3 ms for a known build.
    """
    begin = time.perf_counter_ns()
    candidates = find_images(phys)
    if not candidates:
        raise explain_nothing_found(phys, regs.registers() if regs is not None else None)
    passed: list[Identity] = []
    failures: list[str] = []
    blocking: IdentifyError | None = None
    for candidate in candidates:
        try:
            passed.append(_judge(phys, regs, candidate, wants, known, given))
        except NoTypeInformation as error:
            blocking = error
        except GuestDataError as error:
            failures.append(f"{candidate.release} at {candidate.rodata_gpa:#x}: {error.message}")
    if not passed and blocking is not None:
        raise blocking
    if not passed:
        raise NoKernelYet(
            "a Linux image is in RAM but does not pass the checks: " + "; ".join(failures[:3]),
            hint="a kernel that still boots, or what a reset left behind: try again in a second"
            + (
                "; one without a symbol table is read with --symbols FILE"
                if "kallsyms" in failures[0]
                else ""
            ),
        )
    chosen = _choose(passed, regs)
    chosen.candidates = len(candidates)
    chosen.duration_ms = (time.perf_counter_ns() - begin) / 1e6
    return chosen


def _choose(passed: list[Identity], regs: ReadRegs | None) -> Identity:
    alive = [identity for identity in passed if identity.alive]
    if alive:
        return alive[-1]
    if regs is None and len(passed) == 1:
        return passed[0]
    releases = ", ".join(f"{item.profile.release} at {item.bases.text_gpa:#x}" for item in passed)
    if regs is not None:
        raise NoKernelYet(
            f"RAM holds a whole kernel ({releases}), but the CPU does not run on it",
            hint="the machine was reset and the next kernel is not up yet: try again in a second",
        )
    raise IdentifyError(
        f"RAM holds several whole kernels ({releases}) and no register tells which one runs",
        hint="give the live guest, or an ELF dump of dump-guest-memory, which carries registers",
    )


def _judge(
    phys: ReadPhys,
    regs: ReadRegs | None,
    candidate: ImageCandidate,
    wants: Wants,
    known: KnownProfiles,
    given: Callable[[], GivenTypes] | None,
) -> Identity:
    rodata = candidate.rodata_gpa
    evidence = [
        Evidence(
            "banner", True, f"'Linux version {candidate.release}' in rodata at guest-physical {rodata:#x}"
        )
    ]
    profile = _recall(phys, rodata, known)
    from_cache = profile is not None
    if profile is None:
        profile = learn_profile(phys, rodata, wants, evidence, given)
    else:
        evidence.append(Evidence("build id", True, f"{profile.build_id}: a build met before"))
    bases = read_bases(phys, rodata, profile, evidence)
    check_first_tasks(KernelMemory(phys, bases), profile, evidence)
    if read_bases(phys, rodata, profile, []) != bases:
        raise BadStructure("the bases moved while they were read", field="page_offset_base")
    if regs is not None:
        evidence.append(check_alive(phys, regs, bases))
    return Identity(profile, bases, evidence, from_cache=from_cache)


def _recall(phys: ReadPhys, rodata: Gpa, known: KnownProfiles) -> KernelProfile | None:
    """A saved profile that is this kernel's: its build id is here, and so are the bytes that it was learnt from.

    A build id alone is the guest's word. A guest that lies about its types would leave a false profile for every
    honest guest of that build; so each guest proves a profile once, and is trusted with that profile from then on.
    """
    for offset, build_id in set(known.build_ids()):
        try:
            if phys.read(Gpa(rodata + offset), len(build_id) // 2).hex() != build_id:
                continue
            for profile in known.load(build_id):
                if known.trusts(profile, rodata):
                    return profile
                if prove(phys, rodata, profile.proof_spans) == profile.proof:
                    known.trust(profile, rodata)
                    return profile
        except GuestDataError:
            continue
    return None


def profile_at(
    phys: ReadPhys,
    rodata: Gpa,
    wants: Wants,
    known: KnownProfiles,
    given: Callable[[], GivenTypes] | None = None,
) -> KernelProfile:
    """The profile of an identified kernel that answers other wants: recalled, or learnt and kept."""
    profile = _recall(phys, rodata, known)
    if profile is None:
        profile = learn_profile(phys, rodata, wants, [], given)
        keep(profile, rodata, known)
    return profile


def keep(profile: KernelProfile, rodata: Gpa, known: KnownProfiles) -> None:
    """Keep a profile that was learnt from this very guest."""
    known.save(profile)
    known.trust(profile, rodata)


def read_bases(phys: ReadPhys, rodata: Gpa, profile: KernelProfile, evidence: list[Evidence]) -> KernelBases:
    """The addresses of this boot, accepted only when the page tables agree with them. Raises GuestDataError."""
    symbols = profile.symbols
    text_gpa = Gpa(rodata - profile.rodata_offset)

    def variable(name: str) -> int:
        return int.from_bytes(phys.read(Gpa(text_gpa + symbols[name]), 8), "little")

    text_gva = Gva((text_gpa - variable("phys_base") + KERNEL_MAP_GVA) & 0xFFFF_FFFF_FFFF_FFFF)
    root = Gpa(text_gpa + symbols["init_top_pgt"])
    page_offset = Gva(variable("page_offset_base"))
    for la57 in (True, False):
        image = translate(phys, root, text_gva, la57)
        direct = translate(phys, root, Gva(page_offset + root), la57)
        if image is not None and image.gpa == text_gpa and direct is not None and direct.gpa == root:
            break
    else:
        raise BadStructure(
            "the page tables do not map the image where its bases say", field="init_top_pgt", address=root
        )
    bases = KernelBases(
        text_gpa=text_gpa,
        text_gva=text_gva,
        image_size_bytes=min(max(symbols.get("_end", MAX_IMAGE_BYTES), 0), 1 << 30),
        kaslr_slide=signed64(text_gva - UNSLID_TEXT_GVA),
        page_offset_base=page_offset,
        vmalloc_base=Gva(variable("vmalloc_base")) if "vmalloc_base" in symbols else Gva(0),
        vmemmap_base=Gva(variable("vmemmap_base")) if "vmemmap_base" in symbols else Gva(0),
        page_table_root=root,
        la57=la57,
    )
    levels = 5 if la57 else 4
    evidence.append(
        Evidence(
            "image map", True, f"{levels}-level tables at {root:#x} map _text {text_gva:#x} to {text_gpa:#x}"
        )
    )
    evidence.append(
        Evidence("direct map", True, f"page_offset_base {page_offset:#x} + {root:#x} maps back to {root:#x}")
    )
    return bases


def check_first_tasks(memory: KernelMemory, profile: KernelProfile, evidence: list[Evidence]) -> None:
    """init_task is the swapper and the list of tasks goes on from it to a second one. Raises GuestDataError."""
    task = profile["task_struct"]
    init = Gva(memory.bases.text_gva + profile.symbols["init_task"])
    comm = memory.read(Gva(init + task.offset("comm")), 16).split(b"\0", 1)[0]
    if not comm.startswith(b"swapper"):
        raise BadStructure("init_task is not the swapper", field="init_task.comm", address=init)
    second = memory.u64(Gva(init + task.offset("tasks"))) - task.offset("tasks")
    if second == init:
        raise BadStructure("only the swapper exists yet", field="init_task.tasks", address=init)
    pid = memory.u32(Gva(second + task.offset("pid")))
    if pid != 1:
        raise BadStructure(f"the second task has pid {pid}", field="task_struct.pid", address=second)
    name = comm.decode("ascii", "backslashreplace")
    evidence.append(Evidence("first tasks", True, f"init_task is {name!r} and pid 1 follows at {second:#x}"))


def check_alive(phys: ReadPhys, regs: ReadRegs, bases: KernelBases) -> Evidence:
    """Whether the page tables that a vCPU uses now map this image.

    A process may end between the answer of the hypervisor and the walk, and its tables be used for something else:
    a no is believed only after several times.
    """
    for attempt in range(ALIVE_TRIES):
        evidence = _maps_image(phys, regs.registers(), bases)
        if evidence.passed:
            break
        if attempt > ALIVE_TRIES // 2:
            time.sleep(ALIVE_PAUSE_S)
    return evidence


def _maps_image(phys: ReadPhys, cpu: Registers, bases: KernelBases) -> Evidence:
    """The same for one reading of the registers. With KPTI, CR3 may hold the user half."""
    for mask in (0xFFF, 0x1FFF):
        found = translate(phys, Gpa(cpu.cr3 & ~mask), bases.text_gva, bool(cpu.cr4 & CR4_LA57))
        if found is not None and found.gpa == bases.text_gpa:
            return Evidence(
                "cr3", True, f"CR3 {cpu.cr3:#x} of CPU {cpu.cpu} maps _text to {bases.text_gpa:#x}"
            )
    return Evidence(
        "cr3", False, f"CR3 {cpu.cr3:#x} of CPU {cpu.cpu} does not map _text to {bases.text_gpa:#x}"
    )


def explain_nothing_found(phys: ReadPhys, cpu: Registers | None) -> IdentifyError:
    """Why there is no Linux to see: one sentence. Samples RAM; up to a second on a large guest."""
    sample = sample_ram(phys)
    if sample.banner_gpa is not None:
        return NotLinux(
            f"a Linux banner lies at {sample.banner_gpa:#x}, but no 64-bit x86 kernel image around it",
            hint="a 32-bit or foreign kernel, or one that its boot loader is still unpacking",
        )
    if sample.nonzero_pages >= 16 and sample.noise_share > 0.9:
        return GuestEncrypted(
            f"{sample.noise_share:.0%} of the guest's used RAM is indistinguishable from random numbers",
            hint="memory encryption (SEV, TDX): what runs there can't be seen from outside",
        )
    real_mode = cpu is not None and not cpu.efer & EFER_LONG_MODE_ACTIVE
    if sample.nonzero_pages * 4096 * max(
        1, sample.populated_bytes // (4096 * max(1, sample.sampled_pages))
    ) < (QUIET_RAM_BYTES):
        where = "the CPU is not in 64-bit mode" if real_mode else "almost all RAM is zero"
        return NoKernelYet(
            f"no operating system is in RAM yet: {where}",
            hint="the guest is in its firmware or boot loader: try again when it has booted",
        )
    return NotLinux("an operating system is in RAM, and it is not a Linux that vmon knows")
