from __future__ import annotations

import msgspec
import pytest

from tests.unit.linux.build import profile_of
from vmon.core.errors import BadStructure
from vmon.kernel.profile import KernelProfile, Wants


def test_what_this_kernel_has_and_has_not() -> None:
    profile = profile_of("old")
    assert profile.has("mm_struct", "mmap")
    assert not profile.has("mm_struct", "mm_mt")
    assert not profile.has("nothing", "x")
    assert "mmap" in profile["mm_struct"]
    assert profile["task_struct"]["__state"].spelling == "state"


def test_what_is_missing_is_named() -> None:
    profile = profile_of("old")
    with pytest.raises(BadStructure) as caught:
        profile["nothing"]
    assert caught.value.field == "nothing"
    for ask in (profile["mm_struct"].offset, profile["mm_struct"].__getitem__):
        with pytest.raises(BadStructure) as caught:
            ask("mm_mt")
        assert caught.value.field == "mm_struct.mm_mt"


def test_a_profile_survives_being_written() -> None:
    for model in ("new", "old"):
        profile = profile_of(model)
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(profile), type=KernelProfile) == profile


def test_wants_join_without_repeating() -> None:
    one = Wants(("a", "b"), {"s": "x y|z", "t": "q"}, ("e",))
    other = Wants(("b", "c"), {"s": "y|z w", "u": "v"}, ("e", "f"))
    assert one | other == Wants(("a", "b", "c"), {"s": "x y|z w", "t": "q", "u": "v"}, ("e", "f"))
    assert one | Wants() == Wants() | one == one


def test_a_digest_tells_wants_apart_and_nothing_else() -> None:
    one = Wants(("a",), {"s": "x", "t": "y"})
    assert one.digest_source() == Wants(("a",), {"t": "y", "s": "x"}).digest_source()
    others = [Wants(("b",), one.structs), Wants(("a",), {"s": "x"}), Wants(("a",), one.structs, ("e",))]
    assert len({want.digest_source() for want in (one, *others)}) == 4
