"""Builds the probe with the system's C compiler: code as it lies in a guest, and the ABI as BTF for the host.

    python probe/build.py OUT-FOLDER

Run by the package's build (hatch_build.py), so it needs nothing but Python and a compiler with binutils.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
SOURCES = ("hook", "describe", "path", "rules", "tags", "ask", "ring", "mailbox")
FLAGS = (
    *(
        "-std=gnu11",
        "-O2",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-ffreestanding",
        "-fno-builtin",
        "-fno-strict-aliasing",
    ),
    # Code of a kernel: general registers alone, no red zone under interrupts, a stack aligned to 8 bytes, linked in the
    # topmost 2 GiB.
    *("-mgeneral-regs-only", "-mno-red-zone", "-mpreferred-stack-boundary=3", "-mcmodel=kernel", "-fno-pic"),
    # No data of its own (jump tables), no calls of what is not there (memcpy, stack protector).
    *(
        "-fno-jump-tables",
        "-fno-tree-loop-distribute-patterns",
        "-fno-stack-protector",
        "-fcf-protection=none",
    ),
    "-fno-asynchronous-unwind-tables",
)
COMPILER = "cc"


def build(out: Path) -> None:
    """Write probe.bin and abi.btf into a folder. CalledProcessError, with the compiler's words on standard error."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        include = f"-I{HERE / 'include'}"
        objects = [work / "entry.o", *(work / f"{source}.o" for source in SOURCES)]
        run(COMPILER, include, "-c", HERE / "src" / "entry.S", "-o", objects[0])
        for source, target in zip(SOURCES, objects[1:], strict=True):
            run(COMPILER, *FLAGS, include, "-c", HERE / "src" / f"{source}.c", "-o", target)
        run(
            "ld", "-static", "-nostdlib", "-T", HERE / "src" / "window.ld", "-o", work / "probe.elf", *objects
        )
        run("objcopy", "-O", "binary", "-j", ".text", work / "probe.elf", out / "probe.bin")
        run(COMPILER, "-gbtf", include, "-c", HERE / "src" / "abi.c", "-o", work / "abi.o")
        run(
            "objcopy",
            "-O",
            "binary",
            "--set-section-flags",
            ".BTF=alloc",
            "-j",
            ".BTF",
            work / "abi.o",
            out / "abi.btf",
        )


def run(*command: str | Path) -> None:
    """One tool; its words go to our standard error."""
    subprocess.run([str(word) for word in command], check=True, stdout=sys.stderr)


if __name__ == "__main__":
    build(Path(sys.argv[1]))
