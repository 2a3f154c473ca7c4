"""Where a guest's views of itself disagree. Reads the guest and changes nothing; remembers its code on the host."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vmon.core.coverage import Answer, Gaps
from vmon.core.errors import UsageError
from vmon.monitor.views.subject import Subject

if TYPE_CHECKING:
    from vmon.core.ports import Registers
    from vmon.core.records.finding import FindingRecord


class FindingViews(Subject):
    """Mixed into VirtualMachine."""

    @abstractmethod
    def registers(self) -> list[Registers]:
        """Of every vCPU; none where they can't be read."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """Names this very run of the guest."""

    def check(
        self, *subjects: str, expect: Sequence[str] = (), image: str | Path | None = None
    ) -> Answer[FindingRecord]:
        """Differences between what should agree, the worst first; none on a guest that nobody touched.

        `subjects` of vmon.check.run.SUBJECTS, all by default. `expect` holds process=NAME and seccomp=NAME. The code
        is compared with the first check of this boot, and with `image`, the vmlinuz or vmlinux of the guest's kernel,
        where it is given. 0.3 to 0.6 s. UsageError for a subject or expectation that does not exist, and for a file
        that is another kernel's.
        """
        from vmon.check import run
        from vmon.check.defences import parse_expectation
        from vmon.check.text import fingerprint, mask, own_text
        from vmon.core.bzimage import unpack
        from vmon.kernel.vmlinux import Vmlinux
        from vmon.monitor.fingerprints import FingerprintShelf
        from vmon.probe.abi import load_abi
        from vmon.probe.tenant import boot_of

        file = Vmlinux(unpack(_read(image))) if image is not None else None
        expectations = [parse_expectation(text) for text in expect]
        kernel, abi = self.wide_kernel, load_abi()
        shelf = FingerprintShelf(self.identity, boot_of(kernel))
        before = shelf.load()
        answer = run.check(
            kernel, run.Basis(abi, before, expectations, self.registers(), file), subjects or run.SUBJECTS
        )
        if before is None and (not subjects or "text" in subjects):
            shelf.save(fingerprint(mask(kernel, own_text(kernel, abi), Gaps()), time.time()))
        return answer


def _read(image: str | Path) -> bytes:
    try:
        return Path(image).read_bytes()
    except OSError as error:
        raise UsageError(f"{image}: {error.strerror}") from error
