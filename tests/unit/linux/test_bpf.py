from __future__ import annotations

from tests.unit.linux.small import Small
from vmon.core.coverage import Gaps
from vmon.core.records.bpf import BpfMapRecord, BpfProgramRecord
from vmon.linux.bpf import WANTS, find_maps, find_programs

STRUCTS = {
    "xarray": "xa_lock:u32 xa_flags:u32 xa_head:p",
    "xa_node": "shift:u8 offset:u8 count:u8 nr_values:u8 parent:p slots:p*64",
    "idr": "idr_rt:xarray idr_base:u32 idr_next:u32",
    "bpf_prog": "pages:u16 jited:u16/1 gpl:u16/1 type:u32 expected_attach_type:u32 len:u32 jited_len:u32 tag:u8*8"
    " bpf_func:p aux:p",
    "bpf_prog_aux": "used_map_cnt:u32 id:u32 attach_btf_id:u32 attach_func_name:p used_maps:p user:p load_time:u64"
    " name:char*16",
    "user_struct": "count:u32 uid:u32",
    "bpf_map": "map_type:u32 key_size:u32 value_size:u32 max_entries:u32 map_flags:u32 id:u32 name:char*16 frozen:u8",
}
ENUMS = {
    "bpf_prog_type": {"BPF_PROG_TYPE_UNSPEC": 0, "BPF_PROG_TYPE_SOCKET_FILTER": 1, "BPF_PROG_TYPE_LSM": 29},
    "bpf_attach_type": {"BPF_CGROUP_INET_INGRESS": 0, "BPF_LSM_MAC": 27, "__MAX_BPF_ATTACH_TYPE": 27},
    "bpf_map_type": {"BPF_MAP_TYPE_CGROUP_STORAGE_DEPRECATED": 19, "BPF_MAP_TYPE_CGROUP_STORAGE": 19},
}
WILD = 0xFFFF_C900_0000_0000


def made() -> Small:
    return Small(WANTS, STRUCTS, {"prog_idr": 24, "map_idr": 24}, ENUMS)


def keep(small: Small, symbol: str, objects: dict[int, int]) -> None:
    node = small.new("xa_node")
    for number, gva in objects.items():
        small.put(small.field(node, "xa_node", "slots") + 8 * number, gva)
    small.put(small.symbol(symbol) + 8, node + 2)


def test_programs_and_maps() -> None:
    small, gaps = made(), Gaps()
    held = small.new(
        "bpf_map", id=4, map_type=19, name=b"seen", key_size=4, value_size=8, max_entries=9, frozen=1
    )
    keep(small, "map_idr", {4: held})
    user = small.new("user_struct", uid=1000)
    aux = small.new(
        "bpf_prog_aux",
        name=b"guard",
        user=user,
        load_time=5,
        used_map_cnt=1,
        used_maps=small.data(held.to_bytes(8, "little")),
        attach_func_name=small.string(b"bpf_lsm_file_open"),
    )
    program = small.new(
        "bpf_prog",
        type=29,
        expected_attach_type=27,
        len=3,
        jited_len=40,
        tag=bytes(range(8)),
        bpf_func=77,
        aux=aux,
    )
    small.put(small.field(program, "bpf_prog", "jited"), 3, 2)
    plain = small.new("bpf_prog", type=1, aux=small.new("bpf_prog_aux"))
    keep(small, "prog_idr", {2: program, 9: plain})
    first, second = find_programs(small.kernel(), gaps)
    assert first == BpfProgramRecord(
        id=2,
        type="lsm",
        attach_type="lsm_mac",
        name="guard",
        tag="0001020304050607",
        uid=1000,
        load_time_ns=5,
        instructions=3,
        jited=True,
        jited_address=77,
        jited_size=40,
        attach_function="bpf_lsm_file_open",
        map_ids=[4],
    )
    assert (second.id, second.type, second.attach_type, second.uid, second.jited_address) == (
        9,
        "socket_filter",
        None,
        None,
        None,
    )
    assert find_maps(small.kernel(), gaps) == [
        BpfMapRecord(
            id=4,
            type="cgroup_storage",
            name="seen",
            key_size=4,
            value_size=8,
            max_entries=9,
            flags=0,
            frozen=True,
        )
    ]
    assert gaps.records() == []


def test_what_cannot_be_read_is_told_and_the_rest_is_there() -> None:
    small, gaps = made(), Gaps()
    aux = small.new("bpf_prog_aux", used_map_cnt=1 << 30, attach_func_name=WILD)
    other = small.new("bpf_prog_aux", used_map_cnt=2, used_maps=WILD)
    keep(
        small,
        "prog_idr",
        {1: small.new("bpf_prog", aux=aux), 2: small.new("bpf_prog", aux=other), 3: WILD},
    )
    keep(small, "map_idr", {1: WILD})
    assert [(record.id, record.map_ids) for record in find_programs(small.kernel(), gaps)] == [
        (1, []),
        (2, []),
        (3, []),
    ]
    assert [record.id for record in find_maps(small.kernel(), gaps)] == [1]
    assert [(gap.what, gap.reason) for gap in gaps.records()] == [
        ("programs", "unreadable"),
        ("attach_function", "unreadable"),
        ("map_ids", "bounded"),
        ("map_ids", "unreadable"),
        ("maps", "unreadable"),
    ]


def test_a_kernel_without_bpf() -> None:
    gaps = Gaps()
    kernel = Small(WANTS, {}, {}).kernel()
    assert find_programs(kernel, gaps) == []
    assert find_maps(kernel, gaps) == []
    assert [gap.reason for gap in gaps.records()] == ["not on this kernel", "not on this kernel"]
