"""The build id is 20 bytes in an ELF note of the image: the name under which a profile is kept.

Decodes bytes that it is given. A hostile note can lie in its sizes; the walk ends at the section's end.
Source: include/uapi/linux/elf.h, lib/buildid.c.
"""

from __future__ import annotations

import struct

from vmon.core.errors import BadStructure

NOTE_HEAD = struct.Struct("<III")
NT_GNU_BUILD_ID = 3
MAX_NOTES_BYTES = 4096


def find_build_id(image: bytes, start: int | None, stop: int | None) -> tuple[str, int]:
    """Build id in hexadecimal and its offset in `image`; BadStructure when the notes hold none."""
    if start is None or stop is None or not 0 <= start < stop <= len(image) or stop - start > MAX_NOTES_BYTES:
        raise BadStructure("the image has no notes section", field="__start_notes", address=start or 0)
    at = start
    while at + NOTE_HEAD.size <= stop:
        name_size, desc_size, kind = NOTE_HEAD.unpack_from(image, at)
        name_at = at + NOTE_HEAD.size
        desc_at = name_at + ((name_size + 3) & ~3)
        after = desc_at + ((desc_size + 3) & ~3)
        if after > stop:
            break
        if (
            kind == NT_GNU_BUILD_ID
            and image[name_at : name_at + name_size] == b"GNU\0"
            and 8 <= desc_size <= 64
        ):
            return image[desc_at : desc_at + desc_size].hex(), desc_at
        at = after
    raise BadStructure("the image's notes hold no build id", field="__start_notes", address=start)
