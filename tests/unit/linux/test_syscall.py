from __future__ import annotations

from types import SimpleNamespace

from tests.unit.linux.small import IMAGE_GVA, Small
from vmon.linux.syscall import MAX_SYSCALLS, WANTS, read_names, read_table


def made(end: int = 24) -> tuple[Small, object]:
    small = Small(
        WANTS, {"syscall_metadata": "name:p nr:u32"}, {"sys_call_table": 64, "syscalls_metadata": 8}
    )
    table = small.symbol("sys_call_table")
    for number in range(3):
        small.put(table + 8 * number, IMAGE_GVA + 0x100 * number)
    meta = [small.new("syscall_metadata", name=small.string(name)) for name in (b"sys_read", b"sys_write")]
    small.put(
        small.symbol("syscalls_metadata"),
        small.data(b"".join(gva.to_bytes(8, "little") for gva in [*meta, 0])),
    )
    kernel = small.kernel()
    kernel.__dict__["symbols"] = SimpleNamespace(next_after=lambda gva: table + end)
    return small, kernel


def test_the_table_ends_where_the_next_symbol_starts() -> None:
    _, kernel = made()
    assert read_table(kernel).tolist() == [IMAGE_GVA, IMAGE_GVA + 0x100, IMAGE_GVA + 0x200]  # type: ignore[arg-type]
    _, kernel = made(end=1 << 15)
    assert read_table(kernel).size == MAX_SYSCALLS  # type: ignore[arg-type]


def test_names_by_number_and_none_where_there_is_none() -> None:
    small, kernel = made()
    assert read_names(kernel, 3) == ["sys_read", "sys_write", None]  # type: ignore[arg-type]
    small.put(small.symbol("syscalls_metadata"), 0xFFFF_C900_0000_0000)
    assert read_names(small.kernel(), 3) == [None] * 3
