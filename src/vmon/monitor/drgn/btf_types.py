"""BTF describes every type of C that a kernel uses: each becomes a type of drgn when it is first asked for.

Pure: bytes of BTF in, types out. Members and parameters are made when drgn looks at them, so a structure that leads
to half of the kernel costs nothing. A hostile guest can let types refer to themselves: what is not broken by a
structure is followed MAX_DEPTH times. Files are not named in BTF; of types of one name the first counts.
Sources: include/uapi/linux/btf.h, Documentation/bpf/btf.rst.
"""

from __future__ import annotations

from collections.abc import Callable

from drgn import (
    Object,
    Program,
    Qualifiers,
    Type,
    TypeEnumerator,
    TypeKind,
    TypeKindSet,
    TypeMember,
    TypeParameter,
)

from vmon.core.errors import BadStructure
from vmon.kernel import btf as kinds
from vmon.kernel.btf import Btf

MAX_DEPTH = 64
ENUM_TYPES = {
    (1, False): "unsigned char",
    (1, True): "signed char",
    (2, False): "unsigned short",
    (2, True): "short",
    (4, False): "unsigned int",
    (4, True): "int",
    (8, False): "unsigned long",
    (8, True): "long",
}
QUALIFIERS = {
    kinds.KIND_CONST: Qualifiers.CONST,
    kinds.KIND_VOLATILE: Qualifiers.VOLATILE,
    kinds.KIND_RESTRICT: Qualifiers.RESTRICT,
    kinds.KIND_TYPE_TAG: Qualifiers.NONE,
}
SOUGHT = (
    (TypeKind.STRUCT, kinds.KIND_STRUCT),
    (TypeKind.UNION, kinds.KIND_UNION),
    (TypeKind.ENUM, kinds.KIND_ENUM),
    (TypeKind.ENUM, kinds.KIND_ENUM64),
    (TypeKind.TYPEDEF, kinds.KIND_TYPEDEF),
)


class BtfTypes:
    """The types of one kernel as types of one drgn program."""

    def __init__(self, prog: Program, btf: Btf, base: BtfTypes | None = None) -> None:
        """With `base` they are a module's, and those of the kernel proper are the very same."""
        self._prog = prog
        self.btf = btf
        self._base = base
        self._own_from = 0 if base is None else len(base.btf) + 1
        self._known: dict[int, Type] = {0: prog.void_type()}

    def find(self, _prog: Program, sought: TypeKindSet, name: str, _file: str | None) -> Type | None:
        """A type finder as drgn calls it; None when this kernel has no such type."""
        for kind, btf_kind in SOUGHT:
            if kind in sought:
                type_id = self.btf.find(name, btf_kind)
                if type_id is not None:
                    return self.type(type_id)
        for type_id in self.btf.all_named(name, kinds.KIND_INT, kinds.KIND_FLOAT):
            found = self.type(type_id)
            if found.kind in sought:
                return found
        return None

    def type(self, type_id: int, depth: int = 0) -> Type:
        """The type of a BTF id. BadStructure when there is no such id, or no end to it."""
        if self._base is not None and type_id < self._own_from:
            return self._base.type(type_id, depth)
        known = self._known.get(type_id)
        if known is None:
            if depth > MAX_DEPTH:
                raise BadStructure("BTF types do not end", field="btf_type")
            known = self._known[type_id] = self._build(type_id, depth + 1)
        return known

    def _build(self, type_id: int, depth: int) -> Type:  # noqa: PLR0911 - one for each kind
        prog, btf = self._prog, self.btf
        kind = btf.kind(type_id)
        if kind in (kinds.KIND_STRUCT, kinds.KIND_UNION):
            make = prog.struct_type if kind == kinds.KIND_STRUCT else prog.union_type
            return make(btf.name(type_id) or None, btf.size_bytes(type_id), self._members(type_id))
        if kind == kinds.KIND_PTR:
            return prog.pointer_type(self.type(btf.target(type_id), depth))
        if kind == kinds.KIND_TYPEDEF:
            return prog.typedef_type(btf.name(type_id), self.type(btf.target(type_id), depth))
        if kind in QUALIFIERS:
            inner = self.type(btf.target(type_id), depth)
            return inner.qualified(inner.qualifiers | QUALIFIERS[kind])
        if kind == kinds.KIND_ARRAY:
            element, count = btf.array(type_id)
            # BTF has no way to tell [] from [0]; the kernel writes the former.
            return prog.array_type(self.type(element, depth), count or None)
        if kind == kinds.KIND_INT:
            (signed, _, truth), size = btf.encoding(type_id), btf.size_bytes(type_id)
            if truth:
                return prog.bool_type(btf.name(type_id), size)
            return prog.int_type(btf.name(type_id), size, signed)
        if kind == kinds.KIND_FLOAT:
            return prog.float_type(btf.name(type_id), btf.size_bytes(type_id))
        if kind in (kinds.KIND_ENUM, kinds.KIND_ENUM64):
            return self._enum(type_id)
        if kind == kinds.KIND_FWD:
            return self._forward(type_id)
        if kind == kinds.KIND_FUNC_PROTO:
            return self._function(type_id, depth)
        if kind in (kinds.KIND_FUNC, kinds.KIND_VAR):
            return self.type(btf.target(type_id), depth)
        raise BadStructure(f"a BTF type of kind {kind}", field="btf_type")

    def _members(self, type_id: int) -> list[TypeMember]:
        return [
            TypeMember(self._later(member.type_id, member.bit_size), member.name or None, member.bit_offset)
            for member in self.btf.members(type_id)
        ]

    def _later(self, type_id: int, bit_size: int = 0) -> Callable[[], Object | Type]:
        if bit_size:
            return lambda: Object(self._prog, self.type(type_id), bit_field_size=bit_size)
        return lambda: self.type(type_id)

    def _enum(self, type_id: int) -> Type:
        size = self.btf.size_bytes(type_id)
        values = signed_enumerators(self.btf, type_id)
        name = ENUM_TYPES.get((size, any(value < 0 for value in values.values())), "unsigned int")
        compatible = self._prog.int_type(name, size, not name.startswith("unsigned"))
        return self._prog.enum_type(
            self.btf.name(type_id) or None,
            compatible,
            [TypeEnumerator(text, value) for text, value in values.items()],
        )

    def _forward(self, type_id: int) -> Type:
        """What is declared and nowhere described: incomplete, unless something of that name is known."""
        name, union = self.btf.name(type_id), self.btf.flag(type_id)
        whole = self.btf.find(name, kinds.KIND_UNION if union else kinds.KIND_STRUCT)
        if whole is not None:
            return self.type(whole)
        return self._prog.union_type(name) if union else self._prog.struct_type(name)

    def _function(self, type_id: int, depth: int) -> Type:
        parameters = self.btf.parameters(type_id)
        variadic = bool(parameters) and parameters[-1] == ("", 0)
        if variadic:
            parameters.pop()
        return self._prog.function_type(
            self.type(self.btf.target(type_id), depth),
            [TypeParameter(self._later(of), name or None) for name, of in parameters],
            variadic,
        )


def signed_enumerators(btf: Btf, type_id: int) -> dict[str, int]:
    """Names and values of an enumeration, negative ones as such.

    Up to Linux 6.0 (pahole 1.24) the flag that tells a signed one is never set: there a value with the highest bit
    is taken for a negative one, which is what the kernel's own enumerations mean by it.
    """
    values = btf.enumerators(type_id)
    bits = 8 * btf.size_bytes(type_id)
    if btf.flag(type_id) or (bits == 32 and not btf.has_kind_flags):
        return {name: value - (1 << bits) if value >> (bits - 1) else value for name, value in values.items()}
    return values
