"""Memory dump files, read through the same port as a live guest, and written from one.

Raw RAM, ELF cores of QEMU's dump-guest-memory, and LiME. A dump may be hostile from its first byte: headers
are bounded, checked against the file's size, and refused as DumpFormatError with the offset of what is wrong.
"""

from vmon.transport.dump.read import DumpRam, open_dump
from vmon.transport.dump.write import DumpFormat, DumpWritten, write_dump

__all__ = ["DumpFormat", "DumpRam", "DumpWritten", "open_dump", "write_dump"]
