from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kernel.fuzz import steady
from tests.unit.linux.build import Guest
from vmon.core.errors import BadStructure
from vmon.linux.dentry import MAX_DEPTH, MAX_NAME_BYTES, Path, Paths

MODELS = pytest.mark.parametrize("model", ["new", "old"])
WILD = 0xFFFF_F000_0000_0000


def resolve(guest: Guest, *pairs: tuple[int, int], calls: int = 3000) -> list[Path | None]:
    paths = Paths(guest.kernel(calls_limit=calls))
    mounts, dentries = (np.array(column, dtype=np.uint64) for column in zip(*pairs, strict=True))
    paths.load(mounts, dentries)
    return [paths.resolve(*pair) for pair in pairs]


def one(guest: Guest, mount: int, dentry: int, calls: int = 3000) -> Path | None:
    return resolve(guest, (mount, dentry), calls=calls)[0]


@MODELS
def test_names_are_joined_up_to_the_root(model: str) -> None:
    guest = Guest(model)
    long = b"n" * 255
    cases = [(), (b"a",), (b"a", b"b c", b"\xff\n"), (long, b"x" * 31, b"x" * 32, b"x" * 39, b"x" * 40)]
    pairs = [(guest.root_mount, guest.path(*names) if names else guest.root_dentry) for names in cases]
    assert [path.text for path in resolve(guest, *pairs) if path] == [
        b"/" + b"/".join(names) for names in cases
    ]


@MODELS
def test_paths_go_on_over_mounts_of_mounts(model: str) -> None:
    guest = Guest(model)
    inner_root = guest.dentry(b"/", 0)
    inner = guest.mount(guest.root_mount, guest.path(b"mnt"), inner_root)
    # A bind mount: its root is a directory in the middle of another tree.
    deep = guest.path(b"p", b"q", start=inner_root)
    bind = guest.mount(inner, guest.path(b"here", start=inner_root), deep)
    file = guest.path(b"r", start=deep)
    found = resolve(guest, (bind, file), (bind, deep), (inner, file), (inner, inner_root))
    assert [path.text for path in found if path] == [b"/mnt/here/r", b"/mnt/here", b"/mnt/p/q/r", b"/mnt"]


def test_where_a_dentry_is_in_its_own_file_system() -> None:
    guest = Guest("new")
    inner_root = guest.dentry(b"/", 0)
    deep = guest.path(b"p", b"q", start=inner_root)
    inner = guest.mount(guest.root_mount, guest.path(b"mnt"), deep)
    gone = guest.path(b"gone", start=inner_root, deleted=True)
    circle = guest.path(b"a")
    guest.set(circle, "dentry", {"d_parent": guest.dentry(b"b", circle)})
    paths = Paths(guest.kernel(calls_limit=3000))
    pairs = [(inner, deep), (inner, inner_root), (inner, gone), (inner, circle), (inner, 0)]
    paths.load(*(np.array(column, dtype=np.uint64) for column in zip(*pairs, strict=True)))
    assert [paths.within(dentry) for _, dentry in pairs] == [
        Path(b"/p/q", False),
        Path(b"/", False),
        Path(b"/gone", True),
        None,
        None,
    ]


def test_deleted_files_and_roots_that_are_not_hashed() -> None:
    guest = Guest("new")
    gone = guest.path(b"tmp", b"gone", deleted=True)
    found = resolve(guest, (guest.root_mount, gone), (guest.root_mount, guest.root_dentry))
    assert [path.deleted for path in found if path] == [True, False]


@MODELS
@pytest.mark.parametrize(
    ("filesystem", "name", "expected"),
    [
        ("pipefs", b"", b"pipe:[77]"),
        ("sockfs", b"", b"socket:[77]"),
        ("anon_inodefs", b"[eventpoll]", b"anon_inode:[eventpoll]"),
        ("pidfs", b"", b"anon_inode:[pidfd]"),
        ("tmpfs", b"memfd:x", b"/memfd:x"),
        ("nsfs", b"", b"ns:[77]"),
    ],
)
def test_names_that_the_kernel_makes_up(model: str, filesystem: str, name: bytes, expected: bytes) -> None:
    guest = Guest(model)
    file = guest.special_file(filesystem, name, 0o600, 77)
    mount, dentry = guest.get(file, "file", "f_path.mnt"), guest.get(file, "file", "f_path.dentry")
    found = one(guest, mount, dentry)
    assert found is not None
    assert found.text == expected
    assert found.deleted == (filesystem == "tmpfs")


def test_namespace_files_say_which_kind() -> None:
    guest = Guest("new")
    ops = guest.new("proc_ns_operations", {"name": guest.string(b"net")})
    common = guest.new("ns_common", {"ops": ops})
    dentry = guest.dentry(b"", 0, guest.inode(0o444, 4026531992, "nsfs", i_private=common), named=True)
    mount = guest.mount(0, 0, guest.dentry(b"/", 0))
    assert one(guest, mount, dentry) == Path(b"net:[4026531992]", False)


def test_null_pairs_have_no_path() -> None:
    guest = Guest("new")
    assert resolve(guest, (0, 0), (guest.root_mount, 0), (0, guest.root_dentry)) == [None] * 3


def test_pairs_that_are_nowhere() -> None:
    guest = Guest("new")
    for mount, dentry in (
        (WILD, guest.path(b"a")),
        (0x10, guest.path(b"b")),
        (guest.root_mount, WILD),
        (WILD, WILD),
    ):
        found = one(guest, mount, dentry)
        assert found is None or found.text.startswith(b"/")


def test_dentries_in_a_circle_have_no_path() -> None:
    guest = Guest("new")
    first = guest.path(b"a")
    second = guest.dentry(b"b", first)
    guest.set(first, "dentry", {"d_parent": second})
    assert one(guest, guest.root_mount, second, calls=50) is None


def test_mounts_in_a_circle_have_no_path() -> None:
    guest = Guest("new")
    root = guest.dentry(b"/", 0)
    one_mount = guest.mount(guest.root_mount, guest.path(b"m"), root)
    other = guest.mount(one_mount, guest.path(b"n", start=root), guest.dentry(b"/", 0))
    inner = guest.profile["mount"].offset("mnt")
    other_root = guest.get(other - inner, "mount", "mnt.mnt_root")
    guest.set(
        one_mount - inner,
        "mount",
        {"mnt_parent": other - inner, "mnt_mountpoint": guest.path(b"o", start=other_root)},
    )
    assert one(guest, other, guest.path(b"f", start=other_root), calls=100) is None


def test_a_tree_deeper_than_the_limit_has_no_path_and_one_at_the_limit_has() -> None:
    guest = Guest("new")
    names = [b"%d" % number for number in range(MAX_DEPTH + 30)]
    dentries = [guest.root_dentry]
    for name in names:
        dentries.append(guest.dentry(name, dentries[-1]))
    deep, fine = (
        resolve(guest, (guest.root_mount, dentries[-1]))[0],
        resolve(guest, (guest.root_mount, dentries[150]))[0],
    )
    assert deep is None
    assert fine == Path(b"/" + b"/".join(names[:150]), False)


def test_a_name_that_claims_gigabytes_or_is_nowhere() -> None:
    guest = Guest("new")
    long, short, lost = guest.path(b"n" * 100), guest.path(b"short"), guest.path(b"n" * 101)
    for dentry in (long, short):
        guest.set(dentry, "dentry", {"d_name.len": 0xFFFF_FFFF})
    guest.set(lost, "dentry", {"d_name.name": WILD})
    found = [
        path.text for path in resolve(guest, *((guest.root_mount, d) for d in (long, short, lost))) if path
    ]
    assert found[0].startswith(b"/" + b"n" * 100)
    assert len(found[0]) == 1 + MAX_NAME_BYTES
    assert found[1] == b"/short"
    assert found[2] == b"/?"


def test_a_kernel_without_a_needed_field_says_which() -> None:
    guest = Guest("new")
    kernel = guest.kernel()
    del (fields := dict(kernel.profile["dentry"].fields))["d_shortname"]
    lacking = type(kernel.profile["dentry"])("dentry", 200, fields)
    kernel.profile = type(kernel.profile)(
        **{
            name: getattr(kernel.profile, name)
            for name in kernel.profile.__struct_fields__
            if name != "structs"
        },
        structs={**kernel.profile.structs, "dentry": lacking},
    )
    with pytest.raises(BadStructure) as caught:
        Paths(kernel)
    assert caught.value.field == "dentry.d_shortname"


NODE = st.tuples(st.integers(-2, 9), st.binary(max_size=50), st.booleans(), st.booleans())
MOUNT = st.tuples(st.integers(-2, 4), st.integers(-2, 9), st.integers(-2, 9))


@steady(120)
@given(
    st.lists(NODE, min_size=1, max_size=10),
    st.lists(MOUNT, min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9)), min_size=1, max_size=6),
)
def test_forests_of_any_shape(
    nodes: list[tuple[int, bytes, bool, bool]],
    mounts: list[tuple[int, int, int]],
    asked: list[tuple[int, int]],
) -> None:
    guest = Guest("new")

    def pick(made: list[int], number: int) -> int:
        return made[number % len(made)] if number >= 0 else [0, WILD][number]

    dentries = [guest.dentry(name, 0, unhashed=bare, named=named) for _, name, bare, named in nodes]
    for dentry, (parent, *_) in zip(dentries, nodes, strict=True):
        guest.set(
            dentry, "dentry", {"d_parent": pick(dentries, parent), "d_inode": pick(dentries, parent + 1)}
        )
    inner = guest.profile["mount"].offset("mnt")
    made = [guest.mount(0, pick(dentries, point), pick(dentries, root)) for _, point, root in mounts]
    for mount, (parent, _, _) in zip(made, mounts, strict=True):
        guest.set(mount - inner, "mount", {"mnt_parent": pick(made, parent) - inner})
    pairs = [(pick(made, mount), pick(dentries, dentry)) for mount, dentry in asked]
    for path in resolve(guest, *pairs, calls=800):
        assert path is None or len(path.text) <= 2 * MAX_DEPTH * (MAX_NAME_BYTES + 1)
