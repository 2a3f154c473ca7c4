"""Types by name become types by number; the tests of isf.py and of dwarf.py go through it too."""

from __future__ import annotations

import pytest

from vmon.core.errors import BadStructure
from vmon.kernel import btf as kinds
from vmon.kernel.types import KINDS, Composite, Field, NamedTypes, TypeName

INT = TypeName("base", "int")
UNION = TypeName("union", "u")


class Few(NamedTypes):
    """What a test declares."""

    def __init__(self, **composites: Composite) -> None:
        super().__init__()
        self.composites = composites

    def __len__(self) -> int:
        return len(self.composites)

    def composite(self, name: str) -> Composite | None:
        return self.composites.get(name)

    def enumeration(self, name: str) -> tuple[int, dict[str, int]] | None:
        return (4, {"A": 1}) if name == "letters" else None

    def base_size_bytes(self, name: str) -> int:
        return 4


def test_equal_types_have_one_id() -> None:
    types = Few(s=Composite("struct", 8, (Field("a", INT, 0), Field("b", INT, 32))))
    root = types.find("s")
    assert root is not None and types.find("s") == root
    a, b = types.path(root, "a"), types.path(root, "b")
    assert a is not None and b is not None
    assert (a.type_id, a.bit_offset) == (b.type_id, b.bit_offset - 32)
    assert types.kind(a.type_id) == KINDS["base"] == kinds.KIND_INT


def test_the_first_of_equal_members_counts_and_offsets_add_up() -> None:
    inner = Composite("union", 8, (Field("a", INT, 0), Field("c", INT, 0), Field("low", INT, 3, 5)))
    outer = Composite(
        "struct",
        16,
        (Field("a", INT, 0), Field("", UNION, 64), Field("u", UNION, 64)),
    )
    types = Few(s=outer, u=inner)
    root = types.find("s")
    assert root is not None
    found = [types.path(root, name) for name in ("a", "c", "u.c", "low", "b", "a.x")]
    assert [member and (member.bit_offset, member.bit_size) for member in found] == [
        *((0, 0), (64, 0), (64, 0), (67, 5)),
        *(None, None),
    ]


def test_names_are_of_their_kind() -> None:
    types = Few(s=Composite("union", 8, ()))
    assert types.find("s") and types.find("s", kinds.KIND_UNION)
    assert types.find("s", kinds.KIND_STRUCT) is None
    number = types.find("letters", kinds.KIND_ENUM, kinds.KIND_ENUM64)
    assert number and types.enumerators(number) == {"A": 1} and types.size_bytes(number) == 4
    assert types.find("letters") is None
    with pytest.raises(BadStructure):
        types.enumerators(types.find("s") or 0)
    with pytest.raises(BadStructure):
        types.kind(77)
