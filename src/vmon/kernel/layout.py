"""Turns wanted structures and fields into offsets, by asking the types for both spellings of a field.

Pure. The layout decides, never a version: each field is looked up under every name it ever had, newest first.
"""

from __future__ import annotations

from vmon.core.errors import BadStructure
from vmon.kernel.btf import KIND_ARRAY, KIND_ENUM, KIND_ENUM64, Member
from vmon.kernel.profile import FieldLayout, Source, StructLayout, Wants
from vmon.kernel.types import Types

# Readers allocate by these sizes. The largest structure that vmon reads is task_struct with 10 KiB, the largest
# field pglist_data.node_zones with 8 KiB.
MAX_STRUCT_BYTES = 256 << 10
MAX_FIELD_BYTES = 16 << 10


def resolve_structs(
    types: Types, wants: Wants, source: Source = "btf"
) -> tuple[dict[str, StructLayout], list[str]]:
    """Layouts of what exists, and the names of what does not."""
    structs: dict[str, StructLayout] = {}
    missing: list[str] = []
    for name, words in wants.structs.items():
        type_id = types.find(name)
        if type_id is None:
            missing.append(name)
            continue
        size = types.size_bytes(type_id)
        fields: dict[str, FieldLayout] = {}
        for word in words.split():
            spellings = word.split("|")
            for spelling in spellings:
                member = types.path(type_id, spelling)
                if member is not None:
                    fields[spellings[0]] = _field(types, name, size, spellings[0], spelling, member, source)
                    break
            else:
                missing.append(f"{name}.{spellings[0]}")
        structs[name] = StructLayout(name, size, fields)
    return structs, missing


def resolve_enums(types: Types, wants: Wants) -> tuple[dict[str, dict[str, int]], list[str]]:
    """Enumerations by name, and the names of those that do not exist."""
    found: dict[str, dict[str, int]] = {}
    missing: list[str] = []
    for name in wants.enums:
        type_id = types.find(name, KIND_ENUM, KIND_ENUM64)
        if type_id is None:
            missing.append(f"enum {name}")
        else:
            found[name] = types.enumerators(type_id)
    return found, missing


def _field(
    types: Types, struct: str, struct_size: int, name: str, spelling: str, member: Member, source: Source
) -> FieldLayout:
    type_id = types.strip(member.type_id)
    size = types.size_bytes(type_id)
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
    count = types.array(type_id)[1] if types.kind(type_id) == KIND_ARRAY else 0
    return FieldLayout(
        offset=offset,
        size=size,
        bit=bit if member.bit_size else 0,
        bits=member.bit_size,
        count=count,
        spelling=spelling if spelling != name else "",
        source=source,
    )
