"""Learning a kernel is decoding its symbols and types where they lie in RAM, once a build: a profile is what it gives.

Reads through ReadPhys. What a guest does not carry may be given: types, and symbols where it has none, from a file that
the user names. It must be of this very build: by build id, else by banner; the file of another one would be believed in
every offset. A hostile guest can lie in its own types, which is its own loss: proof_spans say what a profile was learnt
from. Sources: include/asm-generic/vmlinux.lds.h, kernel/kallsyms.c.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from vmon.core.address import Gpa
from vmon.core.errors import BadStructure, NoTypeInformation
from vmon.core.ports import ReadPhys
from vmon.kernel.btf import Btf
from vmon.kernel.image import BANNER, FIRST_READ_BYTES, MAX_IMAGE_BYTES, PROBE_BYTES, read_image
from vmon.kernel.kallsyms import Kallsyms, locate_kallsyms
from vmon.kernel.layout import resolve_enums, resolve_structs
from vmon.kernel.notes import find_build_id
from vmon.kernel.profile import KernelProfile, Source, Wants
from vmon.kernel.types import Types

ABSOLUTE_END = 1 << 31
"""Per-CPU symbols lay below this until 6.15 (8f1cca4ddd0b); since then they are addresses in the image."""
HOW_TO_GIVE_TYPES = (
    "give them: --symbols FILE (symbols=FILE), a Volatility 3 symbol file (ISF) or a vmlinux with debug information, "
    "of this very kernel build"
)

BASE_WANTS = Wants(
    symbols=(
        "_text",
        "_end",
        "__start_rodata",
        "linux_banner",
        "phys_base",
        "page_offset_base",
        "vmalloc_base",
        "vmemmap_base",
        "init_top_pgt",
        "init_task",
        "__start_BTF",
        "__stop_BTF",
        "__start_notes",
        "__stop_notes",
    ),
    structs={"task_struct": "tasks comm pid", "list_head": "next prev"},
)
REQUIRED = (
    "_text",
    "__start_rodata",
    "linux_banner",
    "phys_base",
    "page_offset_base",
    "init_top_pgt",
    "init_task",
)


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing that was checked, and what came of it."""

    check: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True)
class GivenTypes:
    """What a file of the user says of one kernel build."""

    name: str
    """Of the file, for messages."""
    source: Source
    """isf or dwarf."""
    types: Types
    find_symbols: Callable[[Iterable[str]], Mapping[str, int]]
    """Addresses of those that are there, as the kernel is linked."""
    banner: str | None
    build_id: str | None


@dataclass(slots=True)
class _Symbols:
    """Wanted symbols, and the image that they lead into."""

    image: bytes
    """From __start_rodata on."""
    found: dict[str, int]
    """From _text."""
    absolute: dict[str, int]
    count: int
    source: Source
    spans: tuple[tuple[int, int], ...] = ()


def learn_profile(
    phys: ReadPhys,
    rodata: Gpa,
    wants: Wants,
    evidence: list[Evidence],
    given: Callable[[], GivenTypes] | None = None,
) -> KernelProfile:
    """Decode symbols and types of a kernel never met. Raises BadStructure, NoTypeInformation."""
    wants = BASE_WANTS | wants
    file = given() if given is not None else None
    symbols = _find_symbols(phys, rodata, wants.symbols, evidence, file)
    image, found = symbols.image, symbols.found
    lost = [name for name in REQUIRED if name not in found]
    if lost:
        raise NoTypeInformation(
            f"this kernel's symbol table lacks {', '.join(lost)}", hint="" if file else HOW_TO_GIVE_TYPES
        )
    start = found["__start_rodata"]
    offsets = {name: value - start for name, value in found.items()}
    banner = _text_at(image, offsets["linux_banner"]).strip()
    words = banner.split()
    if not banner.startswith("Linux version ") or len(words) < 3:
        if file is not None:
            raise _other_kernel(file, image)
        raise BadStructure(
            "the symbol linux_banner does not lead to a banner", field="linux_banner", address=rodata
        )
    evidence.append(Evidence("linux_banner", True, banner))
    release = words[2]
    notes = offsets.get("__start_notes"), offsets.get("__stop_notes")
    if file is None:
        types, spans = _own_types(image, offsets, release, evidence)
        build_id, build_id_offset = find_build_id(image, *notes)
    else:
        build_id, build_id_offset = find_build_id(image, *notes)
        types, spans = _given_types(file, image, banner, build_id, offsets, evidence)
    structs, missing = resolve_structs(types, wants, file.source if file else "btf")
    enums, missing_enums = resolve_enums(types, wants)
    evidence[-1] = replace(evidence[-1], detail=f"{evidence[-1].detail}, {len(structs)} structures laid out")
    evidence.append(Evidence("build id", True, build_id))
    spans = (*spans, *symbols.spans)
    return KernelProfile(
        build_id=build_id,
        build_id_offset=build_id_offset,
        banner=banner,
        release=release,
        rodata_offset=start,
        symbols=found,
        absolute=symbols.absolute,
        structs=structs,
        enums=enums,
        missing=(
            *missing,
            *missing_enums,
            *(name for name in wants.symbols if name not in found and name not in symbols.absolute),
        ),
        symbol_count=symbols.count,
        type_count=len(types),
        proof_spans=spans,
        proof=hashlib.sha256(b"".join(image[at : at + size] for at, size in spans)).hexdigest(),
        sources={"symbols": symbols.source, "structs": file.source if file else "btf"},
    )


def _find_symbols(
    phys: ReadPhys, rodata: Gpa, names: Iterable[str], evidence: list[Evidence], file: GivenTypes | None
) -> _Symbols:
    """By the guest's own table; where that lacks what must be there (it may name functions alone), by the file too."""
    try:
        image, table = read_kallsyms(phys, rodata)
    except BadStructure:
        if file is None:
            raise
        own = _Symbols(read_image(phys, rodata, FIRST_READ_BYTES), {}, {}, 0, file.source)
    else:
        own = _of_kallsyms(image, table, names, evidence)
    if file is None or all(name in own.found for name in REQUIRED):
        return own
    told = file.find_symbols({"_text", *names})
    if "_text" not in told:
        return own
    if own.found and "_text" not in own.found:
        own.found.clear()
    for name, value in told.items():
        if name in own.found or name in own.absolute:
            continue
        if value < ABSOLUTE_END:
            own.absolute[name] = value
        else:
            own.found[name] = value - told["_text"]
    own.count = own.count or len(told)
    return own


def _of_kallsyms(image: bytes, table: Kallsyms, names: Iterable[str], evidence: list[Evidence]) -> _Symbols:
    at = table.find({"_text", *names})
    addresses = table.addresses()
    values = {name: int(addresses[index]) for name, index in at.items()}
    with_absolute = table.rule == "absolute-percpu"
    absolute = {name: value for name, value in values.items() if with_absolute and value < ABSOLUTE_END}
    text = values.get("_text", 0)
    found = {name: signed64(value - text) for name, value in values.items() if name not in absolute}
    evidence.append(
        Evidence(
            "kallsyms", True, f"{table.count:,} symbols, {table.layout}, {table.rule}, {len(at)} looked up"
        )
    )
    return _Symbols(image, found, absolute, table.count, "kallsyms", tuple(table.spans()))


def _own_types(
    image: bytes, offsets: Mapping[str, int], release: str, evidence: list[Evidence]
) -> tuple[Types, tuple[tuple[int, int], ...]]:
    """BTF, and where it lies."""
    if "__start_BTF" not in offsets or "__stop_BTF" not in offsets:
        raise NoTypeInformation(
            f"Linux {release} carries no BTF, so the layout of its structures is not known",
            hint=HOW_TO_GIVE_TYPES,
        )
    blob = image[offsets["__start_BTF"] : offsets["__stop_BTF"]]
    try:
        btf = Btf(blob)
    except BadStructure as error:
        raise NoTypeInformation(
            f"the BTF of Linux {release} is damaged: {error.message}",
            hint=f"the kernel has been tampered with, or the dump has holes; {HOW_TO_GIVE_TYPES}",
        ) from error
    evidence.append(Evidence("BTF", True, f"{len(btf):,} types in {len(blob):,} bytes"))
    return btf, ((offsets["__start_BTF"], len(blob)),)


def _given_types(
    file: GivenTypes,
    image: bytes,
    banner: str,
    build_id: str,
    offsets: Mapping[str, int],
    evidence: list[Evidence],
) -> tuple[Types, tuple[tuple[int, int], ...]]:
    """The file's, if it is of this build; and the bytes of the guest that say so."""
    if file.build_id is not None:
        same, by = file.build_id == build_id, "build id"
    elif file.banner is not None:
        same, by = file.banner == banner, "banner"
    else:
        raise NoTypeInformation(
            f"{file.name} does not say of which kernel it is: neither by a banner nor by a build id",
            hint="an ISF needs the constant_data of linux_banner; vmon isf and dwarf2json write it",
        )
    if not same:
        raise _other_kernel(file, image, banner)
    count = f"{len(file.types):,} types, " if len(file.types) else ""
    text = f"{file.name} ({file.source}): {count}of this build by its {by}"
    evidence.append(Evidence("symbol file", True, text))
    notes = offsets["__start_notes"]
    spans = ((offsets["linux_banner"], len(banner)), (notes, offsets["__stop_notes"] - notes))
    return file.types, spans


def _other_kernel(file: GivenTypes, image: bytes, banner: str = "") -> NoTypeInformation:
    if not banner:
        match = BANNER.search(image[:PROBE_BYTES])
        banner = match.group().decode("utf-8", "replace") if match else "an unknown Linux"
    theirs = f"'{file.banner}'" if file.banner else f"build id {file.build_id}"
    return NoTypeInformation(
        f"{file.name} describes another kernel: {theirs}, and the guest runs '{banner}'",
        hint=HOW_TO_GIVE_TYPES,
    )


def read_kallsyms(phys: ReadPhys, rodata: Gpa) -> tuple[bytes, Kallsyms]:
    """The image from its rodata on, as much as is needed, and the symbol table in it; BadStructure."""
    image = read_image(phys, rodata, FIRST_READ_BYTES)
    try:
        return image, locate_kallsyms(image)
    except BadStructure:
        image = read_image(phys, rodata, MAX_IMAGE_BYTES)
        return image, locate_kallsyms(image)


def prove(phys: ReadPhys, rodata: Gpa, spans: Iterable[tuple[int, int]]) -> str:
    """SHA-256 of parts of the image. Some 8 MB, 5 to 10 ms."""
    digest = hashlib.sha256()
    for offset, size in spans:
        digest.update(phys.read(Gpa(rodata + offset), size))
    return digest.hexdigest()


def _text_at(image: bytes, at: int) -> str:
    return image[at : at + 512].split(b"\0", 1)[0].decode("utf-8", "replace") if 0 <= at < len(image) else ""


def signed64(value: int) -> int:
    """Sixty-four bits as a signed number."""
    value &= 0xFFFF_FFFF_FFFF_FFFF
    return value - (1 << 64) if value >> 63 else value
