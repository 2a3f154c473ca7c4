"""A guest is a program that drgn, the programmable debugger, can look at: without debug information here.

The only door to the optional package of that name. Reads the guest, changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmon.core.errors import NotSupported

if TYPE_CHECKING:
    import drgn

    from vmon.core.ports import ReadPhys
    from vmon.linux.kernel import Kernel


def open_program(ram: ReadPhys, kernel: Kernel, *, is_live: bool) -> drgn.Program:
    """A drgn program of an identified kernel; NotSupported where drgn is not installed."""
    try:
        from vmon.monitor.drgn.program import make_program  # noqa: PLC0415 - optional, and 60 ms to import
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != "drgn":
            raise
        raise NotSupported(
            "drgn is not installed", hint="pip install 'vmon[drgn]', or `pip install drgn` beside vmon"
        ) from error
    return make_program(ram, kernel, is_live=is_live)
