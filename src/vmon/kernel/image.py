"""A Linux image starts its rodata on a 2 MiB boundary with the banner in the first KiB: that is where to look.

Reads 1 KiB at each populated 2 MiB boundary through ReadPhys. A hostile guest can plant banners; each is only a
candidate until the gates of identify have passed. RAM that the host has no page for is not touched.
Source: arch/x86/kernel/vmlinux.lds.S, init/version.c.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vmon.core.address import HUGE_PAGE_SIZE_BYTES, PAGE_SIZE_BYTES, Gpa
from vmon.core.ports import ReadPhys

BANNER = re.compile(rb"Linux version (\d+\.\d+[^\s\0]{0,64}) [^\0\n]{0,512}")
PROBE_BYTES = 1024
PROBES_AT_ONCE = 4096
MAX_CANDIDATES = 64
MAX_IMAGE_BYTES = 64 << 20
FIRST_READ_BYTES = 24 << 20
SEARCH_CHUNK_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class ImageCandidate:
    """A place that looks like the rodata of a Linux image."""

    rodata_gpa: Gpa
    release: str
    """As the first banner has it; may be cut short on 6.1 and later."""


def find_images(phys: ReadPhys) -> list[ImageCandidate]:
    """Every candidate, lowest address first. 0.3 ms for 512 MiB."""
    boundaries: list[int] = []
    step = HUGE_PAGE_SIZE_BYTES
    for part in phys.populated():
        first = -(-part.gpa // step) * step
        boundaries.extend(range(first, part.end_gpa - PROBE_BYTES + 1, step))
    found: list[ImageCandidate] = []
    unique = np.array(sorted(set(boundaries)), dtype=np.uint64)
    for at in range(0, len(unique), PROBES_AT_ONCE):
        gpas = unique[at : at + PROBES_AT_ONCE]
        data = phys.gather(gpas, PROBE_BYTES).tobytes()
        for match in BANNER.finditer(data):
            gpa = Gpa(int(gpas[match.start() // PROBE_BYTES]))
            if not found or found[-1].rodata_gpa != gpa:
                found.append(ImageCandidate(gpa, match.group(1).decode("ascii", "replace")))
            if len(found) >= MAX_CANDIDATES:
                return found
    return found


def read_image(phys: ReadPhys, rodata_gpa: Gpa, limit_bytes: int) -> bytes:
    """The image from its rodata on, as much as there is RAM for, at most `limit_bytes`."""
    for part in phys.ranges:
        if part.gpa <= rodata_gpa < part.end_gpa:
            return phys.read(rodata_gpa, min(limit_bytes, part.end_gpa - rodata_gpa))
    return b""


@dataclass(frozen=True, slots=True)
class RamSample:
    """What RAM looks like where no Linux image was found."""

    populated_bytes: int
    noise_share: float
    """Share of the sampled non-zero pages that are indistinguishable from random numbers."""
    nonzero_pages: int
    sampled_pages: int
    banner_gpa: Gpa | None
    """A Linux banner off the 2 MiB grid: another architecture or a left-over."""


def sample_ram(phys: ReadPhys, pages: int = 512, search_limit_bytes: int = 4 << 30) -> RamSample:
    """A last look at RAM, to say why nothing was found. Bounded: at most `search_limit_bytes` are searched."""
    parts = list(phys.populated())
    total = sum(part.size_bytes for part in parts)
    stride = max(PAGE_SIZE_BYTES, total // pages // PAGE_SIZE_BYTES * PAGE_SIZE_BYTES)
    noisy = nonzero = sampled = 0
    # Steps count populated bytes, not addresses: RAM in a million pieces costs no more than RAM in one.
    ahead = 0
    for part in parts:
        first = part.gpa + ahead
        steps = range(first, part.end_gpa, stride)
        ahead = first + len(steps) * stride - part.end_gpa
        for gpa in steps:
            if gpa + PAGE_SIZE_BYTES > part.end_gpa:
                continue
            counts = np.bincount(
                np.frombuffer(phys.read(Gpa(gpa), PAGE_SIZE_BYTES), dtype=np.uint8), minlength=256
            )
            sampled += 1
            if counts[0] == PAGE_SIZE_BYTES:
                continue
            nonzero += 1
            share = counts[counts > 0] / PAGE_SIZE_BYTES
            noisy += float(-(share * np.log2(share)).sum()) > 7.9
    banner = next(_search(phys, search_limit_bytes), None)
    return RamSample(total, noisy / nonzero if nonzero else 0.0, nonzero, sampled, banner)


def _search(phys: ReadPhys, limit_bytes: int) -> Iterator[Gpa]:
    for part in phys.populated():
        for gpa in range(part.gpa, part.end_gpa, SEARCH_CHUNK_BYTES):
            if limit_bytes <= 0:
                return
            size = min(SEARCH_CHUNK_BYTES, part.end_gpa - gpa, limit_bytes)
            limit_bytes -= size
            match = BANNER.search(phys.read(Gpa(gpa), size))
            if match:
                yield Gpa(gpa + match.start())
