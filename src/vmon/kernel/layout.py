"""Turns wanted structures and fields into offsets, by asking BTF for both spellings of a field.

Pure. The layout decides, never a version: each field is looked up under every name it ever had, newest first.
"""

from __future__ import annotations

from vmon.core.errors import BadStructure
from vmon.kernel.btf import KIND_ARRAY, KIND_ENUM, KIND_ENUM64, Btf, Member
from vmon.kernel.profile import FieldLayout, StructLayout, Wants

# Readers allocate by these sizes. The largest structure that vmon reads is task_struct with 10 KiB, the largest
# field pglist_data.node_zones with 8 KiB.
MAX_STRUCT_BYTES = 256 << 10
MAX_FIELD_BYTES = 16 << 10


def resolve_structs(btf: Btf, wants: Wants) -> tuple[dict[str, StructLayout], list[str]]:
    """Layouts of what exists, and the names of what does not."""
    structs: dict[str, StructLayout] = {}
    missing: list[str] = []
    for name, words in wants.structs.items():
        type_id = btf.find(name)
        if type_id is None:
            missing.append(name)
            continue
        size = btf.size_bytes(type_id)
        fields: dict[str, FieldLayout] = {}
        for word in words.split():
            spellings = word.split("|")
            for spelling in spellings:
                member = btf.path(type_id, spelling)
                if member is not None:
                    fields[spellings[0]] = _field(btf, name, size, spellings[0], spelling, member)
                    break
            else:
                missing.append(f"{name}.{spellings[0]}")
        structs[name] = StructLayout(name, size, fields)
    return structs, missing


def resolve_enums(btf: Btf, wants: Wants) -> tuple[dict[str, dict[str, int]], list[str]]:
    """Enumerations by name, and the names of those that do not exist."""
    found: dict[str, dict[str, int]] = {}
    missing: list[str] = []
    for name in wants.enums:
        type_id = btf.find(name, KIND_ENUM, KIND_ENUM64)
        if type_id is None:
            missing.append(f"enum {name}")
        else:
            found[name] = btf.enumerators(type_id)
    return found, missing


def _field(btf: Btf, struct: str, struct_size: int, name: str, spelling: str, member: Member) -> FieldLayout:
    type_id = btf.strip(member.type_id)
    size = btf.size_bytes(type_id)
    offset, bit = divmod(member.bit_offset, 8)
    if member.bit_size:
        # The word that holds a bit-field, as the compiler aligns it.
        bit += 8 * (offset % max(size, 1))
        offset -= offset % max(size, 1)
    if struct_size > MAX_STRUCT_BYTES or size > MAX_FIELD_BYTES:
        raise BadStructure(
            f"a field of {size} bytes in {struct_size}", field=f"{struct}.{name}", address=offset
        )
    if offset + size > struct_size:
        raise BadStructure("a field reaches beyond its structure", field=f"{struct}.{name}", address=offset)
    count = btf.array(type_id)[1] if btf.kind(type_id) == KIND_ARRAY else 0
    return FieldLayout(
        offset=offset,
        size=size,
        bit=bit if member.bit_size else 0,
        bits=member.bit_size,
        count=count,
        spelling=spelling if spelling != name else "",
    )
