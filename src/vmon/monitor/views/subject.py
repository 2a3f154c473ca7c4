"""What every subject of views stands on: the kernel, read with what the views want of it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from vmon.core.coverage import Answer, Gaps
from vmon.linux.retry import settled

if TYPE_CHECKING:
    from vmon.linux.kernel import Kernel
    from vmon.linux.snapshot import Snapshot


class Subject:
    """What a subject may ask of the machine that it is mixed into."""

    @property
    @abstractmethod
    def kernel(self) -> Kernel:
        """The running kernel, as attach learnt it. Notices a reboot."""

    @property
    @abstractmethod
    def wide_kernel(self) -> Kernel:
        """The running kernel, for every reader of vmon.linux. 40 to 100 ms once for a build never met, then 1 to 3."""

    @abstractmethod
    def snapshot(self) -> Snapshot:
        """All processes as columns."""


R = TypeVar("R")


def answer(read: Callable[[Gaps], list[R]]) -> Answer[R]:
    """The records that `read` gives, with its gaps; tried again where the guest moved under it."""
    gaps = Gaps()
    return Answer(settled(read, gaps), gaps)
