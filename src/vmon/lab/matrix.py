"""The guest kernels that vmon is tried on: one line a series, each with the reason why it is there.

Pure data. The newest Debian cloud kernel of a series is taken, whatever its exact version is that day.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Series:
    """A kernel series of the matrix and where Debian keeps it."""

    name: str
    suites: tuple[str, ...]
    """Debian suites that may have it; all of them are asked, the newest package wins."""
    fallback: tuple[str, ...]
    """Suites with large indexes, asked only where `suites` no longer have the series."""
    reason: str
    tcg_cpu: str = "max"
    """The -cpu of a guest under TCG: max, so that what the newest CPUs have (5-level paging) is met."""
    extra: bool = False
    """Nice to have: not part of what every guest test runs on."""
    flavour: str = "cloud-amd64"
    """How the names of Debian's packages end: cloud-amd64 is for guests, amd64 has every driver."""
    modules: tuple[str, ...] = ()
    """Modules kept beyond those that every guest has."""

    @property
    def package(self) -> re.Pattern[str]:
        """Matches the names of this series' image packages; debug symbols and unsigned twins left out."""
        return re.compile(
            rf"linux-image-{re.escape(self.name)}(?:[.+-]\S*)?(?<!-unsigned)(?<!-cloud)(?<!-rt)-{self.flavour}"
        )

    @property
    def key(self) -> str:
        """Its name in the cache; every flavour has one of its own."""
        return self.name if self.flavour == "cloud-amd64" else f"{self.name}-{self.flavour}"


DEFAULT = "6.1"

MATRIX: tuple[Series, ...] = (
    Series(
        "5.10",
        ("bullseye", "bullseye-security"),
        (),
        "oldest still run widely; 4-level paging, rbtree of VMAs, task state not renamed, ext4 a module",
    ),
    Series(
        "6.1",
        ("bookworm", "bookworm-security"),
        (),
        "Debian 12; maple tree, first series with 5-level paging here, LZ4 image",
    ),
    Series(
        "6.12",
        ("trixie", "trixie-security"),
        (),
        "Debian 13, the LTS of today; thread_group gone, percpu rss counters, new kallsyms order",
        # With cmpxchg16b and two vCPUs this series oopses by itself under QEMU 7.2's TCG.
        tcg_cpu="max,-cx16",
    ),
    Series(
        "6.18",
        ("trixie-backports",),
        ("forky", "sid"),
        "LTS after 6.12; f_ref, __f_path, kernfs __parent, unsigned kallsyms offsets",
    ),
    Series(
        "7.2",
        ("trixie-backports",),
        ("forky", "sid"),
        "newest that Debian ships widely; place-relative kallsyms, packages split in three",
    ),
    Series(
        "7.3",
        ("trixie-backports",),
        ("experimental",),
        "what comes next: shows a moved layout before the users meet it",
        extra=True,
    ),
)

HOST = Series(
    "6.1",
    ("bookworm", "bookworm-security"),
    (),
    "not a guest: Debian 12's own kernel with its KVM, for the host that runs guests inside the emulator",
    tcg_cpu="EPYC,+svm,-sse4a,-xsave,-cx16,-avx,-avx2,-fma,-f16c",
    flavour="amd64",
    modules=("kvm_amd", "9p", "9pnet_virtio"),
)


def find_series(name: str) -> Series | None:
    """The series of that name, None where the matrix has no such line."""
    return next((series for series in MATRIX if series.name == name), None)


def names(*, extra: bool = False) -> tuple[str, ...]:
    """Names of the series that every guest test runs on; with `extra`, of all."""
    return tuple(series.name for series in MATRIX if extra or not series.extra)
