"""Types of a vmlinux with debug information, by way of drgn, the one tool that reads half a GB of DWARF in a second.

Reads the file that the user names. drgn is an optional extra, and this is its door for types. A structure is asked for
by its name when it is wanted; one that is only declared counts as absent.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vmon.core.errors import BadStructure, NotSupported
from vmon.kernel.elf_symbols import ElfSymbols
from vmon.kernel.learn import GivenTypes
from vmon.kernel.types import MAX_DEPTH, Composite, Field, Kind, NamedTypes, TypeName


def load_dwarf(path: Path) -> GivenTypes:
    """What the file says. NotSupported without drgn, BadStructure where it holds no types."""
    with _mapped(path) as data:
        elf = ElfSymbols(data)
        build_id = elf.build_id
        at = elf.find_symbols(["linux_banner"]).get("linux_banner")
        banner = elf.text_at(at) if at is not None else None
    types = DwarfTypes(path)
    return GivenTypes(
        name=str(path),
        source="dwarf",
        types=types,
        find_symbols=lambda names: _find_symbols(path, list(names)),
        banner=banner.strip() if banner else None,
        build_id=build_id,
    )


def _find_symbols(path: Path, names: list[str]) -> dict[str, int]:
    with _mapped(path) as data:
        return ElfSymbols(data).find_symbols(names)


@contextmanager
def _mapped(path: Path) -> Iterator[memoryview]:
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        memoryview(data) as view,
    ):
        yield view


class DwarfTypes(NamedTypes):
    """The types of one file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        try:
            import drgn  # noqa: PLC0415
        except ImportError:
            raise NotSupported(
                "debug information is read by drgn, which is not installed",
                hint="pip install 'vmon[drgn]', or give a Volatility symbol file, which needs nothing",
            ) from None
        self._drgn: Any = drgn
        self._program = drgn.Program()
        module = self._program.extra_module(path.name, create=True)
        try:
            module.try_file(str(path), force=True)
        except (drgn.MissingDebugInfoError, OSError, ValueError, SyntaxError) as error:
            raise BadStructure(f"its debug information can't be read: {error}", field="dwarf") from error
        if module.debug_file_status != drgn.ModuleFileStatus.HAVE:
            raise BadStructure("it holds no debug information", field="dwarf")
        self._composites: dict[str, Composite] = {}
        self._anonymous = 0
        self._sizes: dict[str, int] = {}

    def __len__(self) -> int:
        """Of those that were asked for: what else there is drgn finds when it is asked."""
        return len(self._composites)

    def _type(self, kind: str, name: str) -> Any:
        try:
            return self._program.type(f"{kind} {name}")
        except (LookupError, SyntaxError):
            return None

    def composite(self, name: str) -> Composite | None:
        """See NamedTypes."""
        if name not in self._composites:
            found = self._type("struct", name) or self._type("union", name)
            if found is None or not found.is_complete():
                return None
            self._composites[name] = self._composite(found)
        return self._composites[name]

    def _composite(self, found: Any) -> Composite:
        kind: Kind = "union" if found.kind == self._drgn.TypeKind.UNION else "struct"
        fields = tuple(
            Field(
                member.name or "",
                self._reference_to(member.type),
                member.bit_offset,
                member.bit_field_size or 0,
            )
            for member in found.members
        )
        return Composite(kind, found.size, fields)

    def _reference_to(self, found: Any, depth: int = MAX_DEPTH) -> TypeName:
        if depth < 0:
            raise BadStructure("types nest without end", field="dwarf")
        kinds = self._drgn.TypeKind
        kind = found.kind
        named = TypeName("void")
        if kind == kinds.TYPEDEF:
            named = self._reference_to(found.type, depth - 1)
        elif kind == kinds.POINTER:
            named = TypeName("pointer")
        elif kind == kinds.ARRAY:
            named = TypeName("array", of=self._reference_to(found.type, depth - 1), count=found.length or 0)
        elif kind in (kinds.STRUCT, kinds.UNION, kinds.CLASS):
            named = TypeName("union" if kind == kinds.UNION else "struct", self._name_of(found))
        elif kind == kinds.ENUM:
            # What has no name can't be asked for; its size is that of the integer behind it.
            named = TypeName("enum", found.tag) if found.tag else self._reference_to(found.type, depth - 1)
        elif kind == kinds.FUNCTION:
            named = TypeName("function")
        elif kind in (kinds.INT, kinds.BOOL, kinds.FLOAT):
            named = TypeName("base", self._sized(found.name, found))
        return named

    def _sized(self, name: str, found: Any) -> str:
        self._sizes[name] = found.size
        return name

    def _name_of(self, found: Any) -> str:
        if found.tag:
            return str(found.tag)
        self._anonymous += 1
        # No name of C has a blank.
        name = f"anonymous {self._anonymous}"
        self._composites[name] = self._composite(found)
        return name

    def enumeration(self, name: str) -> tuple[int, dict[str, int]] | None:
        """See NamedTypes."""
        found = self._type("enum", name)
        if found is None or found.type is None:
            return None
        return found.type.size, {item.name: item.value for item in found.enumerators or ()}

    def base_size_bytes(self, name: str) -> int:
        """See NamedTypes."""
        return self._sizes.get(name, 0)
