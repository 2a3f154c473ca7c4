"""A variable is a name in kallsyms and a type; BTF has the types of few, so vmon knows the best known.

Pure but for addresses. In order: a table of variables (vmon.monitor.drgn.variables), the variables that BTF describes
(each CPU's own; in some kernels all), enumerators, functions. A hostile guest decides addresses, never which type is
read there. Of a name that several static variables share none is given, unless the table means one.
"""

from __future__ import annotations

import re

from drgn import FindObjectFlags, Object, Program, Type, TypeMember, alignof, sizeof

from vmon.core.address import Gva
from vmon.core.errors import GuestDataError
from vmon.kernel import btf as kinds
from vmon.linux.kernel import Kernel
from vmon.monitor.drgn.btf_types import BtfTypes, signed_enumerators
from vmon.monitor.drgn.module_types import ModuleTypes
from vmon.monitor.drgn.symbols import KernelSymbols
from vmon.monitor.drgn.variables import VARIABLES

ARRAY = re.compile(r"(?P<element>.*?) ?\[(?P<count>[^\[\]]*)\]$")
OUTSIDE_BRACES = re.compile(r"\|(?![^{]*\})")
MEMBER = re.compile(r"typeof\((?P<whole>[^.]*)\.(?P<name>\w+)\)")
MAX_ELEMENTS = 1 << 20
MAX_ROOM_BYTES = 64 << 10


class KernelObjects:
    """The variables, constants and functions of one kernel as objects of drgn."""

    def __init__(self, kernel: Kernel, types: BtfTypes, symbols: KernelSymbols, modules: ModuleTypes) -> None:
        self._kernel = kernel
        self._types = types
        self._symbols = symbols
        self._modules = modules

    def find(self, prog: Program, name: str, flags: FindObjectFlags, _file: str | None) -> Object | None:
        """An object finder as drgn calls it; None when this kernel has no such object, or its type is not known."""
        if flags & FindObjectFlags.VARIABLE:
            found = self._variable(prog, name)
            if found is not None:
                return found
        if flags & FindObjectFlags.CONSTANT:
            found = self._constant(prog, name)
            if found is not None:
                return found
        if flags & FindObjectFlags.FUNCTION:
            return self._function(prog, name)
        return None

    def address(self, name: str) -> int | None:
        """Where a symbol lies, of a per-CPU variable its offset; None when there is none, or several."""
        profile = self._kernel.profile
        if name in profile.absolute:
            return profile.absolute[name]
        if self._kernel.has_symbol(name):
            return self._kernel.symbol(name)
        rows = self._symbols.rows(name)
        return self._symbols.address(rows[0]) if len(rows) == 1 else None

    def _variable(self, prog: Program, name: str) -> Object | None:
        spellings = VARIABLES.get(name)
        known = self._types.btf.all_named(name, kinds.KIND_VAR)
        if spellings is None and not known:
            return None
        address = self.address(name)
        if address is None:
            return None
        found = self._types.type(known[0]) if known else None
        if found is None and spellings is not None:
            found = self.declared(prog, spellings, address)
        return None if found is None else Object(prog, found, address=address)

    def _constant(self, prog: Program, name: str) -> Object | None:
        found = self._types.btf.find_enumerator(name)
        if found is None:
            return None
        type_id, place = found
        value = list(signed_enumerators(self._types.btf, type_id).values())[place]
        return Object(prog, self._types.type(type_id), value)

    def _function(self, prog: Program, name: str) -> Object | None:
        """A function by its type in BTF; one that BTF leaves out takes and gives what nobody knows: void ()."""
        ids = self._types.btf.all_named(name, kinds.KIND_FUNC)
        rows = self._symbols.rows(name)
        if not rows:
            return self._function_of_module(prog, name)
        if len(rows) != 1 or not self._symbols.is_function(rows[0]):
            return None
        known = self._types.type(ids[0]) if ids else prog.function_type(prog.void_type(), [], True)
        return Object(prog, known, address=self._symbols.address(rows[0]))

    def _function_of_module(self, prog: Program, name: str) -> Object | None:
        known = next(self._modules.all_named(prog, name, kinds.KIND_FUNC), None)
        if known is None:
            return None
        places = self._symbols.of_modules(prog, name, None, False)
        return Object(prog, known, address=places[0].address) if len(places) == 1 else None

    def declared(self, prog: Program, spellings: str, address: int) -> Type | None:
        """The first of the types, spelled as in C and separated by |, that this kernel has.

        `T[]` is as long as there is room before the next symbol, `T[*]` without the zeros at its end, `T[NAME]` as
        an enumerator says; `{T a; U b}` is a structure of its own, `typeof(T.a)` the type of a member.
        """
        for spelling in OUTSIDE_BRACES.split(spellings):
            try:
                return self._declared(prog, spelling.strip(), address)
            except (LookupError, TypeError):
                # A type that is not there, or has no size.
                continue
        return None

    def _declared(self, prog: Program, spelling: str, address: int) -> Type:
        if spelling.startswith("{"):
            return self._structure(prog, spelling.strip("{}"))
        member = MEMBER.fullmatch(spelling)
        if member is not None:
            return prog.type(member["whole"]).member(member["name"]).type
        array = ARRAY.match(spelling)
        if array is None:
            return prog.type(spelling)
        element = self._declared(prog, array["element"], address)
        return prog.array_type(element, self._length(prog, array["count"], address, max(sizeof(element), 1)))

    def _length(self, prog: Program, count: str, address: int, size: int) -> int:
        if count == "*":
            return self._filled(address, size)
        if not count:
            return min(self._symbols.size_bytes(address) // size, MAX_ELEMENTS)
        return int(count) if count.isdigit() else int(prog.constant(count).value_())

    def _filled(self, address: int, size: int) -> int:
        """Elements up to the last that is not zero."""
        room = min(self._symbols.size_bytes(address), MAX_ROOM_BYTES)
        try:
            data = self._kernel.memory.read(Gva(address), room).rstrip(b"\0")
        except GuestDataError:
            return 0
        return -(-len(data) // size)

    def _structure(self, prog: Program, members: str) -> Type:
        placed, at = [], 0
        for member in members.split(";"):
            spelling, _, name = member.strip().rpartition(" ")
            of = self.declared(prog, spelling, 0)
            if of is None:
                raise LookupError(spelling)
            at += -at % alignof(of)
            placed.append(TypeMember(of, name, 8 * at))
            at += sizeof(of)
        return prog.struct_type(None, at, placed)
