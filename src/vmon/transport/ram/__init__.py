"""Windows on guest RAM: a shared backend mapped read-only, or the memory of the QEMU process.

MappedRam reads memfd, shm and hugetlbfs files, FileRam dumps, ProcessRam /proc/PID/mem; all but FileRam write when
told to. A guest can put any bytes in them, and can move them while we read; it can't make a read or a write leave
the table of extents.
"""

from vmon.transport.ram.extents import Extent, ExtentTable
from vmon.transport.ram.mapped import FileRam, MappedRam
from vmon.transport.ram.process import ProcessRam

__all__ = ["Extent", "ExtentTable", "FileRam", "MappedRam", "ProcessRam"]
